/** Makes room: old checkpoints beyond the number to keep. */
import { and, desc, eq, inArray, isNull, ne, notInArray } from "drizzle-orm";
import type { Ctx } from "../ctx.ts";
import { deployment } from "../db/schema/deployments.ts";
import { evaluation } from "../db/schema/evaluations.ts";
import { job } from "../db/schema/jobs.ts";
import { artifact, checkpoint, model } from "../db/schema/models.ts";
import { artifactDir } from "../models/service.ts";
import { removeDirectory } from "./disk.ts";

type CheckpointRow = typeof checkpoint.$inferSelect;

const ENDED = ["succeeded", "failed", "cancelled"] as const;

/** Artifacts that something still names: tuned models, endpoints, evaluations, and jobs that have not ended. */
async function artifactsInUse(ctx: Ctx, org: string, rows: CheckpointRow[]): Promise<Set<string>> {
  const used = new Set<string>();
  const ids = rows.map((row) => row.id);
  const names = rows.map((row) => row.model);
  const mark = (test: (row: CheckpointRow) => boolean) => {
    for (const row of rows) if (test(row)) used.add(row.artifactId);
  };
  const models = await ctx.db.select({ id: model.checkpointId }).from(model).where(inArray(model.checkpointId, ids));
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
    .where(and(eq(evaluation.org, org), inArray(evaluation.tunedModel, names), notInArray(job.state, [...ENDED])));
  mark((row) => evaluated.some((one) => one.model === row.model));
  const live = await ctx.db
    .select({ spec: job.spec })
    .from(job)
    .where(and(eq(job.org, org), inArray(job.kind, ["train", "evaluate", "serve"]), notInArray(job.state, [...ENDED])))
    .limit(1000);
  for (const { spec } of live) {
    if (spec.kind === "evaluate" && spec.tuned) used.add(spec.tuned.artifact_id);
    if (spec.kind === "train" && spec.start) used.add(spec.start.artifact_id);
    if (spec.kind === "serve" && spec.whole) used.add(spec.whole.artifact_id);
    if (spec.kind === "serve") for (const adapter of spec.adapters) used.add(adapter.artifact_id);
  }
  return used;
}

/** What checkpoints are compared by, less being better: the loss on hold-out rows, or the reward of the answers to them turned round. */
const lossOf = ({ metrics }: CheckpointRow) => {
  const { "eval/loss": loss, "eval/reward": reward } = metrics;
  if (typeof loss === "number") return loss;
  return typeof reward === "number" ? -reward : Number.POSITIVE_INFINITY;
};

/**
 * Drops checkpoints of a job beyond the `keep` newest, files and all. One that a model, endpoint or live job names stays,
 * so does with `best` the one that did best on hold-out rows,
 * and `fresh`, the artifact whose hashes were checked just now: a whole checkpoint always remains.
 */
export async function prune(
  ctx: Ctx,
  jobId: string,
  options: { keep: number; best: boolean; fresh: string },
): Promise<void> {
  const rows = await ctx.db.select().from(checkpoint).where(eq(checkpoint.jobId, jobId)).orderBy(desc(checkpoint.step));
  const lowest = Math.min(...rows.map(lossOf));
  const stays = (row: (typeof rows)[number]) =>
    row.artifactId === options.fresh || (options.best && Number.isFinite(lowest) && lossOf(row) === lowest);
  const old = rows.slice(Math.max(1, options.keep)).filter((row) => !stays(row));
  const used = old[0] ? await artifactsInUse(ctx, old[0].org, old) : new Set<string>();
  const drop = old.filter((row) => !used.has(row.artifactId));
  // Files of a checkpoint whose step was saved again: nothing leads to them any more.
  const orphans = await ctx.db
    .select({ id: artifact.id, org: artifact.org })
    .from(artifact)
    .leftJoin(checkpoint, eq(checkpoint.artifactId, artifact.id))
    .where(
      and(
        eq(artifact.jobId, jobId),
        eq(artifact.kind, "checkpoint"),
        inArray(artifact.status, ["complete", "invalid"]),
        isNull(checkpoint.id),
        ne(artifact.id, options.fresh),
      ),
    )
    .limit(100);
  const named = orphans[0] ? await artifactsInUse(ctx, orphans[0].org, []) : new Set<string>();
  const gone = [...drop.map((row) => row.artifactId), ...orphans.map((row) => row.id).filter((id) => !named.has(id))];
  if (gone.length === 0) return;
  await ctx.write(async (tx) => {
    if (drop.length > 0)
      await tx.delete(checkpoint).where(
        inArray(
          checkpoint.id,
          drop.map((row) => row.id),
        ),
      );
    await tx.update(artifact).set({ status: "deleted" }).where(inArray(artifact.id, gone));
  });
  for (const id of gone) await removeDirectory(artifactDir(ctx, id));
}
