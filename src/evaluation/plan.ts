/** What an evaluation compares: models, data and settings, taken from a training job or from a request. */
import { and, eq } from "drizzle-orm";
import { bf16Supported } from "../compute/providers/registry.ts";
import type { DatasetRef, EvaluateSpec, TrainSpec } from "../contract/spec.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { resolveTrainingData } from "../data/datasets/training-data.ts";
import { datasetRef } from "../data/validation/model.ts";
import { job } from "../db/schema/jobs.ts";
import { artifact, checkpoint, model } from "../db/schema/models.ts";
import { AppError, notFound } from "../errors.ts";
import { baseModelRef } from "../models/base/service.ts";
import { artifactProblem, newestCheckpoint, resolveModel } from "../models/tuned/service.ts";

export interface EvaluationPlan {
  base: EvaluateSpec["base_model"];
  tuned: EvaluateSpec["tuned"];
  dataset: DatasetRef;
  split: EvaluateSpec["split"];
  precision: EvaluateSpec["precision"];
  quantization: EvaluateSpec["quantization"];
  maxNewTokens: number;
  seed: number;
  trainJobId: string | null;
}

/** The plan after a training job: its data, its settings and the checkpoint of its model. */
export async function planForJob(ctx: Ctx, actor: Actor, jobId: string): Promise<EvaluationPlan> {
  const [run] = await ctx.db
    .select()
    .from(job)
    .where(and(eq(job.id, jobId), eq(job.org, actor.org), eq(job.kind, "train")))
    .limit(1);
  if (!run) throw notFound("job", jobId);
  const spec = run.spec as TrainSpec;
  // The model's own checkpoint, which may not be the newest. Before there is a model, or when its files are damaged:
  // the newest intact one.
  const [made] = await ctx.db
    .select({ id: model.id, checkpoint, artifact })
    .from(model)
    .innerJoin(checkpoint, eq(checkpoint.id, model.checkpointId))
    .innerJoin(artifact, eq(artifact.id, checkpoint.artifactId))
    .where(eq(model.jobId, jobId))
    .limit(1);
  const own = made && (await artifactProblem(ctx, made.artifact)) === null ? made.checkpoint : null;
  const found = own ?? (await newestCheckpoint(ctx, jobId));
  if (!found)
    throw new AppError(
      "invalid",
      "no_checkpoint",
      "This job has no intact checkpoint yet, so there is nothing to compare.",
      { param: "job" },
    );
  return {
    base: spec.base_model,
    tuned: { model: made?.id ?? found.model, checkpoint_id: found.id, artifact_id: found.artifactId },
    dataset: spec.validation ?? spec.dataset,
    split: spec.validation ? "validation" : "holdout",
    precision: spec.hyperparameters.precision,
    quantization: spec.method.quantization,
    maxNewTokens: spec.schedule.sample_max_tokens,
    seed: spec.hyperparameters.seed,
    trainJobId: jobId,
  };
}

/** The plan for a model and a dataset version. @throws AppError `model_not_found`, `dataset_not_ready` */
export async function planForModel(
  ctx: Ctx,
  actor: Actor,
  request: { model: string; versionId: string; allRows?: boolean },
): Promise<EvaluationPlan> {
  const resolved = await resolveModel(ctx, actor, request.model);
  const version = await resolveTrainingData(ctx, actor, request.versionId, "dataset");
  if (version.status !== "ready" || !version.hash)
    throw new AppError("invalid", "dataset_not_ready", "This dataset version has not been validated yet.", {
      param: "dataset",
    });
  const [run] = resolved.jobId
    ? await ctx.db.select({ spec: job.spec }).from(job).where(eq(job.id, resolved.jobId)).limit(1)
    : [];
  const spec = run?.spec as TrainSpec | undefined;
  return {
    base: baseModelRef(resolved.base),
    tuned:
      resolved.adapter && resolved.checkpointId
        ? { model: resolved.id, checkpoint_id: resolved.checkpointId, artifact_id: resolved.adapter.artifactId }
        : null,
    dataset: datasetRef(version),
    split: request.allRows ? "validation" : "holdout",
    precision: spec?.hyperparameters.precision ?? (bf16Supported(ctx) ? "bfloat16" : "float32"),
    quantization: spec?.method.quantization,
    maxNewTokens: spec?.schedule.sample_max_tokens ?? 128,
    seed: spec?.hyperparameters.seed ?? 0,
    trainJobId: resolved.jobId,
  };
}
