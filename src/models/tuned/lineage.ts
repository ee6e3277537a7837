/**
 * Where a model comes from and where it is used: dataset version, run, checkpoints, artifacts, evaluations,
 * deployments.
 */
import { and, desc, eq, inArray, isNull, not, or, sql } from "drizzle-orm";
import type { TrainSpec } from "../../contract/spec.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { dataset, datasetVersion } from "../../db/schema/datasets.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { evaluation } from "../../db/schema/evaluations.ts";
import { job } from "../../db/schema/jobs.ts";
import { artifact, checkpoint } from "../../db/schema/models.ts";
import { seconds } from "../../lib/request-fields.ts";
import { ofDeletedModel } from "./lookup.ts";
import { artifactView, type CheckpointRow, type LineageView } from "./model.ts";
import { resolveModel } from "./service.ts";

/** Most entries of each kind. */
const MAX = 100;

async function runOf(ctx: Ctx, actor: Actor, jobId: string | null) {
  if (!jobId) return null;
  const [run] = await ctx.db
    .select()
    .from(job)
    .where(and(eq(job.id, jobId), eq(job.org, actor.org)))
    .limit(1);
  return run ?? null;
}

async function datasetOf(ctx: Ctx, spec: TrainSpec | null): Promise<LineageView["dataset"]> {
  if (!spec) return null;
  const [version] = await ctx.db
    .select({
      dataset_id: datasetVersion.datasetId,
      name: dataset.name,
      version_id: datasetVersion.id,
      number: datasetVersion.number,
      hash: datasetVersion.hash,
      file_id: datasetVersion.fileId,
      deleted: sql`${dataset.deletedAt} is not null`.mapWith(Boolean),
    })
    .from(datasetVersion)
    .innerJoin(dataset, eq(dataset.id, datasetVersion.datasetId))
    .where(eq(datasetVersion.id, spec.dataset.version_id))
    .limit(1);
  return version ?? null;
}

async function resultsOf(ctx: Ctx, jobId: string | null) {
  if (!jobId) return { checkpoints: [], artifacts: [] };
  const checkpoints = await ctx.db
    .select()
    .from(checkpoint)
    .where(and(eq(checkpoint.jobId, jobId), not(ofDeletedModel)))
    .orderBy(desc(checkpoint.step))
    .limit(MAX);
  const artifacts = await ctx.db
    .select()
    .from(artifact)
    .where(and(eq(artifact.jobId, jobId), eq(artifact.status, "complete")))
    .orderBy(desc(artifact.step))
    .limit(MAX);
  return { checkpoints, artifacts };
}

/** Evaluations of the run and of models by these names, newest first. */
function evaluationsOf(ctx: Ctx, actor: Actor, jobId: string | null, names: string[]) {
  return ctx.db
    .select()
    .from(evaluation)
    .where(
      and(
        eq(evaluation.org, actor.org),
        or(
          jobId ? eq(evaluation.trainJobId, jobId) : undefined,
          inArray(evaluation.tunedModel, names),
          inArray(evaluation.againstModel, names),
        ),
      ),
    )
    .orderBy(desc(evaluation.createdAt))
    .limit(MAX);
}

const checkpointEntry = (row: CheckpointRow): LineageView["checkpoints"][number] => ({
  id: row.id,
  step: row.step,
  model: row.model,
  artifact_id: row.artifactId,
  metrics: row.metrics,
  created_at: seconds(row.createdAt),
});

/**
 * The lineage of a fine-tuned model or checkpoint; a base model only has itself and its deployments. At most 100 of
 * each kind.
 * @throws AppError `model_not_found`, `licence_required`
 */
export async function modelLineage(ctx: Ctx, actor: Actor, name: string): Promise<LineageView> {
  const found = await resolveModel(ctx, actor, name);
  const run = await runOf(ctx, actor, found.jobId);
  const spec = run ? (run.spec as TrainSpec) : null;
  const { checkpoints, artifacts } = await resultsOf(ctx, found.jobId);
  const names = [found.id, ...(spec ? [spec.output_model] : []), ...checkpoints.map((row) => row.model)];
  const evaluations = await evaluationsOf(ctx, actor, found.jobId, names);
  const deployments = await ctx.db
    .select()
    .from(deployment)
    .where(and(eq(deployment.org, actor.org), inArray(deployment.model, names), isNull(deployment.deletedAt)))
    .limit(MAX);
  return {
    object: "model.lineage",
    model: found.id,
    base_model: { id: found.base.id, revision: found.base.revision, hash: found.base.hash },
    method: found.method,
    whole: found.whole,
    stays_local: run?.staysLocal ?? found.base.staysLocal,
    precision: spec?.hyperparameters.precision ?? "float32",
    dataset: await datasetOf(ctx, spec),
    job: run
      ? { id: run.id, name: run.name, state: run.state, created_by: run.createdBy, created_at: seconds(run.createdAt) }
      : null,
    checkpoints: checkpoints.map(checkpointEntry),
    artifacts: artifacts.map(artifactView),
    evaluations: evaluations.map((row) => ({
      id: row.id,
      name: row.name,
      model: row.tunedModel,
      against: row.againstModel,
      own: row.trainJobId === found.jobId,
      created_at: seconds(row.createdAt),
      result: row.result,
    })),
    deployments: deployments.map((row) => ({ id: row.id, name: row.name, model: row.model, state: row.state })),
  };
}
