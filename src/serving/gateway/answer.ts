/** Turns an engine's reply into the client's answer: a relayed stream, a JSON body, or an error. */

import { accessEnded } from "../../accounts/auth/revocation.ts";
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { readUpTo } from "../../lib/body.ts";
import { engineRefusal } from "./engine-errors.ts";
import { type Rename, relayStream, renameModel, type StreamEnd } from "./relay.ts";
import type { Endpoint } from "./request.ts";
import { type RequestTrace, recordOutcome } from "./trace.ts";

const MIB = 1024 ** 2;
/** Longest reply of an engine that is not streamed, in bytes: texts, or up to 2048 lists of numbers. */
const MAX_REPLY_BYTES: Record<Endpoint, number> = {
  "chat/completions": 32 * MIB,
  completions: 32 * MIB,
  embeddings: 128 * MIB,
};

/** Status that a usage row records for a stream; its first bytes went out as 200 in any case. */
const STREAM_STATUS: Record<StreamEnd, number> = { whole: 200, error: 200, left: 499, access_ended: 401 };

/** A request that was sent to an engine. */
export interface EngineCall {
  /** Aborts the call. */
  abort: () => void;
  /** Releases the timer, the listeners and the deployment's request count. Call it exactly once the call is over. */
  end: () => void;
}

/**
 * The client's answer for an engine's reply.
 * @throws AppError `engine_failed`, or 401 when the client's access ended
 */
export function answerFrom(ctx: Ctx, trace: RequestTrace, reply: Response, call: EngineCall): Promise<Response> {
  const name = trace.serving?.name ?? trace.request.model;
  const rename = name === trace.request.model ? null : { from: name, to: trace.request.model };
  const type = reply.headers.get("content-type") ?? "application/json";
  return reply.ok && reply.body && type.startsWith("text/event-stream")
    ? Promise.resolve(streamedAnswer(ctx, trace, reply.body, rename, call))
    : jsonAnswer(ctx, trace, reply, rename, call);
}

function streamedAnswer(
  ctx: Ctx,
  trace: RequestTrace,
  source: ReadableStream<Uint8Array>,
  rename: Rename | null,
  call: EngineCall,
): Response {
  const stream = relayStream(source, {
    access: trace.access,
    observe: (chunk) => trace.tap?.chunk(chunk),
    keepUsage: trace.request.wantsUsage,
    rename,
    now: () => ctx.clock.monotonic(),
    abort: call.abort,
    done: (facts, how) => {
      call.end();
      trace.access.stop();
      trace.busyMs += facts.busyMs;
      recordOutcome(ctx, trace, {
        status: STREAM_STATUS[how],
        promptTokens: facts.promptTokens,
        completionTokens: facts.completionTokens,
        firstTokenMs: facts.firstContentAt === null ? null : facts.firstContentAt - trace.startedAt,
        finish: how === "whole" ? facts.finish : how,
      });
      if (how === "whole") trace.tap?.ended();
    },
  });
  return new Response(stream, {
    headers: {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache",
      // Reverse proxies must not buffer the stream.
      "x-accel-buffering": "no",
    },
  });
}

async function jsonAnswer(
  ctx: Ctx,
  trace: RequestTrace,
  reply: Response,
  rename: Rename | null,
  call: EngineCall,
): Promise<Response> {
  const text = await readReply(reply, MAX_REPLY_BYTES[trace.request.endpoint]);
  await trace.access.settled();
  if (trace.access.ended) throw accessEnded();
  trace.access.stop();
  call.end();
  const receivedAt = ctx.clock.monotonic();
  if (!reply.ok) return engineError(ctx, trace, reply, text);
  const parsed = parseObject(text);
  if (!parsed)
    throw new AppError("unavailable", "engine_failed", "The model's engine returned an answer that is not valid JSON.");
  const usage = parsed.usage as { prompt_tokens?: number; completion_tokens?: number } | undefined;
  const [choice] = (parsed.choices as { finish_reason?: string }[] | undefined) ?? [];
  const out = renameModel(text, rename);
  trace.busyMs += ctx.clock.monotonic() - receivedAt;
  recordOutcome(ctx, trace, {
    status: 200,
    promptTokens: usage?.prompt_tokens ?? 0,
    completionTokens: usage?.completion_tokens ?? 0,
    finish: choice?.finish_reason ?? null,
  });
  await trace.tap?.whole({ ...parsed, model: trace.request.model });
  return new Response(out, { headers: { "content-type": "application/json" } });
}

/**
 * Passes the engine's own 4xx errors (too long, busy, bad parameter) on in OpenAI's form. A 500 is about this request
 * alone and stays a 500, without the engine's text; everything else is a 503.
 */
function engineError(ctx: Ctx, trace: RequestTrace, reply: Response, text: string): Response {
  const error = reply.status < 500 ? engineRefusal(reply.status, parseObject(text)) : null;
  recordOutcome(ctx, trace, { status: reply.status, finish: "error" });
  if (!error && trace.request.endpoint === "embeddings" && [404, 405, 501].includes(reply.status))
    throw new AppError(
      "invalid",
      "embeddings_not_supported",
      "The engine that serves this model does not create embeddings. Engines on GPUs (vLLM) serve completions only.",
      { param: "model" },
    );
  if (!error)
    throw new AppError(
      reply.status === 500 ? "internal" : "unavailable",
      "engine_failed",
      "The model's engine could not answer this request. The log of its job says why.",
      { cause: text.slice(0, 1000), ...(reply.status === 500 ? {} : { retryAfterS: 1 }) },
    );
  const headers = new Headers({ "content-type": "application/json" });
  const retry = reply.headers.get("retry-after");
  if (retry) headers.set("retry-after", retry);
  return new Response(JSON.stringify({ error }), { status: reply.status, headers });
}

/** The text of an engine's answer. */
async function readReply(reply: Response, max: number): Promise<string> {
  const { bytes, truncated } = await readUpTo(reply.body, max);
  if (truncated)
    throw new AppError("unavailable", "engine_failed", "The model's engine returned an answer that is too long.");
  return new TextDecoder().decode(bytes);
}

function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
