/**
 * Answers completions: finds the engine of the model, passes the request on, passes the answer back, and writes down
 * what it used.
 */
import { type AccessWatch, accessEnded, watchAccess } from "../../accounts/auth/revocation.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError, ERROR_TABLE } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { cutText } from "../../lib/text/well-formed.ts";
import { upstreamFetch } from "../../lib/upstream.ts";
import { resolveModel } from "../../models/tuned/service.ts";
import type { Serving } from "../deployments/model.ts";
import { ensureServing, reportUnreachable, requestBegins } from "../deployments/service.ts";
import { relayStream, renameModel, type StreamEnd } from "./relay.ts";
import { type CompletionRequest, type Endpoint, engineBody, parseCompletion, readBody } from "./request.ts";
import { recordUsage } from "./usage.ts";

/** An answer that takes longer is given up. */
const ENGINE_MS = 30 * 60_000;
/** Longest answer of an engine that is not streamed. */
const MAX_REPLY_BYTES = 32 * 1024 * 1024;
/** Longest reason an engine may give for the end of an answer. */
const MAX_FINISH = 40;

/** Status a usage row notes for a stream; its first bytes went out as 200 in any case. */
const STREAM_STATUS: Record<StreamEnd, number> = { whole: 200, error: 200, left: 499, access_ended: 401 };

/** One request on its way: who asked, since when, and what became of it. */
interface Journey {
  actor: Actor;
  request: CompletionRequest;
  id: string;
  /** Monotonic milliseconds. */
  startedAt: number;
  /** Milliseconds spent here so far, without waiting for engines. */
  busyMs: number;
  serving: Serving | null;
  access: AccessWatch;
  /** Id of the model that was found; empty while none is. */
  model: string;
}

/**
 * Answers one request.
 * @param incoming its signal is aborted when the client leaves; the engine is stopped then at once
 * @param startedAt monotonic milliseconds at which the request came in
 * @throws AppError for everything that goes wrong before the first byte of an answer
 */
export async function complete(
  ctx: Ctx,
  actor: Actor,
  endpoint: Endpoint,
  incoming: Request,
  startedAt: number,
  id = newId("request"),
): Promise<Response> {
  const request = parseCompletion(endpoint, await readBody(incoming));
  const access = watchAccess(ctx, actor, incoming);
  const journey: Journey = { actor, request, id, startedAt, busyMs: 0, serving: null, access, model: "" };
  try {
    return await forward(ctx, journey, endpoint);
  } catch (cause) {
    access.stop();
    journey.model ||= await resolveModel(ctx, actor, request.model).then(
      (found) => found.id,
      () => "",
    );
    if (access.ended) {
      note(ctx, journey, { status: 401, finish: "access_ended" });
      throw accessEnded();
    }
    if (incoming.signal.aborted) {
      note(ctx, journey, { status: 499, finish: "left" });
      return new Response(null, { status: 499 });
    }
    note(ctx, journey, {
      status: cause instanceof AppError ? ERROR_TABLE[cause.kind].status : 500,
      finish: "error",
    });
    throw cause;
  }
}

