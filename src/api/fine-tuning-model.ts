/** OpenAI's fine-tuning objects: what its clients send, in its words, and how our rows look to them. */
import * as v from "valibot";
import type { TrainSpec } from "../contract/spec.ts";
import { AppError } from "../errors.ts";
import { unknownKey } from "../lib/request-fields.ts";
import type { CheckpointRow } from "../models/tuned/model.ts";
import type { JobRow } from "../training/jobs/model.ts";
import { openaiStatus } from "../training/jobs/state.ts";
import { autoLearningRate } from "../training/plan/defaults.ts";
import { rateShare } from "../training/plan/method-defaults.ts";
import { parseTrainRequest, type TrainRequest } from "../training/plan/request.ts";
import { fromReinforcement, reinforcementView } from "./reinforcement.ts";

const Loose = v.optional(v.nullable(v.record(v.string(), v.unknown())));

/** Values are checked later, all of them by one schema; here only the form. */
export const CreateFineTuningJob = v.strictObject({
  model: v.string(),
  training_file: v.string(),
  validation_file: v.optional(v.nullable(v.string())),
  suffix: v.optional(v.nullable(v.string())),
  seed: v.optional(v.nullable(v.number())),
  metadata: v.optional(v.nullable(v.record(v.string(), v.unknown()))),
  integrations: v.optional(v.nullable(v.array(v.unknown()))),
  hyperparameters: Loose,
  method: v.optional(
    v.nullable(v.strictObject({ type: v.string(), supervised: Loose, dpo: Loose, reinforcement: Loose })),
  ),
  /** Our own extras; never required. */
  ftl: Loose,
});
export type CreateFineTuningJob = v.InferOutput<typeof CreateFineTuningJob>;

const whole = (fallback: number) =>
  v.optional(
    v.pipe(
      v.union([v.number(), v.pipe(v.string(), v.regex(/^\d+$/, "must be a whole number"), v.transform(Number))]),
      v.integer(),
      v.minValue(1),
      v.maxValue(100),
    ),
    fallback,
  );
const after = v.optional(v.pipe(v.string(), v.maxLength(100)));
/** `metadata[KEY]` filters by a pair; see `metadataFilter`. */
const METADATA = /^metadata(\[.{1,64}\])?$/s;
export const JobsPage = v.pipe(
  v.looseObject({ after, limit: whole(20) }),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const { value: input } = dataset;
    const key = Object.keys(input).find((name) => name !== "after" && name !== "limit" && !METADATA.test(name));
    if (key !== undefined) addIssue(unknownKey(input, key));
  }),
);
export const EventsPage = v.strictObject({ after, limit: whole(20) });
export const CheckpointsPage = v.strictObject({ after, limit: whole(10) });

/** Request fields of ours by the name they have under `ftl`. */
const EXTRAS: Record<string, keyof TrainRequest> = {
  adapter: "adapter",
  rank: "lora_r",
  alpha: "lora_alpha",
  dropout: "lora_dropout",
  layers: "lora_layers",
  target_modules: "target_modules",
  provider: "provider",
  max_price_per_hour: "max_price_per_hour",
  max_length: "max_length",
  max_steps: "max_steps",
  precision: "precision",
  learning_rate: "learning_rate",
  scheduler: "scheduler",
  warmup_ratio: "warmup_ratio",
  weight_decay: "weight_decay",
  loss_on: "loss_on",
  method: "method",
  quantization: "quantization",
  rslora: "rslora",
  dora: "dora",
  loss: "loss",
  beta: "beta",
  label_smoothing: "label_smoothing",
  desirable_weight: "desirable_weight",
  undesirable_weight: "undesirable_weight",
  center: "center",
  grader: "grader",
  loss_type: "loss_type",
  num_generations: "num_generations",
  max_completion_length: "max_completion_length",
  temperature: "temperature",
  neftune_alpha: "neftune_alpha",
  packing: "packing",
  padding_free: "padding_free",
  early_stopping: "early_stopping",
  keep_best: "keep_best",
  attention: "attention",
  liger_kernel: "liger_kernel",
  torch_compile: "torch_compile",
  eval_every: "eval_every",
  save_every: "save_every",
  max_attempts: "max_attempts",
  evaluate_after: "evaluate_after",
  priority: "priority",
  not_before: "not_before",
  window: "window",
  deadline: "deadline",
  name: "name",
};
/** Hyperparameters OpenAI's methods have, and the method of ours each is. */
const NUMBERS = ["n_epochs", "batch_size", "learning_rate_multiplier"] as const;
const METHODS = {
  supervised: { method: "sft", numbers: NUMBERS },
  dpo: { method: "dpo", numbers: [...NUMBERS, "beta"] },
  reinforcement: {
    method: "grpo",
    numbers: [...NUMBERS, "compute_multiplier", "eval_interval", "eval_samples", "reasoning_effort"],
  },
} as const;

