/**
 * Answers completion requests: finds the model's engine, forwards the request, returns the answer, and records the
 * usage.
 */
import { accessEnded, watchAccess } from "../../accounts/auth/revocation.ts";
import { requireBudget } from "../../billing/budgets/watch.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError, ERROR_TABLE } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { upstreamFetch } from "../../lib/upstream.ts";
import { resolveModel } from "../../models/tuned/service.ts";
import { ensureServing, reportUnreachable, requestBegins } from "../deployments/service.ts";
import { answerFrom, type EngineCall } from "./answer.ts";
import { type CompletionRequest, type Endpoint, engineBody, parseCompletion, readBody } from "./request.ts";
import { reserveTokens } from "./reserve.ts";
import { type AnswerTap, type Purpose, type RequestTrace, recordOutcome } from "./trace.ts";

/** Timeout of an engine's answer. */
const ENGINE_MS = 30 * 60_000;
/** A search that took longer than this waited for an engine to start; the wait is not overhead of this server. */
const SEARCH_WAIT_MS = 50;
const MAX_ATTEMPTS = 2;

/**
 * Answers one request.
 * @param incoming its signal is aborted when the client disconnects; the engine is stopped immediately
 * @param startedAt monotonic milliseconds at which the request arrived
 * @param tapOf makes what sees the answer, for a request with `store`; it may throw to refuse the request
 * @throws AppError for every failure before the first byte of an answer
 */
export async function complete(
  ctx: Ctx,
  actor: Actor,
  endpoint: Endpoint,
  incoming: Request,
  startedAt: number,
  id = newId("request"),
  tapOf: (request: CompletionRequest) => Promise<AnswerTap | null> = async () => null,
  purpose: Purpose | null = null,
): Promise<Response> {
  requireBudget(ctx, actor);
  const request = parseCompletion(endpoint, await readBody(incoming));
  const tap = request.body.store === true ? await tapOf(request) : null;
  const access = watchAccess(ctx, actor, incoming);
  const reserved = reserveTokens(ctx, actor, request);
  const trace: RequestTrace = {
    actor,
    request,
    id,
    startedAt,
    busyMs: 0,
    serving: null,
    access,
    tap,
    model: "",
    purpose,
    reserved,
  };
  try {
    return await forward(ctx, trace);
  } catch (cause) {
    return failed(ctx, trace, incoming.signal, cause);
  }
}

/** Records a request that failed before its answer began, and throws; a disconnected client gets an empty 499. */
async function failed(ctx: Ctx, trace: RequestTrace, client: AbortSignal, cause: unknown): Promise<Response> {
  trace.access.stop();
  trace.model ||= await resolveModel(ctx, trace.actor, trace.request.model, true).then(
    (found) => found.id,
    () => "",
  );
  if (trace.access.ended) {
    recordOutcome(ctx, trace, { status: 401, finish: "access_ended" });
    throw accessEnded();
  }
  if (client.aborted) {
    recordOutcome(ctx, trace, { status: 499, finish: "left" });
    return new Response(null, { status: 499 });
  }
  const status = cause instanceof AppError ? ERROR_TABLE[cause.kind].status : 500;
  recordOutcome(ctx, trace, { status, finish: "error" });
  throw cause;
}

/** Sends the request to the model's engine; a second attempt follows when the first engine is unreachable. */
async function forward(ctx: Ctx, trace: RequestTrace): Promise<Response> {
  const client = trace.access.signal;
  for (let attempt = 1; ; attempt++) {
    const searchedAt = ctx.clock.monotonic();
    const serving = await ensureServing(ctx, trace.actor, trace.request.model, client);
    const searchMs = ctx.clock.monotonic() - searchedAt;
    trace.serving = serving;
    trace.model = serving.name;
    const { signal, ...call } = beginCall(ctx, serving.deploymentId, client);
    let reply: Response;
    try {
      const body = engineBody(trace.request, serving.name);
      if (attempt === 1)
        trace.busyMs = ctx.clock.monotonic() - trace.startedAt - (searchMs > SEARCH_WAIT_MS ? searchMs : 0);
      reply = await upstreamFetch(serving.address, `/v1/${trace.request.endpoint}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
        signal,
      });
    } catch (cause) {
      call.end();
      if (client.aborted) throw cause;
      if (signal.aborted) throw engineTimeout(cause);
      const gone = await reportUnreachable(ctx, serving.deploymentId, serving.address);
      if (attempt >= MAX_ATTEMPTS) throw gone ? engineUnreachable(cause) : engineHungUp(cause);
      continue;
    }
    try {
      return await answerFrom(ctx, trace, reply, call);
    } catch (cause) {
      call.end();
      throw cause;
    }
  }
}

/**
 * Counts the request for its deployment, and aborts `signal` when the client disconnects, on timeout, or on shutdown.
 */
function beginCall(ctx: Ctx, deploymentId: string, client: AbortSignal): EngineCall & { signal: AbortSignal } {
  const over = requestBegins(ctx, deploymentId);
  const controller = new AbortController();
  const abort = () => controller.abort();
  // One timer and two listeners, all removed at the end: AbortSignal.timeout would stay alive for its whole time.
  const timer = setTimeout(abort, ENGINE_MS);
  client.addEventListener("abort", abort, { once: true });
  ctx.signal.addEventListener("abort", abort, { once: true });
  if (client.aborted) abort();
  const end = () => {
    clearTimeout(timer);
    client.removeEventListener("abort", abort);
    ctx.signal.removeEventListener("abort", abort);
    over();
  };
  return { signal: controller.signal, abort, end };
}

function engineTimeout(cause: unknown): AppError {
  return new AppError("unavailable", "engine_timeout", "The model's engine took too long to answer.", { cause });
}

function engineHungUp(cause: unknown): AppError {
  return new AppError(
    "internal",
    "engine_failed",
    "The model's engine closed the connection without an answer to this request. The log of its job may say why.",
    { cause },
  );
}

function engineUnreachable(cause: unknown): AppError {
  return new AppError(
    "unavailable",
    "engine_unreachable",
    "The model's engine does not answer. It is restarting; try again in a few seconds.",
    { cause, retryAfterS: 5 },
  );
}
