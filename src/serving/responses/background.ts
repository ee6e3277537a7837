/** Responses in the background: generated without a waiting client, then read, followed as a stream, or canceled. */
import { type Ctx, perContext } from "../../ctx.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { type BusMessage, emitAll } from "../../lib/bus.ts";
import { createFairQueue } from "../../lib/fair-queue.ts";
import { lruOf } from "../../lib/lru.ts";
import { recordEvent } from "../../notices/events/store.ts";
import { pendingAnswers, replaceAnswer } from "../stored/store.ts";
import type { Assembler, ResponseEvent } from "./assembler.ts";
import { failedPiece, piecesOf } from "./stream.ts";
import { isPending, type ResponseView } from "./view.ts";

/** Responses that are generated at a time; more wait, with turns between organizations. */
const SLOTS = 8;
const MAX_WAITING = 2000;
const MAX_WAITING_EACH = 500;
/** Ended responses whose events are kept for clients that come back to the stream. */
const MAX_ENDED = 100;
/** Interrupted responses that are read at once. */
const AT_ONCE = 100;

interface Run {
  response: ResponseView;
  events: ResponseEvent[];
  stop: AbortController;
  /** Called at every change. */
  waiting: Set<() => void>;
  /** Resolves when the response has ended and is stored. */
  done: Promise<void>;
}

const stateOf = perContext(() => ({
  running: new Map<string, Run>(),
  ended: lruOf<Run>(MAX_ENDED),
  queue: createFairQueue({
    slots: SLOTS,
    maxWaiting: MAX_WAITING,
    maxWaitingEach: MAX_WAITING_EACH,
    code: "too_many_responses",
    what: "responses in the background",
  }),
}));

const runOf = (ctx: Ctx, id: string) => stateOf(ctx).running.get(id) ?? stateOf(ctx).ended.get(id) ?? null;

/**
 * Starts generating a response that is stored already.
 * @param ask sends the chat completion request, streamed
 * @returns the response as it is now: queued
 */
export function startRun(
  ctx: Ctx,
  org: string,
  started: ResponseView,
  assembler: Assembler,
  ask: (signal: AbortSignal) => Promise<Response>,
): ResponseView {
  const { running, ended, queue } = stateOf(ctx);
  const stop = new AbortController();
  const events = assembler.queue();
  const run: Run = {
    response: { ...started, status: "queued" },
    events,
    stop,
    waiting: new Set(),
    done: Promise.resolve(),
  };
  const change = (response: ResponseView, more: ResponseEvent[]) => {
    run.response = response;
    run.events.push(...more);
    for (const wake of [...run.waiting]) wake();
  };
  const store = (response: ResponseView) => storeRun(ctx, org, response);
  const generate = async () => {
    change(started, assembler.begin());
    const reply = await ask(stop.signal);
    if (!reply.ok || !reply.body) throw await refusalOf(reply);
    for await (const piece of piecesOf(ctx, reply.body, assembler, store)) {
      // What ends because it was canceled is not a failure.
      if (stop.signal.aborted) throw stop.signal.reason;
      if (piece.ended?.status === "failed") await store(piece.ended);
      change(piece.ended ?? run.response, piece.events);
    }
  };
  const signal = AbortSignal.any([stop.signal, ctx.signal]);
  run.done = queue
    .run(org, generate, signal)
    .catch(async (cause) => {
      const last = stop.signal.aborted
        ? { events: [], ended: { ...run.response, status: "cancelled" as const } }
        : failedPiece(ctx, assembler, cause);
      await store(last.ended);
      change(last.ended, last.events);
    })
    .catch((cause) => ctx.log("error", "a response in the background was not stored", { cause }))
    .finally(() => {
      running.delete(started.id);
      ended.set(started.id, run);
    });
  running.set(started.id, run);
  return run.response;
}

