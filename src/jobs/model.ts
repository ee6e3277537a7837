/** What callers send and see of jobs: the training request, list queries, and the views of rows. */
import * as v from "valibot";
import { JOB_STATES } from "../contract/job.ts";
import { ATTENTIONS, DPO_LOSSES, GRPO_LOSSES, SCHEDULERS, type TrainSpec } from "../contract/spec.ts";
import type { attempt, job } from "../db/schema/jobs.ts";
import { Grader } from "../graders/model.ts";
import { nameText, noHidden, noHiddenInLines } from "../lib/text.ts";
import { type MemoryPlan, PARTS } from "./memory.ts";
import type { PlannedOffer } from "./offers.ts";
import { QUEUE_FIELDS } from "./queue-model.ts";
import type { Suggestion } from "./suggest.ts";

export type JobRow = typeof job.$inferSelect;
export type AttemptRow = typeof attempt.$inferSelect;

const whole = (min: number, max: number) =>
  v.pipe(
    v.number("must be a number"),
    v.integer("must be a whole number"),
    v.minValue(min, `must be at least ${min}`),
    v.maxValue(max, `must be at most ${max}`),
  );
const between = (min: number, max: number) =>
  v.pipe(
    v.number("must be a number"),
    v.finite("must be a finite number"),
    v.minValue(min, `must be at least ${min}`),
    v.maxValue(max, `must be at most ${max}`),
  );
const over = (max: number) =>
  v.pipe(
    v.number("must be a number"),
    v.finite("must be a finite number"),
    v.gtValue(0, "must be greater than 0"),
    v.maxValue(max, `must be at most ${max}`),
  );
/** A value, or `auto` (the same as leaving it out): resolved by the rules of docs/hyperparameters.md. */
const auto = <T>(schema: v.GenericSchema<T>) => v.optional(v.nullable(v.union([v.literal("auto"), schema])));
const id = v.pipe(v.string(), v.minLength(1), v.maxLength(100));

export const Metadata = v.pipe(
  v.record(
    v.pipe(v.string(), noHidden, v.maxLength(64, "metadata keys have at most 64 characters")),
    v.pipe(
      v.string("metadata values are strings"),
      noHiddenInLines,
      v.maxLength(512, "metadata values have at most 512 characters"),
    ),
  ),
  v.check((value) => Object.keys(value).length <= 16, "metadata has at most 16 pairs"),
);

export const Suffix = v.pipe(
  v.string(),
  v.minLength(1, "must have 1 to 64 characters"),
  v.maxLength(64, "must have 1 to 64 characters"),
  v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, "may have letters, digits, '.', '_' and '-', a letter or digit first"),
);

/** Everything a person may say about a training run; whatever is left out or `auto` is resolved. */
export const TrainRequest = v.strictObject({
  /** A base model, or a tuned model or checkpoint to go on from. */
  model: v.pipe(v.string("must be the id of a model"), v.minLength(1), v.maxLength(200)),
  /** `file-…`, `ds_…` or `dsv_…`. */
  training_file: id,
  validation_file: v.optional(v.nullable(id)),
  name: v.optional(v.nullable(nameText(200))),
  suffix: v.optional(v.nullable(Suffix)),
  seed: v.optional(v.nullable(whole(0, 2_147_483_647))),
  metadata: v.optional(v.nullable(Metadata)),
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
  /** `auto`: by what the rows are. */
  method: auto(v.picklist(["sft", "pretrain", "dpo", "orpo", "kto", "reward", "grpo"])),
  /** `lora`: a small adapter is trained on the frozen base. `full`: every weight is. */
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
  /** What rewards GRPO's answers: a grader as docs/graders.md has them. */
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
  scheduler: auto(v.picklist(SCHEDULERS)),
  warmup_ratio: auto(between(0, 0.9)),
  weight_decay: auto(between(0, 1)),
  max_grad_norm: auto(between(0, 1000)),
  precision: auto(v.picklist(["float32", "bfloat16"])),
  gradient_checkpointing: auto(v.boolean()),
  /** Rows computed at once; the batch stays what it is and is put together of several such parts. */
  per_device_batch_size: auto(whole(1, 256)),
  eval_every: auto(whole(1, 1_000_000)),
  save_every: auto(whole(1, 1_000_000)),
  evaluate_after: v.optional(v.nullable(v.boolean())),
  /** GPUs that train together; 0 = processors. */
  gpus: auto(whole(0, 64)),
  parallel: auto(v.picklist(["single", "ddp", "fsdp", "zero2", "zero3"])),
  /** Processes that train together without GPUs: slower than one, and a proof that several learn what one learns. */
  cpu_processes: auto(whole(1, 16)),
  provider: v.optional(v.nullable(v.pipe(v.string(), v.regex(/^[a-z][a-z0-9-]{0,31}$/, "is no provider id")))),
  max_price_per_hour: v.optional(v.nullable(between(0, 100_000))),
  ...QUEUE_FIELDS,
  max_attempts: auto(whole(1, 20)),
});
export type TrainRequest = v.InferOutput<typeof TrainRequest>;

