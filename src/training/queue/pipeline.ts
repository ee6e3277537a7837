/**
 * The loop that moves jobs forward: it settles validated data, starts queued jobs and supervises attempts. A restart
 * loses none of its state.
 */
import { desc, eq, isNotNull } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { builtOnce } from "../../db/built.ts";
import { job } from "../../db/schema/jobs.ts";
import { clockJumps } from "../attempts/clock-jumps.ts";
import { openProviders } from "../attempts/closed.ts";
import { compareFirstBatch } from "../attempts/first-batch.ts";
import { meterRunning } from "../attempts/meter.ts";
import { sweepOrphans } from "../attempts/orphans.ts";
import { expireQueued, liveAttempts, type SupervisorState, superviseAttempt } from "../attempts/supervise.ts";
import { adviseOutOfMemory } from "../plan/oom-advice.ts";
import { settleValidating } from "../plan/service.ts";
import { keepResults } from "../results/result-files.ts";
import type { Round } from "../scheduler/types.ts";
import { noteRound } from "./last-round.ts";
import { openQueue, runQueue } from "./runner.ts";

/** Between two looks at what running attempts used, in milliseconds. */
const METER_MS = 10_000;
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

/** Runs work beside the loop, at most once at a time for each id. */
interface Tasks {
  /** Starts `work` unless `id` is busy. A failure is logged; the next pass retries. */
  start(id: string, what: string, work: () => Promise<void>): void;
  /** Runs `work` and waits for it. A failure is logged; the next pass retries. */
  run(what: string, work: () => Promise<void>): Promise<void>;
  settled(): Promise<unknown>;
}

function createTasks(ctx: Ctx, stop: AbortSignal): Tasks {
  const underWay = new Set<Promise<void>>();
  const busy = new Set<string>();
  const failed = (what: string, fields: Record<string, unknown>) => {
    if (!stop.aborted) ctx.log("error", `${what} failed; it will be tried again`, fields);
  };
  return {
    start(id, what, work) {
      if (busy.has(id)) return;
      busy.add(id);
      const running = work()
        .catch((cause) => failed(what, { id, cause }))
        .finally(() => {
          busy.delete(id);
          underWay.delete(running);
        });
      underWay.add(running);
    },
    run: (what, work) => work().catch((cause) => failed(what, { cause })),
    settled: () => Promise.allSettled([...underWay]),
  };
}

/** State of the loop between passes. */
interface Pipeline {
  ctx: Ctx;
  tasks: Tasks;
  supervisor: SupervisorState;
  queue: ReturnType<typeof openQueue>;
  followClock: ReturnType<typeof clockJumps>;
  /** A job succeeded (perhaps before a restart) and may need its result file. */
  resultsDue: boolean;
  /** A change calls for a round of the queue; without one, the next is due at `nextRound`. */
  queueDue: boolean;
  nextRound: number;
  /** Number of live attempts in the last pass. */
  lastLive: number;
  sweptAt: number;
  meteredAt: number;
}

/** One round of the queue. Attempts it launches run beside the loop. */
function startQueued({ ctx, tasks, supervisor, queue }: Pipeline): Promise<Round> {
  return runQueue(ctx, queue.carry, (work, attemptId) => {
    supervisor.launching.add(attemptId);
    tasks.start(`launch ${attemptId}`, "launching a job", () =>
      work.finally(() => supervisor.launching.delete(attemptId)),
    );
  });
}

/** Supervises all live attempts and compares their first batches; returns their number. */
async function superviseLive({ ctx, tasks, supervisor }: Pipeline): Promise<number> {
  const live = await liveAttempts(ctx);
  for (const { job: row, attempt } of live) {
    tasks.start(attempt.id, "supervising a job", () => superviseAttempt(ctx, supervisor, row, attempt));
    if (row.progress.first_batch?.state === "told")
      tasks.start(`first batch ${attempt.id}`, "comparing the first batch", () => compareFirstBatch(ctx, row, attempt));
  }
  return live.length;
}

// Newest first: jobs that wait long for a large base model do not hold up those that only wait for their data.
const validatingJobs = builtOnce((db) =>
  db.select().from(job).where(eq(job.state, "validating")).orderBy(desc(job.createdAt)).limit(100).prepare(),
);
const anyQueued = builtOnce((db) =>
  db.select({ id: job.id }).from(job).where(eq(job.state, "queued")).limit(1).prepare(),
);

