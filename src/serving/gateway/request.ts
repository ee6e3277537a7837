/**
 * Reads a completion request: checks the fields that the gateway uses and leaves every other field unchanged.
 */
import type * as v from "valibot";
import { AppError } from "../../errors.ts";
import { bodyTooLarge, readBytes } from "../../lib/body.ts";
import { withoutNulls } from "../../lib/nulls.ts";
import { parseJson } from "../../lib/text/json.ts";
import { checkText } from "../../lib/text/well-formed.ts";
import { ChatShape, CompletionShape, EmbeddingShape } from "./shapes.ts";

const BACKSLASH = 0x5c;
/** Largest request body in bytes; the engine has the same limit. */
const MAX_BODY_BYTES = 8 * 1024 * 1024;

export type Endpoint = "chat/completions" | "completions" | "embeddings";

/** Where the optional fields are; nothing is checked by these. */
const SHAPES: Record<Endpoint, v.GenericSchema> = {
  "chat/completions": ChatShape,
  completions: CompletionShape,
  embeddings: EmbeddingShape,
};

/** A checked request. */
export interface CompletionRequest {
  endpoint: Endpoint;
  /** As the client wrote it; the answer has the same value. */
  model: string;
  stream: boolean;
  /** The client asked for the usage chunk. */
  wantsUsage: boolean;
  body: Record<string, unknown>;
}

function invalid(code: string, message: string, param: string): AppError {
  return new AppError("invalid", code, message, { param });
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * The body as bytes; at most the limit is held in memory.
 * @throws AppError `request_too_large`
 */
export const readBody = (request: Request): Promise<Uint8Array> =>
  readBytes(request, MAX_BODY_BYTES, () => bodyTooLarge(MAX_BODY_BYTES, "", "request_too_large"));

/**
 * Checks a request body.
 * @throws AppError naming the field
 */
export function parseCompletion(endpoint: Endpoint, bytes: Uint8Array): CompletionRequest {
  const parsed = parseJson(bytes);
  if (!isObject(parsed)) throw new AppError("invalid", "body_not_parsable", "The request body must be a JSON object.");
  const body = withoutNulls(SHAPES[endpoint], parsed) as Record<string, unknown>;
  // Only an escape sequence can produce malformed text; without one there is nothing to check.
  if (bytes.includes(BACKSLASH)) checkText(body);
  const { model, stream, stream_options: options } = body;
  if (typeof model !== "string" || model === "" || model.length > 400)
    throw invalid("invalid_model", "`model` must be the id of a model, as GET /v1/models lists it.", "model");
  if (stream !== undefined && stream !== null && typeof stream !== "boolean")
    throw invalid("invalid_value", "`stream` must be true or false.", "stream");
  if (options !== undefined && options !== null && !isObject(options))
    throw invalid("invalid_value", "`stream_options` must be an object.", "stream_options");
  if (endpoint === "chat/completions") checkMessages(body.messages);
  else checkTexts(body, endpoint === "completions" ? "prompt" : "input");
  if (endpoint === "embeddings" && stream === true)
    throw invalid("invalid_value", "Embeddings cannot be streamed.", "stream");
  return {
    endpoint,
    model,
    stream: stream === true,
    wantsUsage: isObject(options) && options.include_usage === true,
    body,
  };
}

function checkTexts(body: Record<string, unknown>, field: "prompt" | "input"): void {
  const value = body[field];
  if (typeof value !== "string" && !(Array.isArray(value) && value.length > 0))
    throw invalid("invalid_value", `\`${field}\` must be a string or a list that is not empty.`, field);
}

function checkMessages(messages: unknown): void {
  if (!Array.isArray(messages) || messages.length === 0)
    throw invalid("invalid_value", "`messages` must be a list with at least one message.", "messages");
  for (const [n, message] of messages.entries())
    if (!isObject(message) || typeof message.role !== "string")
      throw invalid("invalid_value", `Message ${n} must be an object with a \`role\`.`, `messages.${n}.role`);
}

/** The body for the engine: with the engine's name of the model, and always with usage, which is recorded. */
export function engineBody(request: CompletionRequest, name: string): string {
  const body: Record<string, unknown> = { ...request.body, model: name };
  if (request.stream)
    body.stream_options = { ...(isObject(body.stream_options) ? body.stream_options : {}), include_usage: true };
  return JSON.stringify(body);
}
