/** Creates, reads and cancels sweeps: one training request with varied values, each trial an ordinary training job. */
import { and, asc, desc, eq, inArray, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { requireQuota } from "../../accounts/quotas/service.ts";
import { insertBudget } from "../../billing/budgets/service.ts";
import { usageOfJobs } from "../../billing/ledger/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { olderThan } from "../../db/paging.ts";
import { job } from "../../db/schema/jobs.ts";
import { sweep, trial } from "../../db/schema/sweeps.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { seconds } from "../../lib/request-fields.ts";
import { requireOwner } from "../../roles.ts";
import { deleteJob } from "../jobs/edit.ts";
import type { JobRow } from "../jobs/model.ts";
import type { CreateSweep, SweepRow, SweepView, TrialRow, TrialView } from "./model.ts";
import { planSweep } from "./plan.ts";

type Usage = { durationMs: number; costUsd: number };

/** Final states of a trial. */
const ENDED: TrialRow["state"][] = ["succeeded", "stopped", "failed", "cancelled", "refused"];

/**
 * Starts a sweep: stores its trials, which join the queue `parallel` at a time.
 * @throws AppError like `planSweep`, and `quota_exceeded`
 */
export async function createSweep(ctx: Ctx, actor: Actor, body: CreateSweep): Promise<SweepView> {
  const plan = await planSweep(ctx, actor, body);
  const row: SweepRow = {
    id: newId("sweep"),
    org: actor.org,
    name: plan.request.name,
    state: "running",
    request: plan.request,
    error: null,
    createdBy: actor.userId,
    createdAt: ctx.clock.now(),
    finishedAt: null,
  };
  await ctx.write(async (tx) => {
    await tx.insert(sweep).values(row);
    await tx.insert(trial).values(
      plan.trials.map((one) => ({
        sweepId: row.id,
        number: one.number,
        values: one.values,
        rungs: one.rungs,
        decisions: [],
        state: one.refused ? ("refused" as const) : ("waiting" as const),
        reason: one.refused,
      })),
    );
    if (body.max_cost_usd)
      await insertBudget(tx, ctx, actor, {
        scope: "sweep",
        scope_id: row.id,
        period: "total",
        limit_usd: body.max_cost_usd,
      });
    await requireQuota(tx, ctx, actor, "waiting_jobs", "bytes");
    await audit(tx, ctx, actor, "sweep.create", row.id, { name: row.name, trials: plan.trials.length });
  });
  ctx.bus.emit("sweep.changed", { org: row.org, sweepId: row.id, state: row.state });
  return getSweep(ctx, actor, row.id);
}

async function rowOf(ctx: Ctx, actor: Actor, id: string): Promise<SweepRow> {
  const [row] = await ctx.db
    .select()
    .from(sweep)
    .where(and(eq(sweep.id, id), eq(sweep.org, actor.org)))
    .limit(1);
  if (!row) throw notFound("sweep", id);
  return row;
}

/** Orders by score, best first; trials without a score come last. */
export const byScore =
  (direction: "min" | "max") =>
  (a: { score: number | null }, b: { score: number | null }): number =>
    a.score === null || b.score === null
      ? Number(a.score === null) - Number(b.score === null)
      : direction === "min"
        ? a.score - b.score
        : b.score - a.score;

/** @param reported the last reported score of a trial that is still running */
function trialView(one: TrialRow, run: JobRow | null, usage: Usage | null, reported: number | null): TrialView {
  const progress = run?.progress ?? {};
  return {
    number: one.number,
    values: one.values,
    state: one.state,
    reason: one.reason,
    job_id: one.jobId,
    model: one.state === "succeeded" && run?.spec.kind === "train" ? run.spec.output_model : null,
    step: progress.step ?? null,
    total_steps: progress.total_steps ?? null,
    score: one.score ?? reported,
    seconds: usage ? usage.durationMs / 1000 : null,
    cost_usd: usage && usage.durationMs > 0 ? usage.costUsd : null,
    rungs: one.rungs,
    decisions: one.decisions,
  };
}

async function view(ctx: Ctx, actor: Actor, row: SweepRow): Promise<SweepView> {
  const rows = await ctx.db
    .select({ trial, job })
    .from(trial)
    .leftJoin(job, eq(job.id, trial.jobId))
    .where(eq(trial.sweepId, row.id))
    .orderBy(asc(trial.number));
  const { request } = row;
  const scores = await newestScores(
    ctx,
    rows.flatMap(({ trial: one }) => (one.state === "running" && one.jobId ? [one.jobId] : [])),
    request.metric,
  );
  const usages = await usageOfJobs(
    ctx,
    actor,
    rows.flatMap(({ job: run }) => (run?.startedAt ? [run.id] : [])),
  );
  const trials = rows.map(({ trial: one, job: run }) =>
    trialView(one, run, usages.get(run?.id ?? "") ?? null, scores.get(one.jobId ?? "") ?? null),
  );
  const completed = trials.filter((one) => one.state === "succeeded" && one.score !== null);
  return {
    object: "sweep",
    id: row.id,
    name: row.name,
    state: row.state,
    error: row.error,
    training: request.training,
    space: request.space,
    strategy: request.strategy,
    metric: request.metric,
    direction: request.direction,
    parallel: request.parallel,
    counts: {
      trials: trials.length,
      ended: trials.filter((one) => ENDED.includes(one.state)).length,
      succeeded: trials.filter((one) => one.state === "succeeded").length,
    },
    best: completed.sort(byScore(request.direction))[0]?.number ?? null,
    trials,
    created_by: row.createdBy,
    created_at: seconds(row.createdAt),
    finished_at: row.finishedAt === null ? null : seconds(row.finishedAt),
  };
}

/** The last reported value of a metric, by job. */
async function newestScores(ctx: Ctx, jobs: string[], metric: string): Promise<Map<string, number>> {
  if (jobs.length === 0) return new Map();
  const found = await ctx.db.all<{ job: string; value: number | null }>(sql`
    select s.job_id as job, p.value as value from series s join point p on p.series_id = s.id and p.step = s.last_step
    where s.key = ${metric} and s.job_id in ${jobs}`);
  return new Map(found.flatMap(({ job: id, value }) => (value === null ? [] : [[id, value]])));
}

export async function getSweep(ctx: Ctx, actor: Actor, id: string): Promise<SweepView> {
  return view(ctx, actor, await rowOf(ctx, actor, id));
}

/** Sweeps, newest first; one more than `limit` shows that there is another page. */
export async function listSweeps(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string | null; limit: number; search?: string },
): Promise<SweepView[]> {
  const from = page.after ? await rowOf(ctx, actor, page.after) : null;
  const rows = await ctx.db
    .select()
    .from(sweep)
    .where(
      and(
        eq(sweep.org, actor.org),
        page.search ? sql`instr(lower(${sweep.name}), ${page.search.toLowerCase()}) > 0` : undefined,
        olderThan(sweep, from),
      ),
    )
    .orderBy(desc(sweep.createdAt), desc(sweep.id))
    .limit(page.limit + 1);
  return Promise.all(rows.map((row) => view(ctx, actor, row)));
}

