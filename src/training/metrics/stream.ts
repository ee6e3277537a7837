/**
 * The live stream of a page: committed batches of its jobs, and changes by topic, as server-sent events.
 * A reader is a cursor over batch ids, and the bus only wakes it. Nothing is lost or sent twice across reconnects, and
 * a stalled reader holds only its cursor and one coalesced list of changes.
 */
import { inArray } from "drizzle-orm";
import { type AccessWatch, watchAccess } from "../../accounts/auth/revocation.ts";
import { type Actor, type Ctx, perContext } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";
import { AppError } from "../../errors.ts";
import { batchText, missedBatches, newestBatch, readBatches } from "./payload.ts";
import { recentOf } from "./recent.ts";
import { requireJobs } from "./service.ts";
import { type Changed, listenTopics } from "./topics.ts";

interface StreamRequest {
  jobs: string[];
  topics: string[];
  /** Last batch id that the reader has; null to begin now. */
  after: number | null;
}

interface StreamTiming {
  /** Milliseconds between heartbeats. Proxies and Bun close a quiet stream after 10 seconds. */
  heartbeatMs: number;
  /** Milliseconds between two checks of the reader's access. */
  checkMs: number;
  /** Milliseconds after which a reader that takes nothing is dropped. */
  stallMs: number;
}

const TIMING: StreamTiming = { heartbeatMs: 5000, checkMs: 60_000, stallMs: 120_000 };
/** A reader further behind than this gets a `reset` and reads the job again. */
const MAX_MISSED = { batches: 1000, points: 200_000 };
const BATCHES_A_READ = 50;
const MAX_NEWS = 1000;
const MAX_STREAMS_A_USER = 50;

/** Number of open streams by user. */
const streamsOf = perContext(() => new Map<string, number>());

/** @throws AppError `too_many_streams` */
function requireFewStreams(ctx: Ctx, userId: string): void {
  if ((streamsOf(ctx).get(userId) ?? 0) >= MAX_STREAMS_A_USER)
    throw new AppError("rate_limited", "too_many_streams", "Too many open streams; close some pages.", {
      retryAfterS: 10,
    });
}

/** Adds a stream of a user; the returned function removes it. */
function countIn(ctx: Ctx, userId: string): () => void {
  const counts = streamsOf(ctx);
  counts.set(userId, (counts.get(userId) ?? 0) + 1);
  return () => {
    const left = (counts.get(userId) ?? 1) - 1;
    if (left > 0) counts.set(userId, left);
    else counts.delete(userId);
  };
}

const eventText = (name: string, data: unknown) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
const changedText = (changed: Changed) => eventText("changed", changed);

/** Wakes and ends one stream. */
interface Control {
  ended: boolean;
  news: Map<string, Changed>;
  wake(): void;
  /** Resolves at the next wake, or after `ms`. */
  wait(ms: number): Promise<void>;
}

function createControl(): Control {
  let resume: (() => void) | null = null;
  let woken = false;
  return {
    ended: false,
    news: new Map(),
    wake() {
      woken = true;
      resume?.();
    },
    wait(ms) {
      if (woken) {
        woken = false;
        return Promise.resolve();
      }
      return new Promise((resolve) => {
        const done = () => {
          clearTimeout(timer);
          resume = null;
          woken = false;
          resolve();
        };
        const timer = setTimeout(done, ms);
        resume = done;
      });
    },
  };
}

/** Texts in the order of sending, until the control ends. */
async function* texts(ctx: Ctx, want: StreamRequest, control: Control, timing: StreamTiming): AsyncGenerator<string> {
  const jobs = new Set(want.jobs);
  const recent = recentOf(ctx);
  const head = await newestBatch(ctx);
  let cursor = want.after ?? head;
  yield `retry: 1000\nid: ${Math.min(cursor, head)}\n${eventText("hello", { batch_id: Math.min(cursor, head) })}`;
  if (cursor > head) {
    // The id is from before a backup was restored, so nothing that the reader has can be trusted.
    cursor = head;
    for (const id of jobs) yield eventText("reset", { job_id: id, batch_id: head });
  }
  const states = await ctx.db
    .select({ id: job.id, state: job.state })
    .from(job)
    .where(inArray(job.id, [...jobs]));
  for (const { id, state } of states) yield changedText({ topic: "jobs", id, state });

  while (!control.ended) {
    const ready = recent.after(jobs, cursor, BATCHES_A_READ);
    if (ready) {
      cursor = ready.upTo;
      if (ready.texts.length > 0) {
        yield ready.texts.join("");
        continue;
      }
    } else {
      const upTo = await newestBatch(ctx);
      if (upTo > cursor) {
        for await (const text of catchUp(ctx, [...jobs], cursor, upTo)) {
          yield text;
          if (control.ended) return;
        }
        cursor = upTo;
        // The next connection of the reader begins after this id.
        yield `id: ${upTo}\n${eventText("hello", { batch_id: upTo })}`;
        continue;
      }
    }
    if (control.news.size > 0) {
      const news = [...control.news.values()];
      control.news.clear();
      yield news.map(changedText).join("");
      continue;
    }
    const before = ctx.clock.monotonic();
    await control.wait(timing.heartbeatMs);
    if (!control.ended && ctx.clock.monotonic() - before >= timing.heartbeatMs - 50) yield ": still here\n\n";
  }
}

