/**
 * OpenAI's Responses API on top of the chat completions of the gateway: the same access, limits and usage rows, and
 * answers that are stored for the next turn.
 */
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { newId, randomChars } from "../../lib/ids.ts";
import { seconds } from "../../lib/request-fields.ts";
import { resolveChatModel } from "../../models/tuned/service.ts";
import { sendAs } from "../gateway/ask.ts";
import { deleteAnswer, getAnswer, keepsAnswers, requireStorage, saveAnswer } from "../stored/store.ts";
import type { Asking } from "./asking.ts";
import { type Assembler, type ChatChunk, createAssembler, type ResponseEvent } from "./assembler.ts";
import { currentResponse, followRun, forgetRun, startRun, stopRun } from "./background.ts";
import { chatBody, promptBody } from "./chat.ts";
import { expanded } from "./compaction.ts";
import { refusal, rethrow } from "./errors.ts";
import { earlierItems, inputItems, requireItems } from "./history.ts";
import type { Item } from "./items.ts";
import { eventsOfEnded } from "./replay.ts";
import type { CountTokens, CreateResponse } from "./request.ts";
import { eventStream, piecesOf } from "./stream.ts";
import { isPending, type ResponseView, startedResponse } from "./view.ts";

type Json = Record<string, unknown>;

/** The items of the whole conversation. */
const itemsOf = (ctx: Ctx, actor: Actor, earlier: Json[], input: Json[]) =>
  expanded(ctx, actor, [...earlier, ...input] as unknown as Item[], earlier.length);

function checkRequest(request: CountTokens, items: readonly Item[]): void {
  const { tool_choice: choice, tools = [] } = request;
  requireItems(items);
  if (tools.length === 0 && choice !== undefined && choice !== "auto" && choice !== "none")
    throw new AppError("invalid", "invalid_value", "Invalid 'tool_choice': it needs 'tools'.", {
      param: "tool_choice",
    });
}

/** A whole chat completion as one chunk of a stream. */
function asChunk(body: Json): ChatChunk {
  const { choices, usage } = body as {
    choices?: { message?: object; logprobs?: object; finish_reason?: string }[];
    usage?: object;
  };
  return {
    usage,
    choices: choices?.slice(0, 1).map(({ message, ...rest }) => ({ ...rest, delta: message })),
  } as ChatChunk;
}

/**
 * Generates a response, streamed or whole.
 * @throws AppError naming the field, as chat completions do, and for `store` `quota_exceeded` and `disk_full`
 */
export async function createResponse(
  ctx: Ctx,
  actor: Actor,
  request: CreateResponse,
  { signal, startedAt, requestId }: Asking,
): Promise<Response> {
  const id = newId("response");
  const input = await inputItems(ctx, actor, request.input, id);
  const earlier = await earlierItems(ctx, actor, request.previous_response_id);
  const items = itemsOf(ctx, actor, earlier, input);
  checkRequest(request, items);
  const store = request.store !== false && keepsAnswers(ctx);
  if (request.background && !store)
    throw new AppError(
      "invalid",
      "invalid_value",
      "Invalid 'background': only responses that are stored can have it.",
      {
        param: "background",
      },
    );
  if (store) await requireStorage(ctx, actor, JSON.stringify(input).length);
  const started = startedResponse(request, { id, createdAtS: seconds(ctx.clock.now()), store });
  const assembler = createAssembler(started, () => `call_${randomChars(24)}`);
  const save = async (response: ResponseView) => {
    if (!store) return;
    const { metadata, ...answer } = response;
    const previousId = response.previous_response_id;
    const kept = { id, kind: "response" as const, model: request.model, previousId, metadata, input, answer };
    await saveAnswer(ctx, actor, kept, isPending(response));
  };
  if (request.background) {
    await resolveChatModel(ctx, actor, request.model);
    await save({ ...started, status: "queued" });
    const body = chatBody({ ...request, stream: true }, items);
    const ask = (stop: AbortSignal) => sendAs(ctx, actor, "chat/completions", body, { signal: stop });
    const queued = startRun(ctx, actor.org, started, assembler, ask);
    const events = request.stream ? followRun(ctx, id, -1) : null;
    return events ? eventStream(events) : Response.json(queued);
  }
  const options = { signal, startedAt, id: requestId };
  const reply = await sendAs(ctx, actor, "chat/completions", chatBody(request, items), options).catch(rethrow);
  if (!reply.ok || !reply.body) return refusal(reply);
  if (request.stream) return eventStream(eventsOf(ctx, reply.body, assembler, save));
  assembler.feed(asChunk((await reply.json()) as Json));
  const { response } = assembler.end(seconds(ctx.clock.now()));
  await save(response);
  return Response.json(response);
}

