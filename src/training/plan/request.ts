/**
 * A training request: every field a user may set, and validation for requests that do not come through a route schema.
 */
import * as v from "valibot";
import { MaxCostUsd } from "../../billing/budgets/max-cost.ts";
import { CHAT_TEMPLATES, REASONING_OPTIONS, SPECIAL_TOKENS, TEMPLATE_ERRORS } from "../../contract/data-settings.ts";
import { ATTENTIONS, DPO_LOSSES, GRPO_LOSSES, OPTIMIZERS, SCHEDULERS } from "../../contract/spec.ts";
import { AppError } from "../../errors.ts";
import { Grader } from "../../graders/model.ts";
import { Metadata } from "../../lib/metadata.ts";
import { between, over, whole } from "../../lib/number-fields.ts";
import { nameText } from "../../lib/text/names.ts";
import { QUEUE_FIELDS } from "../jobs/placement-model.ts";

/** A value, or `auto` (the same as leaving it out), which is resolved by the rules in docs/hyperparameters.md. */
const auto = <T>(schema: v.GenericSchema<T>) => v.optional(v.nullable(v.union([v.literal("auto"), schema])));
const id = v.pipe(v.string(), v.minLength(1), v.maxLength(100));

const Suffix = v.pipe(
  v.string(),
  v.minLength(1, "must have 1 to 64 characters"),
  v.maxLength(64, "must have 1 to 64 characters"),
  v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, "may have letters, digits, '.', '_' and '-', a letter or digit first"),
);

/** Weights & Biases, as OpenAI's API has it: the run becomes a result file for `wandb sync`. */
export const Integration = v.strictObject({
  type: v.literal("wandb", "can only be wandb"),
  wandb: v.strictObject({
    project: nameText(128),
    name: v.optional(v.nullable(nameText(128))),
    entity: v.optional(v.nullable(nameText(128))),
    tags: v.optional(v.nullable(v.pipe(v.array(nameText(64)), v.maxLength(50)))),
  }),
});