/** All batches of the jobs between two ids, from the database. Jobs that are too far behind get a `reset` instead. */
async function* catchUp(ctx: Ctx, jobs: string[], from: number, upTo: number): AsyncGenerator<string> {
  const near: string[] = [];
  for (const id of jobs) {
    const missed = await missedBatches(ctx, id, from, MAX_MISSED.batches + 1);
    if (missed.batches <= MAX_MISSED.batches && missed.points <= MAX_MISSED.points) near.push(id);
    else yield eventText("reset", { job_id: id, batch_id: upTo });
  }
  let after = from;
  for (;;) {
    const payloads = await readBatches(ctx, near, { after, upTo, limit: BATCHES_A_READ });
    const last = payloads.at(-1);
    if (!last) return;
    yield payloads.map(batchText).join("");
    after = last.batchId;
  }
}

/** What delivery has done last, to detect a stalled reader. */
interface Delivery {
  /** A chunk is ready that the reader has not taken yet. */
  pending: boolean;
  /** When the reader last took a chunk, by the monotonic clock. */
  takenAt: number;
}

/**
 * Starts everything that wakes or ends a stream: events on the bus, changes of access, a stalled reader, and the end of
 * the server.
 * @returns ends the stream and releases all of it
 */
function superviseStream(
  ctx: Ctx,
  actor: Actor,
  want: StreamRequest,
  stream: { control: Control; access: AccessWatch; delivery: Delivery; timing: StreamTiming },
): () => void {
  const { control, access, delivery, timing } = stream;
  const stops = [countIn(ctx, actor.userId), recentOf(ctx).open()];
  const end = () => {
    if (control.ended) return;
    control.ended = true;
    for (const stop of stops) stop();
    control.wake();
  };
  const jobs = new Set(want.jobs);
  stops.push(
    listenTopics(ctx, actor.org, { topics: new Set(want.topics), jobs }, (changed) => {
      if (control.news.size >= MAX_NEWS) return end();
      const key = `${changed.topic} ${changed.id}`;
      control.news.delete(key);
      control.news.set(key, changed);
      control.wake();
    }),
    ctx.bus.on("job.batch", (event) => {
      if (jobs.has(event.jobId)) control.wake();
    }),
    access.stop,
  );
  const checks = setInterval(() => {
    if (delivery.pending && ctx.clock.monotonic() - delivery.takenAt > timing.stallMs) end();
    else void access.check();
  }, timing.checkMs);
  stops.push(() => clearInterval(checks));
  for (const signal of [ctx.signal, access.signal]) {
    signal.addEventListener("abort", end);
    stops.push(() => signal.removeEventListener("abort", end));
    if (signal.aborted) end();
  }
  return end;
}

/**
 * Opens a stream for `actor`. It ends when the reader disconnects or stalls, when its access ends
 * (auth/revocation.ts), or when the server stops.
 * @param request the HTTP request; its credentials are checked again every minute
 * @throws AppError `job_not_found` for a job of another organization, `too_many_streams`
 */
export async function openStream(
  ctx: Ctx,
  actor: Actor,
  want: StreamRequest,
  request: Request,
  timing: StreamTiming = TIMING,
): Promise<ReadableStream<Uint8Array>> {
  await requireJobs(ctx, actor, want.jobs);
  const control = createControl();
  const delivery: Delivery = { pending: false, takenAt: ctx.clock.monotonic() };
  requireFewStreams(ctx, actor.userId);
  const access = watchAccess(ctx, actor, request);
  const end = superviseStream(ctx, actor, want, { control, access, delivery, timing });
  const source = texts(ctx, want, control, timing);
  const encoder = new TextEncoder();
  let disconnected = false;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        delivery.takenAt = ctx.clock.monotonic();
        delivery.pending = false;
        try {
          const next = control.ended ? { done: true as const } : await source.next();
          await access.settled();
          if (next.done || control.ended) {
            end();
            // A reader that disconnected has closed it already.
            if (!disconnected) controller.close();
            return;
          }
          controller.enqueue(encoder.encode(next.value));
          delivery.pending = true;
        } catch (error) {
          end();
          ctx.log("error", "a live stream failed", { cause: error });
          if (!disconnected) controller.error(error);
        }
      },
      cancel() {
        disconnected = true;
        end();
      },
    },
    { highWaterMark: 1 },
  );
}