/**
 * Counts the tokens of a request as the engine counts them. It generates one token for that, and writes a usage row.
 * @throws AppError as `createResponse`
 */
export async function countTokens(
  ctx: Ctx,
  actor: Actor,
  request: CountTokens,
  { signal, startedAt, requestId }: Asking,
): Promise<Response> {
  const input = await inputItems(ctx, actor, request.input, newId("response"));
  const items = itemsOf(ctx, actor, await earlierItems(ctx, actor, request.previous_response_id), input);
  checkRequest(request, items);
  const body = { ...promptBody(request, items), max_completion_tokens: 1 };
  const options = { signal, startedAt, id: requestId };
  const reply = await sendAs(ctx, actor, "chat/completions", body, options).catch(rethrow);
  if (!reply.ok) return refusal(reply);
  const { usage } = (await reply.json()) as { usage?: { prompt_tokens?: number } };
  return Response.json({ object: "response.input_tokens", input_tokens: usage?.prompt_tokens ?? 0 });
}

async function* eventsOf(
  ctx: Ctx,
  source: ReadableStream<Uint8Array>,
  assembler: Assembler,
  save: (response: ResponseView) => Promise<void>,
): AsyncGenerator<ResponseEvent[]> {
  yield assembler.begin();
  for await (const { events } of piecesOf(ctx, source, assembler, save)) yield events;
}

/** @throws AppError `response_not_found` */
export async function retrieveResponse(ctx: Ctx, actor: Actor, id: string): Promise<ResponseView> {
  const { answer, metadata } = await getAnswer(ctx, actor, "response", id);
  return currentResponse(ctx, { ...answer, metadata } as ResponseView);
}

/**
 * The events of a stored response after the number `after`. Those of one in the background are as they were sent first,
 * those to come included; for another one they are made from the whole response.
 * @throws AppError `response_not_found`, `events_expired`
 */
export async function streamResponse(ctx: Ctx, actor: Actor, id: string, after: number): Promise<Response> {
  const response = await retrieveResponse(ctx, actor, id);
  const events = followRun(ctx, id, after);
  if (events) return eventStream(events);
  if (response.background && after >= 0)
    throw new AppError(
      "invalid",
      "events_expired",
      "The events of this response are no longer kept. Retrieve it without 'stream': it has ended.",
      { param: "starting_after" },
    );
  return eventStream(once(eventsOfEnded(response).filter((event) => event.sequence_number > after)));
}

async function* once<T>(value: T): AsyncGenerator<T> {
  yield value;
}

/** @throws AppError `response_not_found` */
export async function deleteResponse(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  await getAnswer(ctx, actor, "response", id);
  await forgetRun(ctx, id);
  await deleteAnswer(ctx, actor, "response", id);
}

/**
 * Cancels a response in the background; one that has ended stays as it is.
 * @throws AppError `not_cancellable`, `response_not_found`
 */
export async function cancelResponse(ctx: Ctx, actor: Actor, id: string): Promise<ResponseView> {
  const { background } = await retrieveResponse(ctx, actor, id);
  if (!background)
    throw new AppError(
      "invalid",
      "not_cancellable",
      "Only responses with 'background' can be canceled. To stop one that streams, disconnect.",
    );
  await stopRun(ctx, id);
  return retrieveResponse(ctx, actor, id);
}

interface ItemsQuery {
  limit: number;
  order: "asc" | "desc";
  after?: string;
}

/** The input items of a response, without those of the responses before it; up to `limit + 1`. */
export async function listInputItems(ctx: Ctx, actor: Actor, id: string, query: ItemsQuery) {
  const { input } = await getAnswer(ctx, actor, "response", id);
  const items = (query.order === "asc" ? input : input.toReversed()) as { id: string; type: string }[];
  const at = query.after === undefined ? -1 : items.findIndex((item) => item.id === query.after);
  if (query.after !== undefined && at === -1)
    throw new AppError("not_found", "item_not_found", `This response has no input item ${query.after.slice(0, 100)}.`, {
      param: "after",
    });
  return items.slice(at + 1, at + 2 + query.limit);
}
