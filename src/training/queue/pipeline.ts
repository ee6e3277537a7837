/**
 * The loop that moves jobs forward: it settles validated data, starts queued jobs and supervises attempts. A restart
 * loses none of its state.
 */
import { eq, isNotNull } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";
import { clockJumps } from "../attempts/clock-jumps.ts";
import { compareFirstBatch } from "../attempts/first-batch.ts";
import {
  expireQueued,
  liveAttempts,
  type SupervisorState,
  superviseAttempt,
  sweepOrphans,
} from "../attempts/supervise.ts";
import { adviseOutOfMemory } from "../plan/oom-advice.ts";
import { keepResults } from "../plan/result-files.ts";
import { settleValidating } from "../plan/service.ts";
import { openQueue, runQueue } from "./runner.ts";

/** Longest time between two rounds of the queue, in milliseconds. */
const ROUND_MS = 2000;

export interface PipelineOptions {
  /** Longest pause between passes while jobs are active, and while none is. */
  activeMs?: number;
  idleMs?: number;
  /** How often the work that providers run is compared with the database. */
  sweepMs?: number;
  /** How long work without a live attempt may run before it is ended. */
  orphanGraceMs?: number;
}

/**
 * Starts the loop. It adopts attempts that ran before a restart, reacts to events on the bus at once, and passes over
 * all jobs regularly.
 * @returns stops the loop and waits for the work in progress
 */
export function startPipeline(ctx: Ctx, options: PipelineOptions = {}): () => Promise<void> {
  const { activeMs = 500, idleMs = 5000, sweepMs = 5000, orphanGraceMs = 30_000 } = options;
  const supervisor: SupervisorState = {
    startedAt: ctx.clock.now(),
    launching: new Set(),
    goneSince: new Map(),
    askAgainAt: new Map(),
    orphanSince: new Map(),
  };
  const followClock = clockJumps(ctx);
  const stop = new AbortController();
  const underWay = new Set<Promise<void>>();
  const busy = new Set<string>();
  let wake = () => {};
  let woken = false;
  /** A job succeeded (perhaps before a restart) and may need its result file. */
  let resultsDue = true;
  let sweptAt = Number.NEGATIVE_INFINITY;
  const queue = openQueue(ctx);
  /** A change calls for a round of the queue; without one, the next is due at `nextRound`. */
  let queueDue = true;
  let nextRound = 0;
  let lastLive = 0;

  const hint = () => {
    woken = true;
    queueDue = true;
    wake();
  };
  const offs = [
    ctx.bus.on("job.changed", ({ state, kind, jobId }) => {
      resultsDue ||= state === "succeeded";
      if (state === "failed" && kind === "train")
        aside(`advice ${jobId}`, "searching for settings that fit", () => adviseOutOfMemory(ctx, jobId));
      hint();
    }),
    ctx.bus.on("dataset.changed", hint),
    ctx.bus.on("base_model.changed", hint),
    ctx.bus.on("hosts.changed", hint),
    queue.stop,
  ];

  /** Runs `work` beside the loop, at most once at a time for each `id`. A failure is logged and retried. */
  function aside(id: string, what: string, work: () => Promise<void>): void {
    if (busy.has(id)) return;
    busy.add(id);
    const running = work()
      .catch((cause) => {
        if (!stop.signal.aborted) ctx.log("error", `${what} failed; it will be tried again`, { id, cause });
      })
      .finally(() => {
        busy.delete(id);
        underWay.delete(running);
      });
    underWay.add(running);
  }

  async function guarded(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (cause) {
      if (!stop.signal.aborted) ctx.log("error", `${what} failed; it will be tried again`, { cause });
    }
  }

  /** One pass over all jobs; true when any of them is active. */
  async function pass(): Promise<boolean> {
    const jump = await followClock();
    supervisor.startedAt += jump;
    if (jump !== 0) {
      supervisor.askAgainAt.clear();
      queueDue = true; // the next round was planned by the old clock
    }
    const validating = await ctx.db.select().from(job).where(eq(job.state, "validating")).limit(100);
    for (const row of validating) aside(row.id, "settling the data of a job", () => settleValidating(ctx, row));
    const live = await liveAttempts(ctx);
    for (const { job: row, attempt } of live) {
      aside(attempt.id, "supervising a job", () => superviseAttempt(ctx, supervisor, row, attempt));
      if (row.progress.first_batch?.state === "told")
        aside(`first batch ${attempt.id}`, "comparing the first batch", () => compareFirstBatch(ctx, row, attempt));
    }
    // No event reports work that disappeared or time that passed. A round every two seconds finds both.
    if (queueDue || live.length !== lastLive || ctx.clock.now() >= nextRound) {
      queueDue = false;
      lastLive = live.length;
      await guarded("starting queued jobs", async () => {
        const { nextAt } = await runQueue(ctx, queue.carry, (work, attemptId) => {
          supervisor.launching.add(attemptId);
          aside(`launch ${attemptId}`, "launching a job", () =>
            work.finally(() => supervisor.launching.delete(attemptId)),
          );
        });
        nextRound = Math.min(ctx.clock.now() + ROUND_MS, nextAt ?? Number.POSITIVE_INFINITY);
      });
    }
    if (resultsDue) {
      resultsDue = false;
      aside("results", "writing a result file", () => keepResults(ctx));
    }
    if (ctx.clock.monotonic() - sweptAt > sweepMs) {
      sweptAt = ctx.clock.monotonic();
      aside("sweep", "the orphan sweep", () => sweepOrphans(ctx, supervisor, orphanGraceMs));
      aside("queue", "expiring the queue", () => expireQueued(ctx));
    }
    const [queued] = await ctx.db.select({ id: job.id }).from(job).where(eq(job.state, "queued")).limit(1);
    return live.length > 0 || validating.length > 0 || queued !== undefined;
  }

  async function loop(): Promise<void> {
    // One process owns the data directory, so a lease found at the start belongs to a server that has ended.
    await guarded("clearing old leases", async () => {
      await ctx.write((tx) => tx.update(job).set({ leaseToken: null, leaseUntil: 0 }).where(isNotNull(job.leaseToken)));
    });
    while (!stop.signal.aborted && !ctx.signal.aborted) {
      woken = false;
      let active = true;
      await guarded("a pass over the jobs", async () => {
        active = await pass();
      });
      if (woken) {
        // A burst of hints leads to one pass; what they announce has been committed.
        await Bun.sleep(5);
        continue;
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, active ? activeMs : idleMs);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
        if (woken || stop.signal.aborted) wake();
      });
    }
  }

  const running = loop();
  ctx.signal.addEventListener("abort", hint);
  return async () => {
    stop.abort();
    for (const off of offs) off();
    ctx.signal.removeEventListener("abort", hint);
    wake();
    await running;
    await Promise.allSettled([...underWay]);
  };
}
