/**
 * Advances sweeps: records how trials ended, compares them at their rungs, and starts the next ones. All state is in
 * the database, so a restart loses nothing.
 */

import { and, asc, eq, inArray, sql } from "drizzle-orm";
import { isFinal } from "../../contract/job.ts";
import type { Decision, SweepRequest } from "../../contract/sweep.ts";
import { type Actor, type Ctx, systemActor } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";
import { sweep, trial } from "../../db/schema/sweeps.ts";
import { AppError } from "../../errors.ts";
import { emitAll } from "../../lib/bus.ts";
import { ordinal } from "../../lib/text/format.ts";
import { recordEvent } from "../../notices/events/store.ts";
import type { JobRow } from "../jobs/model.ts";
import { cancelJob } from "../jobs/service.ts";
import { parseTrainRequest } from "../plan/request.ts";
import { createTrainJob } from "../plan/service.ts";
import { rankAtRung } from "./halving.ts";
import type { SweepRow, TrialRow } from "./model.ts";
import { trainingOf } from "./plan.ts";

/** Metrics arrive often, so sweeps are advanced at most once in this many milliseconds. */
const ADVANCE_MS = 500;
const MAX_SWEEPS = 200;
const ENDED = { succeeded: "finished", failed: "failed", cancelled: "was canceled" } as const;

type Pair = { trial: TrialRow; run: JobRow | null };

async function update(ctx: Ctx, of: TrialRow, patch: Partial<TrialRow>): Promise<void> {
  await ctx.write((tx) =>
    tx
      .update(trial)
      .set(patch)
      .where(and(eq(trial.sweepId, of.sweepId), eq(trial.number, of.number))),
  );
  Object.assign(of, patch);
}

/** The first value of a metric at or after `step`; null while there is none. */
async function valueFrom(ctx: Ctx, jobId: string, metric: string, step: number): Promise<number | null> {
  const [found] = await ctx.db.all<{ value: number | null }>(sql`
    select p.value as value from point p join series s on s.id = p.series_id
    where s.job_id = ${jobId} and s.key = ${metric} and p.step >= ${step} order by p.step limit 1`);
  return found?.value ?? null;
}

/** The score of a run: its best value where the best checkpoint became the model, else its last value. */
async function scoreOf(ctx: Ctx, run: JobRow, { metric, direction }: SweepRequest): Promise<number | null> {
  const keepsBest =
    run.spec.kind === "train" && run.spec.hyperparameters.keep_best === true && metric.startsWith("eval/");
  const order = keepsBest ? (direction === "min" ? sql`p.value` : sql`p.value desc`) : sql`p.step desc`;
  const [found] = await ctx.db.all<{ value: number | null }>(sql`
    select p.value as value from point p join series s on s.id = p.series_id
    where s.job_id = ${run.id} and s.key = ${metric} and p.value is not null order by ${order} limit 1`);
  return found?.value ?? null;
}

/** Compares a trial with the others at every rung it has newly reached, and stops it at the first that it fails. */
async function compareAtRungs(ctx: Ctx, actor: Actor, request: SweepRequest, one: Pair, all: Pair[]): Promise<void> {
  const { trial: own, run } = one;
  if (request.strategy.type !== "halving" || !run) return;
  const { eta } = request.strategy;
  for (const [rung, step] of own.rungs.entries()) {
    if (own.decisions.some((made) => made.rung === rung)) continue;
    const value = await valueFrom(ctx, run.id, request.metric, step);
    if (value === null) return;
    const before = all.flatMap(({ trial: { decisions } }) =>
      decisions.filter((made) => made.rung === rung).map((made) => made.value),
    );
    const found = rankAtRung(value, before, eta, request.direction);
    const decision: Decision = { rung, step, value, ...found, at: ctx.clock.now() };
    const over = isFinal(run.state);
    const stop = !found.kept && !over;
    await update(ctx, own, {
      decisions: [...own.decisions, decision],
      ...(stop
        ? {
            state: "stopped" as const,
            score: value,
            reason: `Stopped at step ${step}: ${ordinal(found.rank)} of ${found.of} by ${request.metric} (${value.toPrecision(4)}). One in ${eta} continues.`,
          }
        : {}),
    });
    if (stop) {
      await cancelRun(ctx, actor, run);
      return;
    }
  }
}

/** Cancels a job, unless it has ended in the meantime. */
async function cancelRun(ctx: Ctx, actor: Actor, run: JobRow): Promise<void> {
  try {
    await cancelJob(ctx, actor, run.id);
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== "illegal_transition") throw error;
  }
}

/** Records how the job of a trial ended. */
async function recordEnd(ctx: Ctx, request: SweepRequest, { trial: own, run }: Pair): Promise<void> {
  if (own.state !== "running" || !run || !isFinal(run.state)) return;
  const state = run.state as "succeeded" | "failed" | "cancelled";
  const reason =
    state === "failed" ? (run.error?.message ?? null) : state === "cancelled" ? "Its job was cancelled." : null;
  await update(ctx, own, { state, reason, score: await scoreOf(ctx, run, request) });
}

