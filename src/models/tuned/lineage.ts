/**
 * Where a model comes from and where it is used: dataset version, run, checkpoints, artifacts, evaluations,
 * deployments.
 */
import { and, desc, eq, inArray, isNull } from "drizzle-orm";
import type { TrainSpec } from "../../contract/spec.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { dataset, datasetVersion } from "../../db/schema/datasets.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { evaluation } from "../../db/schema/evaluations.ts";
import { job } from "../../db/schema/jobs.ts";
import { artifact, checkpoint } from "../../db/schema/models.ts";
import { artifactView } from "./model.ts";
import { resolveModel } from "./service.ts";

const MAX = 100;
const seconds = (ms: number | null) => (ms === null ? null : Math.floor(ms / 1000));

/**
 * The lineage of a fine-tuned model or checkpoint; a base model only has itself and its deployments. At most 100 of
 * each kind.
 * @throws AppError `model_not_found`, `licence_required`
 */
export async function modelLineage(ctx: Ctx, actor: Actor, name: string) {
  const found = await resolveModel(ctx, actor, name);
  const base = { id: found.base.id, revision: found.base.revision, hash: found.base.hash };
  const jobId = found.jobId;
  const [run] = jobId
    ? await ctx.db
        .select()
        .from(job)
        .where(and(eq(job.id, jobId), eq(job.org, actor.org)))
        .limit(1)
    : [];
  const spec = run?.spec as TrainSpec | undefined;
  const [version] = spec
    ? await ctx.db
        .select({
          id: datasetVersion.id,
          datasetId: datasetVersion.datasetId,
          name: dataset.name,
          number: datasetVersion.number,
          hash: datasetVersion.hash,
          fileId: datasetVersion.fileId,
        })
        .from(datasetVersion)
        .innerJoin(dataset, eq(dataset.id, datasetVersion.datasetId))
        .where(eq(datasetVersion.id, spec.dataset.version_id))
        .limit(1)
    : [];
  const checkpoints = jobId
    ? await ctx.db
        .select()
        .from(checkpoint)
        .where(eq(checkpoint.jobId, jobId))
        .orderBy(desc(checkpoint.step))
        .limit(MAX)
    : [];
  const artifacts = jobId
    ? await ctx.db
        .select()
        .from(artifact)
        .where(and(eq(artifact.jobId, jobId), eq(artifact.status, "complete")))
        .orderBy(desc(artifact.step))
        .limit(MAX)
    : [];
  const evaluations = jobId
    ? await ctx.db.select().from(evaluation).where(eq(evaluation.trainJobId, jobId)).limit(MAX)
    : [];
  const names = [found.id, ...(spec ? [spec.output_model] : []), ...checkpoints.map((row) => row.model)];
  const deployments = await ctx.db
    .select()
    .from(deployment)
    .where(and(eq(deployment.org, actor.org), inArray(deployment.model, names), isNull(deployment.deletedAt)))
    .limit(MAX);
  return {
    object: "model.lineage" as const,
    model: found.id,
    base_model: base,
    method: found.method,
    whole: found.whole,
    precision: spec?.hyperparameters.precision ?? "float32",
    dataset: version
      ? {
          dataset_id: version.datasetId,
          name: version.name,
          version_id: version.id,
          number: version.number,
          hash: version.hash,
          file_id: version.fileId,
        }
      : null,
    job: run ? { id: run.id, name: run.name, state: run.state, created_at: seconds(run.createdAt) } : null,
    checkpoints: checkpoints.map((row) => ({
      id: row.id,
      step: row.step,
      model: row.model,
      artifact_id: row.artifactId,
      metrics: row.metrics,
      created_at: seconds(row.createdAt),
    })),
    artifacts: artifacts.map(artifactView),
    evaluations: evaluations.map((row) => ({ id: row.id, name: row.name, result: row.result })),
    deployments: deployments.map((row) => ({ id: row.id, name: row.name, model: row.model, state: row.state })),
  };
}
