/**
 * Request bodies: type and size are checked first, then the body is read whole here, or left to a handler that streams
 * it.
 */
import type { Config } from "../config.ts";
import { AppError } from "../errors.ts";
import { bodyTooLarge, readBytes } from "../lib/body.ts";
import { parseJson } from "../lib/text/json.ts";
import { readFields } from "./query.ts";

const MIB = 1024 ** 2;
/** Largest body that is read whole, unless the table says otherwise. */
const DEFAULT_BODY = MIB;
/** Larger bodies that are still read whole, by the start of the path. */
const BODIES: [prefix: string, bytes: number][] = [
  ["/v1/chat/completions", 16 * MIB],
  ["/v1/completions", 16 * MIB],
  ["/v1/embeddings", 16 * MIB],
  ["/v1/responses", 8 * MIB],
  ["/trainer/v1/", 9 * MIB],
];
/** Largest event of Stripe. */
export const MAX_EVENT_BYTES = 512 * 1024;
const JSON_TYPE = "application/json";
const FORM_TYPE = "application/x-www-form-urlencoded";
/** Routes that take files of any size the configuration allows. */
const UPLOADS = /^\/(v1\/(files|datasets|uploads\/[^/]+\/parts)|datasets(\/[^/]+)?\/upload)\/?$/;
const COMPLETIONS = /^\/v1\/((chat\/)?completions|embeddings)\/?$/;
const TRAINER = /^\/trainer\/v1\//;
const SCIM = /^\/scim\/v2\//;
/** The signature of Stripe is that of the bytes as they arrive. */
const EVENTS = /^\/v1\/stripe\/webhook\/?$/;
const SCIM_TYPE = "application/scim+json";
/** Routes whose handlers read the body themselves (`parse: "none"`) and check the nesting of JSON. */
export const readsItself = (path: string) =>
  UPLOADS.test(path) || TRAINER.test(path) || COMPLETIONS.test(path) || EVENTS.test(path);

const typeOf = (request: Request) =>
  (request.headers.get("content-type") ?? "").split(";")[0]?.trim().toLowerCase() ?? "";

/** True when `path` accepts a body of this type: JSON in the API, forms on pages, files in uploads. */
function isAccepted(path: string, type: string): boolean {
  if (TRAINER.test(path)) return true;
  if (SCIM.test(path)) return type === SCIM_TYPE || type === JSON_TYPE;
  const page = !path.startsWith("/v1/");
  // Upload handlers check the kind of file themselves.
  if (UPLOADS.test(path)) return type !== "" && !(page && (type === JSON_TYPE || type === FORM_TYPE));
  return type === (page ? FORM_TYPE : JSON_TYPE);
}

function wrongType(path: string, type: string): AppError {
  const page = !path.startsWith("/v1/");
  const wanted = SCIM.test(path)
    ? SCIM_TYPE
    : UPLOADS.test(path)
      ? `multipart/form-data${page ? "" : ` or ${JSON_TYPE}`}`
      : page
        ? "a form"
        : JSON_TYPE;
  return new AppError(
    "unsupported_media",
    "unsupported_content_type",
    type
      ? `This address does not accept ${/^[\w.+-]+\/[\w.+-]+$/.test(type) ? type : "that content type"}. Send ${wanted}.`
      : `The request has a body but no content-type. Send ${wanted} with a content-type header.`,
  );
}

function limitOf(config: Config, path: string, type: string): number {
  if (UPLOADS.test(path) && type !== JSON_TYPE) return config.max_upload_bytes + MIB;
  if (EVENTS.test(path)) return MAX_EVENT_BYTES;
  return BODIES.find(([prefix]) => path.startsWith(prefix))?.[1] ?? DEFAULT_BODY;
}

/** The largest body any route takes, in bytes. */
export const largestBody = (config: Config) =>
  Math.max(config.max_upload_bytes + MIB, ...BODIES.map(([, bytes]) => bytes));

/**
 * Checks the declared type and size of a body before any of it is read.
 * @throws AppError `body_too_large`, `unsupported_content_type`
 */
export function checkBody(config: Config, request: Request, path: string): void {
  const length = request.headers.get("content-length");
  if (length === "0" || (length === null && request.body === null)) return;
  const type = typeOf(request);
  if (!isAccepted(path, type)) throw wrongType(path, type);
  const limit = limitOf(config, path, type);
  if (length !== null && Number(length) > limit) throw bodyTooLarge(limit);
}

/**
 * Reads and parses a whole body: the parser of every route.
 * @returns undefined without a body; null when there is nothing to parse, or when the handler reads the body itself
 * @throws AppError `body_too_large`, `body_too_deep`, `body_not_parsable`
 */
export async function readWhole(config: Config, request: Request, path: string): Promise<unknown> {
  // Any value but undefined stops Elysia from trying another parser.
  if (readsItself(path)) return null;
  if (request.body === null) return undefined;
  const type = typeOf(request);
  const limit = limitOf(config, path, type);
  const bytes = await readBytes(request, limit);
  if (type !== JSON_TYPE && type !== SCIM_TYPE) return readFields(new TextDecoder().decode(bytes));
  return bytes.byteLength === 0 ? null : parseJson(bytes);
}