function unknownField(param: string): AppError {
  return new AppError("invalid", "unknown_parameter", `Unknown parameter: '${param}'.`, { param });
}

/** The method of OpenAI's that is asked for. @throws AppError for those this installation does not do */
function methodTypeOf({ method }: CreateFineTuningJob): keyof typeof METHODS {
  const type = method?.type ?? "supervised";
  if (type === "supervised" || type === "dpo" || type === "reinforcement") return type;
  throw new AppError(
    "invalid",
    "method_not_supported",
    `Unknown method '${type.slice(0, 50)}'; use 'supervised', 'dpo' or 'reinforcement'. For others leave 'method' out and set 'ftl.method'.`,
    { param: "method.type" },
  );
}

/**
 * The training request behind OpenAI's, and what its fields are called there.
 * @throws AppError for methods and integrations this installation does not do, for fields nobody knows and for values
 *   that cannot be
 */
export function fromOpenAI(body: CreateFineTuningJob): {
  request: TrainRequest;
  paramOf: (field: string) => string;
} {
  const type = methodTypeOf(body);
  if (body.integrations?.length)
    throw new AppError("invalid", "integrations_not_supported", "No integrations are available here; leave them out.", {
      param: "integrations",
    });
  const { method: name, numbers: known } = METHODS[type];
  const { hyperparameters: inMethod, ...strays } = body.method?.[type] ?? {};
  const own = type === "reinforcement" ? ["grader", "response_format"] : [];
  const stray = Object.keys(strays).find((field) => !own.includes(field));
  if (stray) throw unknownField(`method.${type}.${stray}`);
  const place = inMethod ? `method.${type}.hyperparameters` : "hyperparameters";
  const numbers = (inMethod ?? body.hyperparameters ?? {}) as Record<string, unknown>;
  if (typeof numbers !== "object" || Array.isArray(numbers))
    throw new AppError("invalid", "invalid_value", `Invalid '${place}': must be an object.`, { param: place });
  for (const field of Object.keys(numbers))
    if (!known.some((one) => one === field)) throw unknownField(`${place}.${field}`);
  const names: Record<string, string> = Object.fromEntries(known.map((field) => [field, `${place}.${field}`]));
  // Without a method the rows decide: OpenAI's default is theirs too, for conversations.
  const method = body.method ? name : null;
  if (method) names.method = "method.type";
  let taken = numbers;
  if (type === "reinforcement") {
    const { request, names: renamed } = fromReinforcement(strays, numbers, place);
    taken = { ...Object.fromEntries(NUMBERS.map((field) => [field, numbers[field]])), ...request };
    Object.assign(names, renamed);
  }
  const extras: Record<string, unknown> = {};
  for (const [extra, value] of Object.entries(body.ftl ?? {})) {
    const field = Object.hasOwn(EXTRAS, extra) ? EXTRAS[extra] : undefined;
    if (!field) throw unknownField(`ftl.${extra}`);
    extras[field] = value;
    names[field] = `ftl.${extra}`;
  }
  const { model, training_file, validation_file, suffix, seed, metadata } = body;
  const request = { model, training_file, validation_file, suffix, seed, metadata, method, ...taken, ...extras };
  const paramOf = (field: string) => {
    const [first = "", ...rest] = field.split(".");
    return names[field] ?? [names[first] ?? first, ...rest].join(".");
  };
  return { request: parseTrainRequest(request, paramOf), paramOf };
}

const seconds = (ms: number) => Math.floor(ms / 1000);

