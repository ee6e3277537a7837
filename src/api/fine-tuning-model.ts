/** The requests of OpenAI's fine-tuning API, and their translation to a training request. */
import * as v from "valibot";
import { AppError } from "../errors.ts";
import { unknownKey } from "../lib/request-fields.ts";
import { Integration, parseTrainRequest, type TrainRequest } from "../training/plan/request.ts";
import { fromReinforcement } from "./reinforcement.ts";

const Loose = v.optional(v.nullable(v.record(v.string(), v.unknown())));

/** Only the structure; the values are validated later, by the schema of a training request. */
export const CreateFineTuningJob = v.strictObject({
  model: v.string(),
  training_file: v.string(),
  validation_file: v.optional(v.nullable(v.string())),
  suffix: v.optional(v.nullable(v.string())),
  seed: v.optional(v.nullable(v.number())),
  metadata: v.optional(v.nullable(v.record(v.string(), v.unknown()))),
  integrations: v.optional(v.nullable(v.pipe(v.array(Integration), v.maxLength(5)))),
  hyperparameters: Loose,
  method: v.optional(
    v.nullable(v.strictObject({ type: v.string(), supervised: Loose, dpo: Loose, reinforcement: Loose })),
  ),
  /** Our own extensions; never required. */
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

/** Fields of a training request by their name under `ftl`. */
const EXTRAS: Record<string, keyof TrainRequest> = {
  adapter: "adapter",
  rank: "lora_r",
  alpha: "lora_alpha",
  dropout: "lora_dropout",
  layers: "lora_layers",
  target_modules: "target_modules",
  provider: "provider",
  max_price_per_hour: "max_price_per_hour",
  max_cost_usd: "max_cost_usd",
  max_length: "max_length",
  max_steps: "max_steps",
  precision: "precision",
  learning_rate: "learning_rate",
  optimizer: "optimizer",
  scheduler: "scheduler",
  warmup_ratio: "warmup_ratio",
  weight_decay: "weight_decay",
  loss_on: "loss_on",
  chat_template: "chat_template",
  special_tokens: "special_tokens",
  on_template_error: "on_template_error",
  reasoning: "reasoning",
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
  burst: "burst",
  name: "name",
};
/** OpenAI's methods: their hyperparameters and our method. */
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

/** The requested method of OpenAI. @throws AppError `method_not_supported` */
function methodTypeOf({ method }: CreateFineTuningJob): keyof typeof METHODS {
  const type = method?.type ?? "supervised";
  if (type === "supervised" || type === "dpo" || type === "reinforcement") return type;
  throw new AppError(
    "invalid",
    "method_not_supported",
    `Unknown method '${type.slice(0, 50)}'; use 'supervised', 'dpo' or 'reinforcement'. For other methods, leave 'method' out and set 'ftl.method'.`,
    { param: "method.type" },
  );
}

/**
 * Translates OpenAI's request to a training request; `paramOf` maps a field back to its name in OpenAI's request.
 * @throws AppError for unsupported methods, unknown fields and invalid values
 */
export function fromOpenAI(body: CreateFineTuningJob): {
  request: TrainRequest;
  paramOf: (field: string) => string;
} {
  const type = methodTypeOf(body);
  const { method: name, numbers: known } = METHODS[type];
  const { hyperparameters: inMethod, ...rest } = body.method?.[type] ?? {};
  const own = type === "reinforcement" ? ["grader", "response_format"] : [];
  const unknown = Object.keys(rest).find((field) => !own.includes(field));
  if (unknown) throw unknownField(`method.${type}.${unknown}`);
  const place = inMethod ? `method.${type}.hyperparameters` : "hyperparameters";
  const numbers = (inMethod ?? body.hyperparameters ?? {}) as Record<string, unknown>;
  if (typeof numbers !== "object" || Array.isArray(numbers))
    throw new AppError("invalid", "invalid_value", `Invalid '${place}': must be an object.`, { param: place });
  for (const field of Object.keys(numbers))
    if (!known.some((one) => one === field)) throw unknownField(`${place}.${field}`);
  const names: Record<string, string> = Object.fromEntries(known.map((field) => [field, `${place}.${field}`]));
  // Without a method the row type decides; for conversations that is OpenAI's default too.
  const method = body.method ? name : null;
  if (method) names.method = "method.type";
  let taken = numbers;
  if (type === "reinforcement") {
    const { request, names: renamed } = fromReinforcement(rest, numbers, place);
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
  const { model, training_file, validation_file, suffix, seed, metadata, integrations } = body;
  const request = {
    model,
    training_file,
    validation_file,
    suffix,
    seed,
    metadata,
    integrations,
    method,
    ...taken,
    ...extras,
  };
  const paramOf = (field: string) => {
    const [first = "", ...inner] = field.split(".");
    return names[field] ?? [names[first] ?? first, ...inner].join(".");
  };
  return { request: parseTrainRequest(request, paramOf), paramOf };
}

/** The metadata filter of a list: pairs, null for jobs without metadata (`metadata=null`), or undefined. */
export function metadataFilter(url: string): Record<string, string> | null | undefined {
  const { searchParams } = new URL(url);
  const pairs: Record<string, string> = {};
  for (const [name, value] of searchParams) {
    const key = /^metadata\[(.{1,64})\]$/s.exec(name)?.[1];
    if (key !== undefined) pairs[key] = value;
  }
  if (Object.keys(pairs).length > 16)
    throw new AppError("invalid", "invalid_value", "A metadata filter has at most 16 pairs.", {
      param: "metadata",
    });
  if (Object.keys(pairs).length) return pairs;
  const whole = searchParams.get("metadata");
  return whole === "null" || whole === "" ? null : undefined;
}