/**
 * Deletes an ended sweep with the jobs of its trials. A job that its model, an endpoint or another job needs stays, as
 * an ordinary job.
 * @returns the jobs that stay
 * @throws AppError `sweep_not_found`, `sweep_not_ended`
 */
export async function deleteSweep(ctx: Ctx, actor: Actor, id: string): Promise<string[]> {
  const row = await rowOf(ctx, actor, id);
  requireOwner(actor, row.createdBy);
  const open = (state: string) =>
    new AppError("conflict", "sweep_not_ended", `Sweep ${id} is ${state}. Cancel it or wait until it has ended.`);
  const jobs = await ctx.write(async (tx) => {
    const [now] = await tx.select({ state: sweep.state }).from(sweep).where(eq(sweep.id, id));
    if (now?.state === "running" || now?.state === "stopping") throw open(now.state);
    const gone = await tx.delete(trial).where(eq(trial.sweepId, id)).returning({ job: trial.jobId });
    await tx.delete(sweep).where(eq(sweep.id, id));
    await audit(tx, ctx, actor, "sweep.delete", id, { name: row.name });
    return gone.flatMap(({ job: jobId }) => jobId ?? []);
  });
  const kept: string[] = [];
  for (const jobId of jobs)
    await deleteJob(ctx, actor, jobId).catch((error) => {
      if (!(error instanceof AppError) || error.kind === "internal") throw error;
      if (error.kind === "conflict") kept.push(jobId);
    });
  ctx.bus.emit("sweep.changed", { org: row.org, sweepId: id, state: row.state });
  return kept;
}

/**
 * Cancels all trials that have not ended: waiting ones at once, running ones like any job. Saved checkpoints stay.
 * @throws AppError `sweep_ended`
 */
export async function cancelSweep(ctx: Ctx, actor: Actor, id: string): Promise<SweepView> {
  const row = await rowOf(ctx, actor, id);
  requireOwner(actor, row.createdBy);
  await ctx.write(async (tx) => {
    const stopped = await tx
      .update(sweep)
      .set({ state: "stopping" })
      .where(and(eq(sweep.id, id), eq(sweep.state, "running")))
      .returning({ id: sweep.id });
    if (stopped.length === 0)
      throw new AppError("invalid", "sweep_ended", `Sweep ${id} is ${row.state} and can no longer be canceled.`);
    await tx
      .update(trial)
      .set({ state: "cancelled", reason: "The sweep was canceled before this trial started." })
      .where(and(eq(trial.sweepId, id), inArray(trial.state, ["waiting"])));
    await audit(tx, ctx, actor, "sweep.cancel", id, { name: row.name });
  });
  ctx.bus.emit("sweep.changed", { org: row.org, sweepId: id, state: "stopping" });
  return getSweep(ctx, actor, id);
}
