/** What an evaluation compares: models, data and settings, taken from a training job or from a request. */
import { and, eq } from "drizzle-orm";
import { bf16Supported } from "../compute/providers/registry.ts";
import type { DatasetRef, EvaluateSpec, TrainSpec } from "../contract/spec.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { resolveTrainingData } from "../data/datasets/training-data.ts";
import { mayUse } from "../data/privacy/policy.ts";
import { datasetRef } from "../data/validation/model.ts";
import { job } from "../db/schema/jobs.ts";
import { artifact, checkpoint, model } from "../db/schema/models.ts";
import { AppError, notFound } from "../errors.ts";
import { baseModelRef } from "../models/base/service.ts";
import { requireAllowedModel } from "../models/tuned/allowed.ts";
import { artifactProblem, newestCheckpoint, type ResolvedModel, resolveModel } from "../models/tuned/service.ts";

export interface EvaluationPlan {
  base: EvaluateSpec["base_model"];
  tuned: EvaluateSpec["tuned"];
  /** The fine-tuned model on the other side; absent = the base model. */
  against?: EvaluateSpec["against"];
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
  const tuned = made?.id ?? found.model;
  await requireAllowedModel(ctx, actor, tuned);
  return {
    base: spec.base_model,
    tuned: { model: tuned, checkpoint_id: found.id, artifact_id: found.artifactId },
    dataset: spec.validation ?? spec.dataset,
    split: spec.validation ? "validation" : "holdout",
    precision: spec.hyperparameters.precision,
    quantization: spec.method.quantization,
    maxNewTokens: spec.schedule.sample_max_tokens,
    seed: spec.hyperparameters.seed,
    trainJobId: jobId,
  };
}

/** A fine-tuned model or checkpoint as a side of an evaluation; null for a base model. */
const sideOf = (resolved: ResolvedModel): EvaluateSpec["tuned"] =>
  resolved.adapter && resolved.checkpointId
    ? { model: resolved.id, checkpoint_id: resolved.checkpointId, artifact_id: resolved.adapter.artifactId }
    : null;

/** The other side. @throws AppError that names `against` */
async function againstOf(ctx: Ctx, actor: Actor, name: string, resolved: ResolvedModel) {
  const refused = (code: string, message: string) => new AppError("invalid", code, message, { param: "against" });
  const other = await resolveModel(ctx, actor, name).catch((error: unknown) => {
    if (!(error instanceof AppError)) throw error;
    throw error.withParam("against", error.kind === "forbidden" ? error.kind : "invalid");
  });
  if (other.id === resolved.base.id && resolved.adapter) return undefined;
  if (!resolved.adapter)
    throw refused("base_in_model", "A base model cannot be compared with another one: `model` must be fine-tuned.");
  if (other.base.id !== resolved.base.id || !other.adapter)
    throw refused(
      "other_base_model",
      `Both models must have the same base: ${resolved.id} is based on ${resolved.base.id}, ${other.id} on ${other.base.id}.`,
    );
  if (other.id === resolved.id) throw refused("same_model", "This is the model that is evaluated. Choose another one.");
  if (other.method === "reward" || resolved.method === "reward")
    throw refused("reward_model", "A reward model is evaluated alone: it scores pairs and writes no answers.");
  return sideOf(other) ?? undefined;
}

/** What a request for a model and a dataset version may choose. */
export interface ModelRequest {
  model: string;
  versionId: string;
  /** Which rows; default: those for validation. */
  rows?: "holdout" | "train" | "all";
  /** The other side; default: the base model. */
  against?: string | null;
}

/** The plan for a model and a dataset version. @throws AppError `model_not_found`, `dataset_not_ready` */
export async function planForModel(ctx: Ctx, actor: Actor, request: ModelRequest): Promise<EvaluationPlan> {
  const resolved = await resolveModel(ctx, actor, request.model);
  const version = await resolveTrainingData(ctx, actor, request.versionId, "dataset");
  if (version.status !== "ready" || !version.hash)
    throw new AppError("invalid", "dataset_not_ready", "This dataset version has not been validated yet.", {
      param: "dataset",
    });
  if (!(await mayUse(ctx, version, "dataset")))
    throw new AppError(
      "invalid",
      "dataset_not_scanned",
      "This dataset version is being scanned for personal data, and this team requires it. Try again in a moment.",
      {
        param: "dataset",
      },
    );
  const [run] = resolved.jobId
    ? await ctx.db.select({ spec: job.spec }).from(job).where(eq(job.id, resolved.jobId)).limit(1)
    : [];
  const spec = run?.spec as TrainSpec | undefined;
  return {
    base: baseModelRef(resolved.base),
    tuned: sideOf(resolved),
    against: request.against ? await againstOf(ctx, actor, request.against, resolved) : undefined,
    dataset: datasetRef(version),
    split: request.rows === "all" ? "validation" : (request.rows ?? "holdout"),
    precision: spec?.hyperparameters.precision ?? (bf16Supported(ctx) ? "bfloat16" : "float32"),
    quantization: spec?.method.quantization,
    maxNewTokens: spec?.schedule.sample_max_tokens ?? 128,
    seed: spec?.hyperparameters.seed ?? 0,
    // Only the evaluation with the run's own data describes the run.
    trainJobId: null,
  };
}
