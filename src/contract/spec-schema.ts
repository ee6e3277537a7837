/**
 * The job spec as valibot schemas: equal to the types of spec.ts, and the source of the JSON Schema that the trainer's
 * models are tested against.
 */
import * as v from "valibot";
import { CHAT_TEMPLATES, REASONING_OPTIONS, SPECIAL_TOKENS, TEMPLATE_ERRORS } from "./data-settings.ts";
import { ATTENTIONS, DPO_LOSSES, EXPORT_FORMATS, GRPO_LOSSES, OPTIMIZERS, SCHEDULERS, SPEC_VERSION } from "./spec.ts";

const text = v.string();
const flag = v.boolean();
const number = v.number();
const integer = v.pipe(number, v.integer());
const positive = v.pipe(integer, v.minValue(1));
const count = v.pipe(integer, v.minValue(0));
/** The weight of a loss term. */
const weight = v.pipe(number, v.gtValue(0), v.maxValue(100));
const precision = v.picklist(["float32", "bfloat16"]);
const quantization = v.optional(v.picklist(["none", "nf4", "int8"]));
const version = v.literal(SPEC_VERSION);

const baseModel = v.strictObject({
  id: text,
  revision: text,
  hash: text,
  parameters: number,
  context_length: number,
  hub: v.optional(v.strictObject({ repo: text, revision: v.nullable(text) })),
});

const dataset = v.strictObject({
  dataset_id: text,
  version_id: text,
  file_id: v.nullable(text),
  hash: text,
  train_rows: number,
  holdout_rows: number,
  row_type: v.optional(v.picklist(["chat", "preference", "unpaired", "text", "prompt"])),
});

const tuned = v.strictObject({ model: text, checkpoint_id: text, artifact_id: text });

/** Fields of every kind of job. */
const common = {
  version,
  base_model: baseModel,
  trainer: v.strictObject({ version: text, environment: text, image: v.optional(text) }),
  need: v.strictObject({
    gpus: number,
    gpu_memory_mb: number,
    cpus: number,
    memory_mb: number,
    disk_mb: number,
    max_price_per_hour: v.nullable(number),
    provider: v.nullable(text),
    formula_mb: v.optional(number),
  }),
  limits: v.strictObject({ queued_s: number, no_progress_s: number, total_s: number, max_attempts: number }),
};

const lora = v.strictObject({
  type: v.literal("lora"),
  r: v.pipe(positive, v.maxValue(1024)),
  alpha: number,
  dropout: v.pipe(number, v.minValue(0), v.ltValue(1)),
  target_modules: v.union([v.literal("all-linear"), v.array(text)]),
  layers: v.nullable(positive),
  rslora: v.optional(flag),
  dora: v.optional(flag),
});
const everyMethod = {
  adapter: v.variant("type", [lora, v.strictObject({ type: v.literal("full") })]),
  quantization,
};

const method = v.variant("type", [
  v.strictObject({ type: v.literal("sft"), loss_on: v.picklist(["completion", "all"]), ...everyMethod }),
  v.strictObject({ type: v.literal("pretrain"), ...everyMethod }),
  v.strictObject({
    type: v.literal("dpo"),
    loss: v.picklist(DPO_LOSSES),
    beta: weight,
    label_smoothing: v.pipe(number, v.minValue(0), v.ltValue(0.5)),
    ...everyMethod,
  }),
  v.strictObject({ type: v.literal("orpo"), beta: weight, ...everyMethod }),
  v.strictObject({
    type: v.literal("kto"),
    beta: weight,
    desirable_weight: weight,
    undesirable_weight: weight,
    ...everyMethod,
  }),
  v.strictObject({
    type: v.literal("reward"),
    center: v.pipe(number, v.minValue(0), v.maxValue(10)),
    ...everyMethod,
  }),
  v.strictObject({
    type: v.literal("grpo"),
    loss_type: v.picklist(GRPO_LOSSES),
    beta: weight,
    num_generations: v.pipe(integer, v.minValue(2), v.maxValue(64)),
    max_completion_length: positive,
    temperature: v.pipe(number, v.gtValue(0), v.maxValue(2)),
    grader: v.looseObject({ type: text, name: text }),
    ...everyMethod,
  }),
]);