/** Changes for "run again": any field, null for `auto`. */
export const TrainOverrides = v.partial(TrainRequest);

/** Body of POST /v1/jobs. */
export const CreateTrainJob = v.strictObject({
  kind: v.optional(v.literal("train", "must be train: evaluations and endpoints have addresses of their own"), "train"),
  ...TrainRequest.entries,
});

const count = (min: number, max: number) =>
  v.pipe(
    v.union([v.number(), v.pipe(v.string(), v.regex(/^\d+$/, "must be a whole number"), v.transform(Number))]),
    v.integer(),
    v.minValue(min),
    v.maxValue(max),
  );

export const ListJobs = v.object({
  kind: v.optional(v.picklist(["train", "evaluate", "serve", "export"])),
  /** One state, or several with commas (the router hands those over as a list). */
  state: v.optional(
    v.pipe(
      v.union([v.string(), v.array(v.string())]),
      v.transform((value) => [value].flat().flatMap((text) => text.split(","))),
      v.array(v.picklist(JOB_STATES)),
    ),
  ),
  search: v.optional(v.pipe(v.string(), v.maxLength(100))),
  after: v.optional(v.pipe(v.string(), v.maxLength(100))),
  limit: v.optional(count(1, 100), 20),
});
export type ListJobs = Partial<v.InferOutput<typeof ListJobs>>;

const seconds = (ms: number | null) => (ms === null ? null : Math.floor(ms / 1000));

/** A job as our own API shows it. */
export function jobView(row: JobRow) {
  const { leaseToken: _lease, leaseUntil: _until, ...rest } = row;
  return {
    object: "job" as const,
    id: rest.id,
    kind: rest.kind,
    name: rest.name,
    state: rest.state,
    spec: rest.spec,
    request: rest.request,
    metadata: rest.metadata,
    parent_id: rest.parentId,
    priority: rest.priority,
    not_before: seconds(rest.startAfter),
    window: rest.window,
    deadline: seconds(rest.deadline),
    attempts: rest.attempts,
    progress: rest.progress,
    result: rest.result,
    error: rest.error,
    model: rest.spec.kind === "train" && rest.state === "succeeded" ? rest.spec.output_model : null,
    created_by: rest.createdBy,
    created_at: seconds(rest.createdAt),
    queued_at: seconds(rest.queuedAt),
    started_at: seconds(rest.startedAt),
    finished_at: seconds(rest.finishedAt),
  };
}
export type JobView = ReturnType<typeof jobView>;