function hyperparametersOf(row: JobRow, spec: TrainSpec) {
  const request = row.request as Partial<TrainRequest>;
  const { method } = spec;
  if (row.state === "validating" || spec.dataset.train_rows === 0)
    return {
      n_epochs: request.n_epochs ?? "auto",
      batch_size: request.batch_size ?? "auto",
      learning_rate_multiplier: request.learning_rate_multiplier ?? "auto",
      ...("beta" in method ? { beta: request.beta ?? "auto" } : {}),
    };
  const { n_epochs, batch_size, learning_rate } = spec.hyperparameters;
  const automatic = autoLearningRate(spec.base_model.parameters) * rateShare(method.type);
  return {
    n_epochs,
    batch_size,
    learning_rate_multiplier: Number((learning_rate / automatic).toPrecision(4)),
    ...("beta" in method ? { beta: method.beta } : {}),
  };
}

/** The `method` object: OpenAI's for its own methods; others under the name they have here. */
function methodView(
  spec: TrainSpec,
  request: Partial<TrainRequest>,
  hyperparameters: ReturnType<typeof hyperparametersOf>,
) {
  const { method } = spec;
  if (method.type === "grpo") return reinforcementView(spec, request, hyperparameters);
  const type = method.type === "sft" ? "supervised" : method.type;
  return { type, [type]: { hyperparameters } };
}

/** `fine_tuning.job`. `now` in milliseconds, for the estimate of the end. */
export function fineTuningJobView(row: JobRow, now: number) {
  const { spec } = row;
  if (spec.kind !== "train") throw new Error("not a training job");
  const request = row.request as Partial<TrainRequest>;
  const { progress, result } = row;
  const hyperparameters = hyperparametersOf(row, spec);
  const running = row.state === "running" && typeof progress.eta_s === "number";
  return {
    object: "fine_tuning.job" as const,
    id: row.id,
    created_at: seconds(row.createdAt),
    finished_at: row.finishedAt === null ? null : seconds(row.finishedAt),
    estimated_finish: running ? seconds(now + (progress.eta_s ?? 0) * 1000) : null,
    model: spec.start?.model ?? spec.base_model.id,
    fine_tuned_model: row.state === "succeeded" ? spec.output_model : null,
    organization_id: row.org,
    status: openaiStatus(row.state),
    training_file: request.training_file ?? spec.dataset.file_id ?? spec.dataset.version_id,
    validation_file: request.validation_file ?? null,
    hyperparameters,
    method: methodView(spec, request, hyperparameters),
    seed: spec.hyperparameters.seed,
    trained_tokens: row.state === "succeeded" ? (result?.tokens_seen ?? progress.tokens_seen ?? null) : null,
    error: row.error ? { code: row.error.code, message: row.error.message, param: row.error.param } : null,
    result_files: result?.result_files ?? [],
    integrations: [],
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

/** `fine_tuning.job.checkpoint`. Metrics that are no numbers are left out. */
export function checkpointView(row: CheckpointRow) {
  const metrics: Record<string, number> = { step: row.step };
  for (const [key, value] of Object.entries(row.metrics)) {
    const name = METRIC_NAMES[key];
    if (name && typeof value === "number" && Number.isFinite(value)) metrics[name] = value;
  }
  return {
    object: "fine_tuning.job.checkpoint" as const,
    id: row.id,
    created_at: seconds(row.createdAt),
    fine_tuned_model_checkpoint: row.model,
    fine_tuning_job_id: row.jobId,
    step_number: row.step,
    metrics,
  };
}

/** The metadata filter of a list: pairs, null for "none at all" (`metadata=null` or `metadata=`), undefined for any. */
export function metadataFilter(url: string): Record<string, string> | null | undefined {
  const { searchParams } = new URL(url);
  const pairs: Record<string, string> = {};
  for (const [name, value] of searchParams) {
    const key = /^metadata\[(.{1,64})\]$/s.exec(name)?.[1];
    if (key !== undefined) pairs[key] = value;
  }
  if (Object.keys(pairs).length > 16)
    throw new AppError("invalid", "invalid_value", "At most 16 metadata pairs can be asked for.", {
      param: "metadata",
    });
  if (Object.keys(pairs).length) return pairs;
  const whole = searchParams.get("metadata");
  return whole === "null" || whole === "" ? null : undefined;
}