const data = v.strictObject({
  chat_template: v.optional(v.picklist(CHAT_TEMPLATES)),
  special_tokens: v.optional(v.picklist(SPECIAL_TOKENS)),
  on_template_error: v.optional(v.picklist(TEMPLATE_ERRORS)),
  reasoning: v.optional(v.picklist(REASONING_OPTIONS)),
});

const hyperparameters = v.strictObject({
  n_epochs: v.pipe(number, v.gtValue(0)),
  max_steps: v.nullable(positive),
  batch_size: integer,
  per_device_batch_size: positive,
  gradient_accumulation: positive,
  learning_rate: v.pipe(number, v.gtValue(0), v.maxValue(10)),
  optimizer: v.optional(v.picklist(OPTIMIZERS)),
  scheduler: v.picklist(SCHEDULERS),
  warmup_ratio: v.pipe(number, v.minValue(0), v.ltValue(1)),
  weight_decay: v.pipe(number, v.minValue(0)),
  max_grad_norm: v.pipe(number, v.minValue(0)),
  max_length: v.pipe(integer, v.minValue(8)),
  seed: v.pipe(integer, v.minValue(0), v.ltValue(2 ** 32)),
  precision,
  gradient_checkpointing: flag,
  neftune_alpha: v.optional(weight),
  packing: v.optional(flag),
  padding_free: v.optional(flag),
  early_stopping: v.optional(positive),
  keep_best: v.optional(flag),
  attention: v.optional(v.picklist(ATTENTIONS)),
  liger_kernel: v.optional(flag),
  torch_compile: v.optional(flag),
});

const schedule = v.strictObject({
  total_steps: positive,
  log_every: positive,
  eval_every: count,
  save_every: count,
  keep_checkpoints: positive,
  sample_rows: integer,
  eval_rows: integer,
  sample_max_tokens: integer,
});

const parallel = v.strictObject({
  processes: v.pipe(integer, v.minValue(1), v.maxValue(64)),
  strategy: v.picklist(["single", "ddp", "fsdp", "zero2", "zero3"]),
});

const served = v.strictObject({ name: text, artifact_id: text, input: text });

/**
 * The spec of every kind of job. Rules across several fields, such as that of `batch_size`, are checked by the trainer.
 */
export const SPEC_SCHEMAS = {
  train: v.strictObject({
    ...common,
    kind: v.literal("train"),
    dataset,
    validation: v.nullable(dataset),
    method,
    start: v.optional(tuned),
    data: v.optional(data),
    hyperparameters,
    schedule,
    parallel: v.optional(parallel),
    suffix: v.nullable(text),
    output_model: text,
    evaluate_after: flag,
  }),
  evaluate: v.strictObject({
    ...common,
    kind: v.literal("evaluate"),
    tuned: v.nullable(tuned),
    against: v.optional(tuned),
    dataset,
    split: v.picklist(["holdout", "train", "validation"]),
    max_rows: integer,
    max_new_tokens: integer,
    batch_size: integer,
    precision,
    quantization,
    seed: integer,
  }),
  serve: v.strictObject({
    ...common,
    kind: v.literal("serve"),
    adapters: v.array(served),
    whole: v.optional(served),
    max_new_tokens: integer,
    max_waiting: v.optional(v.pipe(integer, v.minValue(1))),
    idle_after_s: v.optional(integer),
    precision,
    gpu_memory_fraction: v.optional(v.pipe(number, v.gtValue(0), v.maxValue(0.95))),
  }),
  export: v.strictObject({
    ...common,
    kind: v.literal("export"),
    tuned,
    format: v.picklist(EXPORT_FORMATS),
    dataset: v.nullable(dataset),
    prompts: integer,
    limits_of_fidelity: v.strictObject({ kl_mean: number, top1_same: number }),
    about: v.optional(v.strictObject({ license: text, card: text })),
    precision,
  }),
};