/** Everything a run would do and need. */
export interface TrainPlan {
  spec: TrainSpec;
  /** False while the data is still being validated: then rows, steps and tokens are not known yet. */
  ready: boolean;
  /** Why each `auto` became what it is, by request field. */
  reasons: Record<string, string>;
  steps: number;
  tokens: number | null;
  /** Whether `tokens` was counted to the last row or estimated from the first. */
  tokensExact: boolean;
  seconds: number | null;
  /** The same at least and at most. */
  secondsRange: [low: number, high: number] | null;
  secondsBasis: "history" | "default";
  /** Finished runs here that the time rests on. */
  secondsRuns: number;
  memoryMb: number;
  memory: MemoryPlan;
  /** Runs here that corrected the memory formula, and how many of them ran out of memory. */
  memoryRuns: number;
  memoryShort: number;
  rowsCut: number | null;
  /** Tokens of the longest row; null while they are not counted. */
  longest: number | null;
  /** What providers offer for it; null when nobody asked them. */
  offers: PlannedOffer[] | null;
  /** Titles of providers that did not answer in time. */
  silent: string[];
  /** The smallest change with which it fits the best of the offers, when it fits none. */
  suggestion: Suggestion | null;
  /** Worth knowing; nothing here stops the job. */
  warnings: string[];
}

function suggestionView({ change, words, effect, memoryMb }: Suggestion) {
  return { change, words, effect, memory_mb: memoryMb };
}

/** A machine a planned run could have. */
function offerView(one: PlannedOffer) {
  return {
    ...{ provider: one.provider, location: one.location, gpus: one.gpus, gpu: one.gpuName, cpus: one.cpus },
    ...{ memory_mb: one.memoryMb, needed_mb: one.neededMb, fits: one.fits, available: one.available },
    ...{ starts_in_s: one.startsInS, price_per_hour_usd: one.pricePerHour },
    ...{ seconds_range: one.seconds, cost_range_usd: one.costUsd, basis: one.basis, runs: one.runs },
    suggestion: one.suggestion && suggestionView(one.suggestion),
  };
}

/** A plan: what a job would do and take. `reasons` say why each `auto` became what it is. */
export function planView(plan: TrainPlan) {
  return {
    object: "job.plan" as const,
    ready: plan.ready,
    spec: plan.spec,
    reasons: plan.reasons,
    steps: plan.steps,
    tokens: plan.tokens,
    tokens_exact: plan.tokensExact,
    seconds: plan.seconds,
    seconds_basis: plan.secondsBasis,
    seconds_range: plan.secondsRange,
    seconds_runs: plan.secondsRuns,
    memory_mb: plan.memoryMb,
    memory: {
      device: plan.memory.device,
      total_mb: plan.memory.total,
      parts_mb: Object.fromEntries(PARTS.map((part) => [part, Math.round(plan.memory.parts[part])])),
      margin_mb: Math.round(plan.memory.margin),
      processes: plan.memory.processes,
      correction: plan.memory.factor,
      runs: plan.memoryRuns,
      runs_out_of_memory: plan.memoryShort,
    },
    offers: plan.offers?.map(offerView) ?? null,
    providers_without_answer: plan.silent,
    suggestion: plan.suggestion && suggestionView(plan.suggestion),
    longest_row: plan.longest,
    rows_cut: plan.rowsCut,
    warnings: plan.warnings,
  };
}

/** An attempt; the token's hash stays inside. */
export function attemptView(row: AttemptRow) {
  return {
    object: "job.attempt" as const,
    id: row.id,
    job_id: row.jobId,
    number: row.number,
    state: row.state,
    provider: row.provider,
    offer: row.offer,
    handle: row.handle,
    outcome: row.outcome,
    exit_code: row.exitCode,
    detail: row.detail,
    last_seq: row.lastSeq,
    created_at: seconds(row.createdAt),
    started_at: seconds(row.startedAt),
    ended_at: seconds(row.endedAt),
    gone_at: seconds(row.goneAt),
    heartbeat_at: seconds(row.heartbeatAt),
  };
}