/** Creates the job of a waiting trial. The key finds it again if the server stopped before the trial was updated. */
async function startTrial(ctx: Ctx, actor: Actor, row: SweepRow, own: TrialRow): Promise<void> {
  const { request } = row;
  const asked = trainingOf(request, own.number, own.values, own.rungs);
  const metadata = {
    ...(request.training.metadata as Record<string, string> | undefined),
    sweep: row.id,
    trial: String(own.number),
  };
  try {
    const made = await createTrainJob(ctx, actor, parseTrainRequest({ ...asked, metadata }), {
      idempotencyKey: `${row.id}:${own.number}`,
    });
    await update(ctx, own, { state: "running", jobId: made.id });
  } catch (error) {
    // A busy disk is temporary; a bad request is not.
    if (!(error instanceof AppError) || error.kind === "unavailable" || error.kind === "internal") throw error;
    await update(ctx, own, { state: "failed", reason: error.message });
  }
}

async function finish(ctx: Ctx, row: SweepRow, all: Pair[]): Promise<void> {
  const states = all.map(({ trial: one }) => one.state);
  const failed = !states.includes("succeeded") && row.state === "running";
  const reason = all.find(({ trial: one }) => one.state === "failed")?.trial.reason;
  const state = row.state === "stopping" ? "cancelled" : failed ? "failed" : "succeeded";
  const error = failed ? `No trial completed its training.${reason ? ` The first failure: ${reason}` : ""}` : null;
  const message = await ctx.write(async (tx) => {
    const open = and(eq(sweep.id, row.id), inArray(sweep.state, ["running", "stopping"]));
    const ended = await tx.update(sweep).set({ state, error, finishedAt: ctx.clock.now() }).where(open).returning();
    if (ended.length === 0) return null;
    return recordEvent(tx, ctx, {
      org: row.org,
      type: `sweep.${state}`,
      subject: row.id,
      // Who canceled it knows.
      userId: state === "cancelled" ? null : row.createdBy,
      title: `Sweep ${row.name} ${ENDED[state]}`,
      body: error ?? "",
      path: `/sweeps/${row.id}`,
    });
  });
  if (!message) return;
  emitAll(ctx.bus, [message]);
  ctx.bus.emit("sweep.changed", { org: row.org, sweepId: row.id, state });
}

/** Advances one sweep as far as possible now. */
async function advance(ctx: Ctx, row: SweepRow): Promise<void> {
  // Its jobs belong to the sweep's creator. Priorities were checked when the sweep was created.
  const actor: Actor = { ...systemActor(row.org), userId: row.createdBy };
  const all: Pair[] = await ctx.db
    .select({ trial, run: job })
    .from(trial)
    .leftJoin(job, eq(job.id, trial.jobId))
    .where(eq(trial.sweepId, row.id))
    .orderBy(asc(trial.number));
  const before = JSON.stringify(all.map(({ trial: one }) => [one.state, one.jobId, one.decisions.length]));
  for (const one of all)
    if (one.trial.state === "running") {
      await compareAtRungs(ctx, actor, row.request, one, all);
      await recordEnd(ctx, row.request, one);
    }
  for (const { trial: own, run } of all) {
    // A stopped trial is canceled again: the server may have ended between the decision and the cancellation.
    const unwanted = own.state === "stopped" || (own.state === "running" && row.state === "stopping");
    if (unwanted && run && run.state !== "stopping" && !isFinal(run.state)) await cancelRun(ctx, actor, run);
  }
  // A stopped trial holds its machine until its job has ended.
  const busy = () =>
    all.filter(({ trial: own, run }) => own.jobId && (own.state === "running" || (run && !isFinal(run.state))));
  for (const { trial: own } of all)
    if (row.state === "running" && own.state === "waiting" && busy().length < row.request.parallel)
      await startTrial(ctx, actor, row, own);
  const after = JSON.stringify(all.map(({ trial: one }) => [one.state, one.jobId, one.decisions.length]));
  if (after !== before) ctx.bus.emit("sweep.changed", { org: row.org, sweepId: row.id, state: row.state });
  if (busy().length === 0 && all.every(({ trial: own }) => own.state !== "waiting")) await finish(ctx, row, all);
}

/** Advances all live sweeps; returns whether any of them uses halving. */
async function advanceAll(ctx: Ctx): Promise<boolean> {
  const rows = await ctx.db
    .select()
    .from(sweep)
    .where(inArray(sweep.state, ["running", "stopping"]))
    .limit(MAX_SWEEPS);
  for (const row of rows)
    await advance(ctx, row).catch((cause) => {
      if (!ctx.signal.aborted) ctx.log("error", "a sweep could not be advanced", { sweep: row.id, cause });
    });
  return rows.some((row) => row.request.strategy.type === "halving");
}

/** Advances sweeps whenever trainings change, until the returned function is called. */
export function startSweeps(ctx: Ctx): () => void {
  let stopped = false;
  let halving = false;
  let timer: Timer | null = null;
  let running: Promise<void> = Promise.resolve();
  const run = () => {
    running = running
      .then(async () => {
        if (!stopped) halving = await advanceAll(ctx);
      })
      .catch((cause) => {
        if (!stopped) ctx.log("error", "sweeps could not be advanced", { cause });
      });
  };
  const soon = () => {
    if (stopped || timer) return;
    timer = setTimeout(() => {
      timer = null;
      run();
    }, ADVANCE_MS);
    timer.unref();
  };
  const offs = [
    ctx.bus.on("job.changed", (event) => {
      if (event.kind === "train") soon();
    }),
    ctx.bus.on("job.batch", () => {
      if (halving) soon();
    }),
    ctx.bus.on("sweep.changed", (event) => {
      if (event.state === "running" || event.state === "stopping") soon();
    }),
  ];
  run();
  return () => {
    stopped = true;
    if (timer) clearTimeout(timer);
    for (const off of offs) off();
  };
}