/** One pass over all jobs; true when any of them is active. */
async function pass(pipeline: Pipeline, sweepMs: number, orphanGraceMs: number): Promise<boolean> {
  const { ctx, tasks, supervisor } = pipeline;
  const jump = await pipeline.followClock();
  supervisor.startedAt += jump;
  if (jump !== 0) {
    supervisor.askAgainAt.clear();
    openProviders(ctx);
    pipeline.queueDue = true; // the next round was planned by the old clock
  }
  const validating = await validatingJobs(ctx.db).execute();
  for (const row of validating) tasks.start(row.id, "settling the data of a job", () => settleValidating(ctx, row));
  const live = await superviseLive(pipeline);
  // No event reports work that disappeared or time that passed. A round every two seconds finds both.
  if (pipeline.queueDue || live !== pipeline.lastLive || ctx.clock.now() >= pipeline.nextRound) {
    pipeline.queueDue = false;
    pipeline.lastLive = live;
    await tasks.run("starting queued jobs", async () => {
      const { nextAt } = await startQueued(pipeline);
      pipeline.nextRound = Math.min(ctx.clock.now() + ROUND_MS, nextAt ?? Number.POSITIVE_INFINITY);
      noteRound(ctx);
    });
  }
  if (ctx.clock.monotonic() - pipeline.meteredAt > METER_MS) {
    const first = pipeline.meteredAt === Number.NEGATIVE_INFINITY;
    pipeline.meteredAt = ctx.clock.monotonic();
    // Not beside the loop: the clock has just been checked.
    await tasks.run("metering running jobs", () => meterRunning(ctx, first));
  }
  if (pipeline.resultsDue) {
    pipeline.resultsDue = false;
    tasks.start("results", "writing a result file", () => keepResults(ctx));
  }
  if (ctx.clock.monotonic() - pipeline.sweptAt > sweepMs) {
    pipeline.sweptAt = ctx.clock.monotonic();
    tasks.start("sweep", "the orphan sweep", () => sweepOrphans(ctx, supervisor.orphanSince, orphanGraceMs));
    tasks.start("queue", "expiring the queue", () => expireQueued(ctx, supervisor));
  }
  const [queued] = await anyQueued(ctx.db).execute();
  return live > 0 || validating.length > 0 || queued !== undefined;
}

/** Sleeps until `wake` or for a given time; a wake during a pass is not lost. */
function createAlarm() {
  let resume = () => {};
  let woken = false;
  return {
    wake() {
      woken = true;
      resume();
    },
    /** Starts a pass: wakes from now on lead to another one. */
    arm() {
      woken = false;
    },
    /** Waits up to `ms`. After a wake it waits 5 ms, so that a burst leads to one pass. */
    async sleep(ms: number, stop: AbortSignal): Promise<void> {
      if (woken) return Bun.sleep(5);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        resume = () => {
          clearTimeout(timer);
          resolve();
        };
        if (stop.aborted) resume();
      });
    },
  };
}

/**
 * Starts the loop. It adopts attempts that ran before a restart, reacts to events on the bus at once, and passes over
 * all jobs regularly.
 * @returns stops the loop and waits for the work in progress
 */
export function startPipeline(ctx: Ctx, options: PipelineOptions = {}): () => Promise<void> {
  const { activeMs = 500, idleMs = 5000, sweepMs = 5000, orphanGraceMs = 30_000 } = options;
  const stop = new AbortController();
  const alarm = createAlarm();
  const pipeline: Pipeline = {
    ctx,
    tasks: createTasks(ctx, stop.signal),
    supervisor: {
      startedAt: ctx.clock.now(),
      launching: new Set(),
      goneSince: new Map(),
      late: new Set(),
      lateQueued: new Set(),
      askAgainAt: new Map(),
      orphanSince: new Map(),
    },
    queue: openQueue(ctx),
    followClock: clockJumps(ctx),
    resultsDue: true,
    queueDue: true,
    nextRound: 0,
    lastLive: 0,
    sweptAt: Number.NEGATIVE_INFINITY,
    meteredAt: Number.NEGATIVE_INFINITY,
  };
  const { tasks } = pipeline;
  const hint = () => {
    pipeline.queueDue = true;
    alarm.wake();
  };
  const offs = [
    ctx.bus.on("job.changed", ({ state, kind, jobId }) => {
      pipeline.resultsDue ||= state === "succeeded";
      if (state === "failed" && kind === "train")
        tasks.start(`advice ${jobId}`, "searching for settings that fit", () => adviseOutOfMemory(ctx, jobId));
      hint();
    }),
    ctx.bus.on("dataset.changed", hint),
    ctx.bus.on("base_model.changed", hint),
    ctx.bus.on("hosts.changed", hint),
    ctx.bus.on("hold.changed", hint),
    ctx.bus.on("budget.changed", hint),
    ctx.bus.on("maintenance.changed", hint),
    pipeline.queue.stop,
  ];

  async function loop(): Promise<void> {
    // One process owns the data directory, so a lease found at the start belongs to a server that has ended.
    await tasks.run("clearing old leases", async () => {
      await ctx.write((tx) => tx.update(job).set({ leaseToken: null, leaseUntil: 0 }).where(isNotNull(job.leaseToken)));
    });
    while (!stop.signal.aborted && !ctx.signal.aborted) {
      alarm.arm();
      let active = true;
      await tasks.run("a pass over the jobs", async () => {
        active = await pass(pipeline, sweepMs, orphanGraceMs);
      });
      await alarm.sleep(active ? activeMs : idleMs, stop.signal);
    }
  }

  const running = loop();
  ctx.signal.addEventListener("abort", hint);
  return async () => {
    stop.abort();
    for (const off of offs) off();
    ctx.signal.removeEventListener("abort", hint);
    alarm.wake();
    await running;
    await tasks.settled();
  };
}
