/** The answers of OpenAI's fine-tuning API: jobs, checkpoints and events as its clients expect them. */
import * as v from "valibot";
import type { TrainSpec } from "../contract/spec.ts";
import { seconds } from "../lib/request-fields.ts";
import type { CheckpointRow } from "../models/tuned/model.ts";
import type { JobRow } from "../training/jobs/model.ts";
import { openaiStatus } from "../training/jobs/state.ts";
import { timeLeftMs } from "../training/jobs/time-left.ts";
import { automaticRate } from "../training/plan/learning-rate.ts";
import { Integration, type TrainRequest } from "../training/plan/request.ts";
import { reinforcementView } from "./reinforcement.ts";

const text = v.string();
const number = v.number();
const numberOrAuto = v.union([number, v.literal("auto")]);

const HyperparametersView = v.strictObject({
  n_epochs: numberOrAuto,
  batch_size: numberOrAuto,
  learning_rate_multiplier: numberOrAuto,
  beta: v.optional(numberOrAuto),
});
type HyperparametersView = v.InferOutput<typeof HyperparametersView>;

/** `fine_tuning.job`. `method` has the settings under the name of its type. */
export const FineTuningJobView = v.strictObject({
  object: v.literal("fine_tuning.job"),
  id: text,
  created_at: number,
  finished_at: v.nullable(number),
  estimated_finish: v.nullable(number),
  model: text,
  fine_tuned_model: v.nullable(text),
  organization_id: text,
  status: text,
  training_file: text,
  validation_file: v.nullable(text),
  hyperparameters: HyperparametersView,
  method: v.looseObject({ type: text }),
  seed: number,
  trained_tokens: v.nullable(number),
  error: v.nullable(v.strictObject({ code: text, message: text, param: v.nullable(text) })),
  result_files: v.array(text),
  integrations: v.array(Integration),
  metadata: v.record(text, text),
  user_provided_suffix: v.nullable(text),
});
type FineTuningJobView = v.InferOutput<typeof FineTuningJobView>;

/** `fine_tuning.job.checkpoint`. */
export const CheckpointView = v.strictObject({
  object: v.literal("fine_tuning.job.checkpoint"),
  id: text,
  created_at: number,
  fine_tuned_model_checkpoint: text,
  fine_tuning_job_id: text,
  step_number: number,
  metrics: v.record(text, number),
});
type CheckpointView = v.InferOutput<typeof CheckpointView>;

/** `fine_tuning.job.event`, as `eventView` in src/training/metrics/model.ts makes it. */
export const EventView = v.strictObject({
  object: v.literal("fine_tuning.job.event"),
  id: text,
  created_at: number,
  level: v.picklist(["info", "warn", "error"]),
  message: text,
  type: v.picklist(["metrics", "message", "moderation_checks"]),
  data: v.optional(v.looseObject({})),
});

/** Whether a run's settings are final; until then they are shown as requested. */
const isResolved = (row: JobRow, spec: TrainSpec) => row.state !== "validating" && spec.dataset.train_rows > 0;

function hyperparametersOf(row: JobRow, spec: TrainSpec): HyperparametersView {
  const request = row.request as Partial<TrainRequest>;
  const { method } = spec;
  if (!isResolved(row, spec))
    return {
      n_epochs: request.n_epochs ?? "auto",
      batch_size: request.batch_size ?? "auto",
      learning_rate_multiplier: request.learning_rate_multiplier ?? "auto",
      ...("beta" in method ? { beta: request.beta ?? "auto" } : {}),
    };
  const { n_epochs, batch_size, learning_rate } = spec.hyperparameters;
  const automatic = automaticRate(spec.base_model.parameters, { ...method, optimizer: spec.hyperparameters.optimizer });
  return {
    n_epochs,
    batch_size,
    learning_rate_multiplier: Number((learning_rate / automatic).toPrecision(4)),
    ...("beta" in method ? { beta: method.beta } : {}),
  };
}

/** The `method` object: OpenAI's for its methods, and the same form for other methods. */
function methodView(row: JobRow, spec: TrainSpec, hyperparameters: HyperparametersView) {
  const { method } = spec;
  const request = row.request as Partial<TrainRequest>;
  if (method.type === "grpo") return reinforcementView(spec, request, hyperparameters, isResolved(row, spec));
  const type = method.type === "sft" ? "supervised" : method.type;
  return { type, [type]: { hyperparameters } };
}

/** The view of a training job. `now` in milliseconds, for the estimated finish. */
export function fineTuningJobView(row: JobRow, now: number): FineTuningJobView {
  const { spec } = row;
  if (spec.kind !== "train") throw new Error("not a training job");
  const request = row.request as Partial<TrainRequest>;
  const { progress, result } = row;
  const hyperparameters = hyperparametersOf(row, spec);
  const left = row.state === "running" ? timeLeftMs(progress, row.progressAt, now) : null;
  return {
    object: "fine_tuning.job",
    id: row.id,
    created_at: seconds(row.createdAt),
    finished_at: row.finishedAt === null ? null : seconds(row.finishedAt),
    estimated_finish: left === null ? null : seconds(now + left),
    model: spec.start?.model ?? spec.base_model.id,
    fine_tuned_model: row.state === "succeeded" ? spec.output_model : null,
    organization_id: row.org,
    status: openaiStatus(row.state),
    training_file: request.training_file ?? spec.dataset.file_id ?? spec.dataset.version_id,
    validation_file: request.validation_file ?? null,
    hyperparameters,
    method: methodView(row, spec, hyperparameters),
    seed: spec.hyperparameters.seed,
    trained_tokens: row.state === "succeeded" ? (result?.tokens_seen ?? progress.tokens_seen ?? null) : null,
    error: row.error ? { code: row.error.code, message: row.error.message, param: row.error.param } : null,
    result_files: result?.result_files ?? [],
    integrations: request.integrations ?? [],
    metadata: row.metadata,
    user_provided_suffix: spec.suffix,
  };
}

const METRIC_NAMES: Record<string, string> = {
  "train/loss": "train_loss",
  "train/token_accuracy": "train_mean_token_accuracy",
  "eval/loss": "valid_loss",
  "eval/token_accuracy": "valid_mean_token_accuracy",
  "train/reward": "train_mean_reward",
  "eval/reward": "full_valid_mean_reward",
};

/** The view of a checkpoint. Metrics without a finite value are omitted. */
export function checkpointView(row: CheckpointRow): CheckpointView {
  const metrics: Record<string, number> = { step: row.step };
  for (const [key, value] of Object.entries(row.metrics)) {
    const name = METRIC_NAMES[key];
    if (name && typeof value === "number" && Number.isFinite(value)) metrics[name] = value;
  }
  return {
    object: "fine_tuning.job.checkpoint",
    id: row.id,
    created_at: seconds(row.createdAt),
    fine_tuned_model_checkpoint: row.model,
    fine_tuning_job_id: row.jobId,
    step_number: row.step,
    metrics,
  };
}