/** Replaces the stored response, with the event of its end. */
async function storeRun(ctx: Ctx, org: string, response: ResponseView): Promise<void> {
  const { metadata: _, ...answer } = response;
  const messages: BusMessage[] = [];
  await replaceAnswer(ctx, response.id, { answer, pending: isPending(response) }, async (tx, before) => {
    // The first end counts: one that is canceled while it is completed has one event.
    if (isPending(response) || !isPending(before.answer)) return;
    messages.push(await recordEnd(tx, ctx, org, response));
  });
  emitAll(ctx.bus, messages);
}

/** Stores the event of a response that has ended, for webhooks. */
function recordEnd(tx: Db, ctx: Ctx, org: string, { id, status, error }: ResponseView): Promise<BusMessage> {
  return recordEvent(tx, ctx, {
    org,
    type: `response.${status as "completed" | "failed" | "incomplete" | "cancelled"}`,
    subject: id,
    userId: null,
    title: `Response ${id}: ${status === "cancelled" ? "canceled" : status}`,
    body: error?.message ?? "",
    path: "/",
  });
}

/** The engine's or gateway's refusal as an error for the response. */
async function refusalOf(reply: Response): Promise<AppError> {
  const body = (await reply.json().catch(() => null)) as { error?: { message?: string; code?: string } } | null;
  const message = body?.error?.message ?? "The model's engine refused the request.";
  return new AppError("invalid", body?.error?.code ?? "engine_failed", message);
}

/** A stored response as it is now. One that was pending when the server stopped has failed. */
export function currentResponse(ctx: Ctx, stored: ResponseView): ResponseView {
  const run = runOf(ctx, stored.id);
  if (run) return { ...run.response, metadata: stored.metadata };
  return isPending(stored) && stored.background ? interrupted(stored) : stored;
}

/** A response that was pending when the server stopped. */
function interrupted(stored: ResponseView): ResponseView {
  const message = "The server was restarted while it generated this response. Create it again.";
  return { ...stored, status: "failed", error: { code: "server_error", message } };
}

/** Stores that the responses which were pending at `before` have failed, with their events. */
async function endInterrupted(ctx: Ctx, before: number): Promise<void> {
  for (;;) {
    const rows = await pendingAnswers(ctx, before, AT_ONCE);
    for (const { org, answer, metadata } of rows)
      await storeRun(ctx, org, interrupted({ ...(answer as unknown as ResponseView), metadata }));
    if (rows.length < AT_ONCE) return;
  }
}

/** Ends the responses that the last stop or crash of the server interrupted. Call it before requests are served. */
export function endInterruptedResponses(ctx: Ctx): void {
  endInterrupted(ctx, ctx.clock.now()).catch((cause) => {
    if (!ctx.signal.aborted) ctx.log("error", "interrupted responses were not ended", { cause });
  });
}

/** Cancels a response; one that has ended stays as it is. */
export async function stopRun(ctx: Ctx, id: string): Promise<void> {
  const run = stateOf(ctx).running.get(id);
  run?.stop.abort();
  await run?.done;
}

/** Cancels a response that is deleted, and forgets it. */
export async function forgetRun(ctx: Ctx, id: string): Promise<void> {
  await stopRun(ctx, id);
  stateOf(ctx).ended.delete(id);
}

/** The events of a response after the number `after`, those to come included; null when they are not kept. */
export function followRun(ctx: Ctx, id: string, after: number): AsyncGenerator<ResponseEvent[]> | null {
  const run = runOf(ctx, id);
  return run ? follow(run, after) : null;
}

async function* follow(run: Run, after: number): AsyncGenerator<ResponseEvent[]> {
  for (let at = after + 1; ; ) {
    const events = run.events.slice(at);
    const over = !isPending(run.response);
    if (events.length > 0) yield events;
    at += events.length;
    if (over) return;
    if (run.events.length > at) continue;
    await new Promise<void>((wake) => {
      const once = () => {
        run.waiting.delete(once);
        wake();
      };
      run.waiting.add(once);
    });
  }
}