async function forward(ctx: Ctx, journey: Journey, endpoint: Endpoint): Promise<Response> {
  const client = journey.access.signal;
  const now = () => ctx.clock.monotonic();
  for (let attempt = 1; ; attempt++) {
    const searchedAt = now();
    const serving = await ensureServing(ctx, journey.actor, journey.request.model, client);
    const foundAt = now();
    journey.serving = serving;
    journey.model = serving.name;
    const over = requestBegins(ctx, serving.deploymentId);
    const stop = new AbortController();
    const leave = () => stop.abort();
    // One timer and two listeners, all taken back at the end: AbortSignal.timeout would live on for its whole time.
    const timer = setTimeout(leave, ENGINE_MS);
    client.addEventListener("abort", leave, { once: true });
    ctx.signal.addEventListener("abort", leave, { once: true });
    const end = () => {
      clearTimeout(timer);
      client.removeEventListener("abort", leave);
      ctx.signal.removeEventListener("abort", leave);
      over();
    };
    let reply: Response;
    try {
      if (client.aborted) stop.abort();
      const body = engineBody(journey.request, serving.name);
      const sentAt = now();
      // Time until here is ours, except for waiting until an engine was up.
      if (attempt === 1)
        journey.busyMs = sentAt - journey.startedAt - (foundAt - searchedAt > 50 ? foundAt - searchedAt : 0);
      reply = await upstreamFetch(serving.address, `/v1/${endpoint}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
        signal: stop.signal,
      });
    } catch (cause) {
      end();
      if (client.aborted) throw cause;
      if (stop.signal.aborted)
        throw new AppError("unavailable", "engine_timeout", "The model's engine took too long for this answer.", {
          cause,
        });
      await reportUnreachable(ctx, serving.deploymentId, serving.address);
      if (attempt >= 2)
        throw new AppError(
          "unavailable",
          "engine_unreachable",
          "The model's engine does not answer. It is being started again; try in a few seconds.",
          { cause, retryAfterS: 5 },
        );
      continue;
    }
    try {
      return await answer(ctx, journey, reply, stop, end);
    } catch (cause) {
      end();
      throw cause;
    }
  }
}

async function answer(
  ctx: Ctx,
  journey: Journey,
  reply: Response,
  stop: AbortController,
  end: () => void,
): Promise<Response> {
  const { request, serving, access } = journey;
  const name = serving?.name ?? request.model;
  const rename = name === request.model ? null : { from: name, to: request.model };
  const type = reply.headers.get("content-type") ?? "application/json";
  if (reply.ok && reply.body && type.startsWith("text/event-stream")) {
    const stream = relayStream(reply.body, {
      access,
      keepUsage: request.wantsUsage,
      rename,
      now: () => ctx.clock.monotonic(),
      abort: () => stop.abort(),
      done: (facts, how) => {
        end();
        access.stop();
        journey.busyMs += facts.busyMs;
        note(ctx, journey, {
          status: STREAM_STATUS[how],
          promptTokens: facts.promptTokens,
          completionTokens: facts.completionTokens,
          firstTokenMs: facts.firstContentAt === null ? null : facts.firstContentAt - journey.startedAt,
          finish: how === "whole" ? facts.finish : how,
        });
      },
    });
    return new Response(stream, {
      headers: {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache",
        // Proxies in front must not hold the stream back.
        "x-accel-buffering": "no",
      },
    });
  }
  const text = await readReply(reply);
  await access.settled();
  if (access.ended) throw accessEnded();
  access.stop();
  end();
  const receivedAt = ctx.clock.monotonic();
  if (!reply.ok) return engineError(ctx, journey, reply, text);
  const parsed = parseObject(text);
  if (!parsed)
    throw new AppError("unavailable", "engine_failed", "The model's engine gave an answer that is not JSON.");
  const usage = parsed.usage as { prompt_tokens?: number; completion_tokens?: number } | undefined;
  const [choice] = (parsed.choices as { finish_reason?: string }[] | undefined) ?? [];
  const out = renameModel(text, rename);
  journey.busyMs += ctx.clock.monotonic() - receivedAt;
  note(ctx, journey, {
    status: 200,
    promptTokens: usage?.prompt_tokens ?? 0,
    completionTokens: usage?.completion_tokens ?? 0,
    finish: choice?.finish_reason ?? null,
  });
  return new Response(out, { headers: { "content-type": "application/json" } });
}

/**
 * The engine's own refusals (too long, busy, bad parameter) reach the client as they are; anything else becomes a 503.
 */
function engineError(ctx: Ctx, journey: Journey, reply: Response, text: string): Response {
  const parsed = parseObject(text);
  note(ctx, journey, { status: reply.status, finish: "error" });
  if (!parsed || typeof parsed.error !== "object" || reply.status >= 500)
    throw new AppError(
      "unavailable",
      "engine_failed",
      "The model's engine could not answer this request. Its job's log says why.",
      {
        cause: text.slice(0, 1000),
        retryAfterS: 1,
      },
    );
  const headers = new Headers({ "content-type": "application/json" });
  const retry = reply.headers.get("retry-after");
  if (retry) headers.set("retry-after", retry);
  return new Response(text, { status: reply.status, headers });
}

async function readReply(reply: Response): Promise<string> {
  const declared = Number(reply.headers.get("content-length") ?? 0);
  if (declared > MAX_REPLY_BYTES)
    throw new AppError("unavailable", "engine_failed", "The model's engine gave an answer that is too long.");
  return reply.text();
}

function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** Writes the usage row of a request, once. */
function note(
  ctx: Ctx,
  journey: Journey,
  facts: {
    status: number;
    promptTokens?: number;
    completionTokens?: number;
    firstTokenMs?: number | null;
    finish: string | null;
  },
): void {
  if (journey.id === "") return;
  const totalMs = ctx.clock.monotonic() - journey.startedAt;
  recordUsage(ctx, {
    id: journey.id,
    org: journey.actor.org,
    userId: journey.actor.userId,
    keyId: journey.actor.keyId,
    model: journey.model,
    deploymentId: journey.serving?.deploymentId ?? null,
    at: ctx.clock.now(),
    status: facts.status,
    streamed: journey.request.stream,
    promptTokens: facts.promptTokens ?? 0,
    completionTokens: facts.completionTokens ?? 0,
    firstTokenMs: facts.firstTokenMs ?? null,
    totalMs,
    overheadMs: Math.max(0, journey.busyMs),
    finish: typeof facts.finish === "string" ? cutText(facts.finish, MAX_FINISH) : null,
  });
  journey.id = "";
}
