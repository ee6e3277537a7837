/** Stored chat completions: kept when the request has `store`, then listed, retrieved, labeled and deleted. */
import * as v from "valibot";
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { Metadata } from "../../lib/metadata.ts";
import { pageLimit } from "../../lib/page.ts";
import { id } from "../../lib/request-fields.ts";
import type { CompletionRequest } from "../gateway/request.ts";
import type { AnswerTap } from "../gateway/trace.ts";
import { createCollector } from "./collector.ts";
import { keepsAnswers, requireStorage, type StoredAnswer, saveAnswer } from "./store.ts";

type Json = Record<string, unknown>;

/** Settings of the request that a stored completion shows. */
const SHOWN = [
  ...(["temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "tools", "tool_choice"] as const),
  ...(["response_format", "max_completion_tokens", "max_tokens"] as const),
];

/** A stored completion: the answer, its request's settings and its metadata. */
export const CompletionView = v.looseObject({
  id: v.string(),
  object: v.literal("chat.completion"),
  created: v.number(),
  model: v.string(),
  choices: v.array(v.looseObject({ index: v.number(), message: v.looseObject({}) })),
  metadata: v.record(v.string(), v.string()),
});
export const MessageView = v.looseObject({ id: v.string(), role: v.string() });
export const UpdateCompletion = v.strictObject({ metadata: v.nullable(Metadata) });
export const MessagesQuery = v.strictObject({
  limit: pageLimit(),
  after: v.optional(id),
  order: v.optional(v.picklist(["asc", "desc"]), "asc"),
});

export const completionView = (row: StoredAnswer) =>
  ({ ...row.answer, id: row.id, metadata: row.metadata }) as unknown as v.InferOutput<typeof CompletionView>;

/** The messages of the request, with ids. A list of parts is in `content_parts`. */
export const messagesOf = (row: StoredAnswer) =>
  row.input.map((message, n) => {
    const parts = Array.isArray(message.content) ? (message.content as Json[]) : null;
    const content = parts ? parts.map((part) => (typeof part.text === "string" ? part.text : "")).join("") : null;
    return {
      ...message,
      id: `${row.id}-${n}`,
      role: String(message.role),
      content: parts ? content : (message.content ?? null),
      refusal: message.refusal ?? null,
      content_parts: parts,
    };
  });

function metadataOf(body: Json): Record<string, string> {
  const parsed = v.safeParse(Metadata, body.metadata ?? {});
  if (parsed.success) return parsed.output;
  throw new AppError("invalid", "invalid_value", `Invalid 'metadata': ${parsed.issues[0].message}.`, {
    param: "metadata",
  });
}

/** An answer with the fields that OpenAI always has and some engines leave out. */
function complete(answer: Json): Json {
  const choices = Array.isArray(answer.choices) ? (answer.choices as Json[]) : [];
  return {
    ...answer,
    choices: choices.map((choice) => ({
      logprobs: null,
      ...choice,
      message: { refusal: null, ...(choice.message as Json) },
    })),
  };
}

/**
 * Makes what stores the answers of `actor` whose requests ask for it.
 * @returns a function that throws AppError for invalid `metadata`, `quota_exceeded` or `disk_full`
 */
export const completionTap =
  (ctx: Ctx, actor: Actor) =>
  async ({ body, model, endpoint }: CompletionRequest): Promise<AnswerTap | null> => {
    if (endpoint !== "chat/completions" || !keepsAnswers(ctx)) return null;
    const metadata = metadataOf(body);
    const input = body.messages as Json[];
    await requireStorage(ctx, actor, JSON.stringify(input).length);
    const shown = Object.fromEntries(
      SHOWN.filter((name) => body[name] !== undefined).map((name) => [name, body[name]]),
    );
    const save = (answer: Json) => {
      const given = typeof answer.id === "string" && /^chatcmpl-[\w-]{1,80}$/.test(answer.id) ? answer.id : null;
      const own = given ?? newId("chat");
      const kept = { id: own, kind: "completion" as const, model, previousId: null, metadata, input };
      return saveAnswer(ctx, actor, { ...kept, answer: { ...shown, ...complete(answer) } });
    };
    const collector = createCollector(model);
    return {
      whole: save,
      chunk: (chunk) => collector.add(chunk),
      ended() {
        save(collector.completion()).catch((cause) => ctx.log("error", "a streamed answer was not stored", { cause }));
      },
    };
  };