/** All settings of a training run; those left out or `auto` are resolved. */
export const TrainRequest = v.strictObject({
  /** A base model, or a fine-tuned model or checkpoint to continue from. */
  model: v.pipe(v.string("must be the id of a model"), v.minLength(1), v.maxLength(200)),
  /** `file-…`, `ds_…` or `dsv_…`. */
  training_file: id,
  validation_file: v.optional(v.nullable(id)),
  name: v.optional(v.nullable(nameText(200))),
  suffix: v.optional(v.nullable(Suffix)),
  seed: v.optional(v.nullable(whole(0, 2_147_483_647))),
  metadata: v.optional(v.nullable(Metadata)),
  integrations: v.optional(v.nullable(v.pipe(v.array(Integration), v.maxLength(5)))),
  n_epochs: auto(whole(1, 50)),
  batch_size: auto(whole(1, 256)),
  learning_rate: auto(over(1)),
  learning_rate_multiplier: auto(over(1000)),
  max_steps: auto(whole(1, 1_000_000)),
  max_length: auto(whole(8, 1_048_576)),
  lora_r: auto(whole(1, 512)),
  lora_alpha: auto(over(4096)),
  lora_dropout: auto(between(0, 0.9)),
  lora_layers: auto(whole(1, 1000)),
  target_modules: auto(
    v.union([
      v.literal("all-linear"),
      v.pipe(v.array(v.pipe(v.string(), v.regex(/^[A-Za-z0-9_.]{1,100}$/))), v.minLength(1), v.maxLength(100)),
    ]),
  ),
  loss_on: auto(v.picklist(["completion", "all"])),
  /** The base model's chat template, or one with tools, which the fine-tuned model then has too. */
  chat_template: auto(v.picklist(CHAT_TEMPLATES)),
  /** Special tokens of the base model within texts: read as plain text, removed, or kept as control tokens. */
  special_tokens: auto(v.picklist(SPECIAL_TOKENS)),
  /** A row that the base model's chat template refuses ends the run, or is left out. */
  on_template_error: auto(v.picklist(TEMPLATE_ERRORS)),
  /** The reasoning of answers is trained, or context only. */
  reasoning: auto(v.picklist(REASONING_OPTIONS)),
  /** `auto`: by the row type of the data. */
  method: auto(v.picklist(["sft", "pretrain", "dpo", "orpo", "kto", "reward", "grpo"])),
  /** `lora`: trains a small adapter on the frozen base. `full`: trains every weight. */
  adapter: auto(v.picklist(["lora", "full"])),
  quantization: auto(v.picklist(["none", "nf4", "int8"])),
  rslora: auto(v.boolean()),
  dora: auto(v.boolean()),
  loss: auto(v.picklist(DPO_LOSSES)),
  beta: auto(over(2)),
  label_smoothing: auto(between(0, 0.49)),
  desirable_weight: auto(over(100)),
  undesirable_weight: auto(over(100)),
  center: auto(between(0, 10)),
  /** The grader that rewards GRPO's completions; see docs/graders.md. */
  grader: v.optional(v.nullable(Grader)),
  loss_type: auto(v.picklist(GRPO_LOSSES)),
  num_generations: auto(whole(2, 64)),
  max_completion_length: auto(whole(1, 32_768)),
  temperature: auto(over(2)),
  neftune_alpha: auto(over(100)),
  packing: auto(v.boolean()),
  padding_free: auto(v.boolean()),
  early_stopping: auto(whole(1, 1000)),
  keep_best: auto(v.boolean()),
  attention: auto(v.picklist(ATTENTIONS)),
  liger_kernel: auto(v.boolean()),
  torch_compile: auto(v.boolean()),
  optimizer: auto(v.picklist(OPTIMIZERS)),
  scheduler: auto(v.picklist(SCHEDULERS)),
  warmup_ratio: auto(between(0, 0.9)),
  weight_decay: auto(between(0, 1)),
  max_grad_norm: auto(between(0, 1000)),
  precision: auto(v.picklist(["float32", "bfloat16"])),
  gradient_checkpointing: auto(v.boolean()),
  /** Rows per device and forward pass; gradient accumulation keeps the batch size. */
  per_device_batch_size: auto(whole(1, 256)),
  eval_every: auto(whole(1, 1_000_000)),
  save_every: auto(whole(1, 1_000_000)),
  evaluate_after: v.optional(v.nullable(v.boolean())),
  /** Number of GPUs; 0 = CPUs. */
  gpus: auto(whole(0, 64)),
  parallel: auto(v.picklist(["single", "ddp", "fsdp", "zero2", "zero3"])),
  /** Data-parallel processes without GPUs: slower than one, but shows that several give the same result. */
  cpu_processes: auto(whole(1, 16)),
  provider: v.optional(v.nullable(v.pipe(v.string(), v.regex(/^[a-z][a-z0-9-]{0,31}$/, "is not a valid provider id")))),
  max_price_per_hour: v.optional(v.nullable(between(0, 100_000))),
  /** In USD. Before it is passed, the job saves a checkpoint and waits until its owner raises it. */
  max_cost_usd: v.optional(MaxCostUsd),
  ...QUEUE_FIELDS,
  max_attempts: auto(whole(1, 20)),
});
export type TrainRequest = v.InferOutput<typeof TrainRequest>;

/** Changes for "run again": any field, null for `auto`. */
export const TrainOverrides = v.partial(TrainRequest);

/** Body of POST /v1/jobs. */
export const CreateTrainJob = v.strictObject({
  kind: v.optional(
    v.literal("train", "must be train: use /v1/evaluations and /v1/deployments for evaluations and endpoints"),
    "train",
  ),
  ...TrainRequest.entries,
});

/**
 * Validates a request that did not come through a route schema (a page's form, a stored request with changes).
 * @throws AppError `invalid_value` naming the field
 */
export function parseTrainRequest(value: unknown, paramOf: (field: string) => string = (field) => field): TrainRequest {
  const parsed = v.safeParse(TrainRequest, value);
  if (parsed.success) return parsed.output;
  const issue = parsed.issues[0];
  const path = v.getDotPath(issue) ?? "";
  const [field = "", ...rest] = path.split(".");
  const param = [paramOf(field), ...rest].join(".");
  throw new AppError("invalid", "invalid_value", `Invalid '${param}': ${plainMessage(issue)}.`, {
    param: param || null,
  });
}

/** Prefers the message of a union's matching member: "must be at least 1" rather than "expected (…)". */
function plainMessage(issue: v.BaseIssue<unknown>): string {
  const inner = issue.issues?.find((one) => one.kind === "validation") ?? issue.issues?.at(-1);
  if (inner) return plainMessage(inner);
  if (issue.type === "strict_object") return "this field is unknown";
  return issue.message.replace(/\.$/, "");
}
