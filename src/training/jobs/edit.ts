/** Changes and deletions of jobs by people: name, tags, note, archive. */
import { and, eq, inArray, isNull, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { maxMicrosOf, setMaxCost } from "../../billing/budgets/max-cost.ts";
import { isFinal } from "../../contract/job.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { answer, evaluation } from "../../db/schema/evaluations.ts";
import { job } from "../../db/schema/jobs.ts";
import { batch, event, logLine, point, pointBucket, series } from "../../db/schema/metrics.ts";
import { artifact, checkpoint, model } from "../../db/schema/models.ts";
import { trial } from "../../db/schema/sweeps.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { dropUnit } from "../../objects/keep.ts";
import { requireOwner } from "../../roles.ts";
import type { JobRow, UpdateJob } from "./model.ts";
import { getJob } from "./store.ts";

/** Rows that one write deletes, so that others wait little. */
const PIECE = 20_000;

/** Changes name, tags, note, the maximum cost, or whether the job is archived. @throws AppError `job_not_found` */
export async function updateJob(ctx: Ctx, actor: Actor, id: string, change: UpdateJob): Promise<JobRow> {
  const row = await getJob(ctx, actor, id);
  const { archived, max_cost_usd: maxCost, ...fields } = change;
  // Who may stop a job may let it cost more or less.
  if (maxCost !== undefined) requireOwner(actor, row.createdBy);
  const archivedAt = archived === undefined ? row.archivedAt : archived ? (row.archivedAt ?? ctx.clock.now()) : null;
  if (archived && !isFinal(row.state) && row.state !== "paused")
    throw new AppError("conflict", "job_not_ended", `Job ${id} is ${row.state}. Only ended jobs can be archived.`);
  const next = { ...fields, archivedAt };
  await ctx.write(async (tx) => {
    await tx.update(job).set(next).where(eq(job.id, id));
    if (maxCost !== undefined) await setMaxCost(tx, row, maxMicrosOf(maxCost), ctx.clock.now());
    await audit(tx, ctx, actor, "job.update", id, { ...change });
  });
  ctx.bus.emit("job.changed", { org: row.org, jobId: id, kind: row.kind, state: row.state });
  return getJob(ctx, actor, id);
}

/** Why a job cannot be deleted now; null when it can. */
async function obstacle(ctx: Ctx, row: JobRow): Promise<AppError | null> {
  const refuse = (code: string, message: string) => new AppError("conflict", code, message);
  if (!isFinal(row.state))
    return refuse("job_not_ended", `Job ${row.id} is ${row.state}. Cancel it or wait until it has ended.`);
  const [alive] = await ctx.db
    .select({ id: model.id })
    .from(model)
    .where(and(eq(model.jobId, row.id), isNull(model.deletedAt)))
    .limit(1);
  if (alive) return refuse("model_exists", `The model ${alive.id} came from this job. Delete the model first.`);
  const [endpoint] = await ctx.db
    .select({ id: deployment.id })
    .from(deployment)
    .where(and(eq(deployment.jobId, row.id), isNull(deployment.deletedAt)))
    .limit(1);
  if (endpoint) return refuse("deployment_exists", `The deployment ${endpoint.id} runs in this job. Delete it first.`);
  const [swept] = await ctx.db.select({ id: trial.sweepId }).from(trial).where(eq(trial.jobId, row.id)).limit(1);
  if (swept) return refuse("in_sweep", `This job is a trial of the sweep ${swept.id}, which needs it. Archive it.`);
  const [user] = await ctx.db
    .select({ id: job.id })
    .from(job)
    .where(
      and(
        eq(job.org, row.org),
        sql`json_extract(${job.metadata}, '$.continues') = ${row.id}`,
        sql`${job.state} not in ('succeeded', 'failed', 'cancelled')`,
      ),
    )
    .limit(1);
  return user ? refuse("in_use", `Job ${user.id} continues from a checkpoint of this job.`) : null;
}

/**
 * Deletes an ended job with its metrics, log, samples, answers, checkpoints and files. Its usage stays in the ledger.
 * @param also runs in the same transaction
 * @throws AppError `job_not_found`, `job_not_ended`, `model_exists`, `deployment_exists`, `in_sweep`, `in_use`
 */
export async function deleteJob(
  ctx: Ctx,
  actor: Actor,
  id: string,
  also: (tx: Db) => Promise<void> = async () => {},
): Promise<void> {
  const row = await getJob(ctx, actor, id);
  requireOwner(actor, row.createdBy);
  const problem = await obstacle(ctx, row);
  if (problem) throw problem;
  const files = await ctx.write(async (tx) => {
    await tx
      .update(job)
      .set({ deletedAt: ctx.clock.now(), idempotencyKey: null, requestHash: null })
      .where(eq(job.id, id));
    const artifacts = await tx
      .update(artifact)
      .set({ status: "deleted" })
      .where(eq(artifact.jobId, id))
      .returning({ id: artifact.id });
    // Its model was deleted before; the row names the checkpoint.
    await tx.delete(model).where(eq(model.jobId, id));
    await tx.delete(checkpoint).where(eq(checkpoint.jobId, id));
    await tx.delete(evaluation).where(eq(evaluation.jobId, id));
    await tx.delete(answer).where(eq(answer.jobId, id));
    await audit(tx, ctx, actor, "job.delete", id, { name: row.name, kind: row.kind });
    await also(tx);
    return artifacts;
  });
  for (const file of files) await dropUnit(ctx, { folder: "artifacts", id: file.id });
  await deleteMetrics(ctx, id);
  await ctx.emptyLog();
  ctx.bus.emit("job.changed", { org: row.org, jobId: id, kind: row.kind, state: row.state });
}

/** Deletes the series, log and events of a job, in pieces. */
async function deleteMetrics(ctx: Ctx, id: string): Promise<void> {
  const ids = (await ctx.db.select({ id: series.id }).from(series).where(eq(series.jobId, id))).map((one) => one.id);
  for (const table of [point, pointBucket])
    for (const seriesId of ids) {
      const some = sql`rowid in (select rowid from ${table} where series_id = ${seriesId} limit ${PIECE})`;
      while ((await ctx.write((tx) => tx.delete(table).where(some))).rowsAffected === PIECE);
    }
  for (const table of [logLine, event, batch]) {
    const some = sql`rowid in (select rowid from ${table} where job_id = ${id} limit ${PIECE})`;
    while ((await ctx.write((tx) => tx.delete(table).where(some))).rowsAffected === PIECE);
  }
  if (ids.length) await ctx.write((tx) => tx.delete(series).where(inArray(series.id, ids)));
}
