/**
 * Frees the disk space of an ended run: deletes checkpoints, results and exports that nothing uses. Metrics, log and
 * provenance stay.
 */

import { and, eq, inArray, isNotNull, isNull, notInArray } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { FINAL_STATES, isFinal } from "../../contract/job.ts";
import { artifactsOf } from "../../contract/spec.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { evaluation } from "../../db/schema/evaluations.ts";
import { job } from "../../db/schema/jobs.ts";
import { artifact, checkpoint, model } from "../../db/schema/models.ts";
import { AppError } from "../../errors.ts";
import { formatBytes } from "../../lib/text/format.ts";
import { dropUnit } from "../../objects/keep.ts";
import { requireOwner } from "../../roles.ts";
import { getJob } from "../jobs/store.ts";
import { note } from "../jobs/transitions.ts";

type CheckpointRow = typeof checkpoint.$inferSelect;

/** The deleted checkpoints and bytes, and the ids of what is in use and was kept. */
interface Cleared {
  checkpoints: number;
  bytes: number;
  kept: string[];
}

/** Artifacts in use by fine-tuned models, endpoints, evaluations, or jobs that have not ended. */
export async function artifactsInUse(ctx: Ctx, org: string, rows: CheckpointRow[]): Promise<Set<string>> {
  const used = new Set<string>();
  const ids = rows.map((row) => row.id);
  const names = rows.map((row) => row.model);
  const mark = (test: (row: CheckpointRow) => boolean) => {
    for (const row of rows) if (test(row)) used.add(row.artifactId);
  };
  const models = await ctx.db
    .select({ id: model.checkpointId })
    .from(model)
    .where(and(inArray(model.checkpointId, ids), isNull(model.deletedAt)));
  mark((row) => models.some((one) => one.id === row.id));
  const deployed = await ctx.db
    .select({ model: deployment.model })
    .from(deployment)
    .where(and(eq(deployment.org, org), inArray(deployment.model, names), isNull(deployment.deletedAt)));
  mark((row) => deployed.some((one) => one.model === row.model));
  const evaluated = await ctx.db
    .select({ model: evaluation.tunedModel })
    .from(evaluation)
    .innerJoin(job, eq(job.id, evaluation.jobId))
    .where(
      and(eq(evaluation.org, org), inArray(evaluation.tunedModel, names), notInArray(job.state, [...FINAL_STATES])),
    );
  mark((row) => evaluated.some((one) => one.model === row.model));
  const live = await ctx.db
    .select({ spec: job.spec, metadata: job.metadata })
    .from(job)
    .where(and(eq(job.org, org), notInArray(job.state, [...FINAL_STATES])))
    .limit(1000);
  for (const { spec, metadata } of live) {
    mark((row) => row.jobId === metadata.continues);
    for (const id of artifactsOf(spec)) used.add(id);
  }
  return used;
}

/** Artifacts of ended exports of the given checkpoints, which no page links to once those are deleted. */
async function exportsOf(ctx: Ctx, org: string, jobId: string, artifacts: Set<string>) {
  const rows = await ctx.db
    .select({ id: artifact.id, bytes: artifact.bytes, spec: job.spec })
    .from(job)
    .innerJoin(artifact, eq(artifact.jobId, job.id))
    .where(
      and(
        eq(job.org, org),
        eq(job.kind, "export"),
        eq(job.parentId, jobId),
        inArray(job.state, [...FINAL_STATES]),
        inArray(artifact.status, ["complete", "invalid"]),
      ),
    );
  return rows.filter(({ spec }) => spec.kind === "export" && artifacts.has(spec.tuned.artifact_id));
}

/**
 * Deletes unused files of an ended run: checkpoints, the result of a deleted model, and exports of either.
 * @throws AppError `job_not_found`, `job_not_ended`, `nothing_to_clear` (not a training job)
 */
export async function clearRun(ctx: Ctx, actor: Actor, id: string): Promise<Cleared> {
  const row = await getJob(ctx, actor, id);
  requireOwner(actor, row.createdBy);
  if (row.kind !== "train")
    throw new AppError("invalid", "nothing_to_clear", "Only training jobs have checkpoints.", { param: "id" });
  if (!isFinal(row.state))
    throw new AppError("conflict", "job_not_ended", `Job ${id} is ${row.state}. Cancel it or wait until it has ended.`);
  const points = await ctx.db.select().from(checkpoint).where(eq(checkpoint.jobId, id));
  const files = await ctx.db
    .select({ id: artifact.id, kind: artifact.kind, bytes: artifact.bytes })
    .from(artifact)
    .where(and(eq(artifact.jobId, id), inArray(artifact.status, ["complete", "invalid"])));
  const [alive] = await ctx.db
    .select({ id: model.id })
    .from(model)
    .where(and(eq(model.jobId, id), isNull(model.deletedAt)))
    .limit(1);
  const used = await artifactsInUse(ctx, row.org, points);
  // The model's page offers the result for download.
  const unused = files.filter((one) => !used.has(one.id) && (one.kind === "checkpoint" || !alive));
  const ids = new Set(unused.map((one) => one.id));
  const removed = points.filter((one) => !used.has(one.artifactId));
  const all = [...unused, ...(await exportsOf(ctx, row.org, id, ids))];
  const bytes = all.reduce((sum, one) => sum + one.bytes, 0);
  const kept = [
    ...(alive ? [alive.id] : []),
    ...points.filter((one) => used.has(one.artifactId)).map((one) => one.model),
  ];
  if (all.length > 0 || removed.length > 0)
    await ctx.write(async (tx) => {
      // While a checkpoint is left, the deleted model's row keeps it out of lists and endpoints.
      if (removed.length === points.length)
        await tx.delete(model).where(and(eq(model.jobId, id), isNotNull(model.deletedAt)));
      for (const { id: point } of removed) await tx.delete(checkpoint).where(eq(checkpoint.id, point));
      for (const one of all) await tx.update(artifact).set({ status: "deleted" }).where(eq(artifact.id, one.id));
      await audit(tx, ctx, actor, "job.clear", id, { checkpoints: removed.length, bytes });
      await note(tx, ctx, row, `Files deleted: ${removed.length} checkpoints, ${formatBytes(bytes)} freed`);
    });
  for (const one of all) await dropUnit(ctx, { folder: "artifacts", id: one.id });
  ctx.bus.emit("job.changed", { org: row.org, jobId: id, kind: row.kind, state: row.state });
  return { checkpoints: removed.length, bytes, kept };
}
