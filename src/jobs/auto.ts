/** Resolves every `auto` of a training request by the rules of docs/hyperparameters.md: pure, so that the same facts give the same spec. */
import type {
  AdapterSettings,
  Hyperparameters,
  MethodSettings,
  Need,
  ParallelPlan,
  RowType,
  Schedule,
} from "../contract/spec.ts";
import { AppError } from "../errors.ts";
import {
  answerOf,
  methodNameOf,
  methodOf,
  optionsOf,
  rateShare,
  refersOf,
  scoredOf,
  sequencesOf,
} from "./auto-method.ts";
import {
  adapterShape,
  type MemoryPlan,
  type ModelShape,
  memoryParts,
  PROCESSOR_MARGIN,
  planned,
  type RunShape,
  totalMb,
} from "./memory.ts";
import type { TrainRequest } from "./model.ts";
import { CARD_MARGIN, type Cards, onGpus, splitOnGpus, splitOnProcessors } from "./parallel.ts";

/** What the rules look at. Token counts are of the training rows under the base model's tokenizer; null while unknown. */
export interface Facts {
  trainRows: number;
  holdoutRows: number;
  /** Absent while the data is not known. */
  rowType?: RowType;
  /** Of the adapter or whole model the run goes on from. */
  start?: AdapterSettings;
  tokens: {
    total: number;
    max: number;
    p95: number;
    over: Record<string, number>;
    exact: boolean;
    /** Rows by length, from the shortest. */
    histogram?: { from: number; to: number; count: number }[];
  } | null;
  base: { context_length: number } & ModelShape;
  /** Part of the tokens that has a loss where answers alone are learned; 1 while nobody knows. */
  scored?: number;
  /** A pair of answers as one sequence over its longer side; null where rows are no pairs. */
  joined?: number | null;
  /** By how much this installation's own runs differed from the formula; 1 while there are none. */
  memoryFactor?: number;
  machine: { cpus: number; memoryMb: number; bf16: boolean };
  /** GPUs that work may be given, by host and kind; absent while there are none. */
  gpus?: Cards[];
}

export interface Resolved {
  method: MethodSettings;
  hyperparameters: Hyperparameters;
  schedule: Schedule;
  parallel: ParallelPlan;
  need: Pick<Need, "gpus" | "gpu_memory_mb" | "cpus" | "memory_mb" | "disk_mb" | "formula_mb">;
  memory: MemoryPlan;
  /** Why each number that was `auto` became what it is, by request field. */
  reasons: Record<string, string>;
}

/** Rows a model should see at least; short tasks are learned within some forty to sixty steps of eight rows. */
const ROWS_TO_SEE = 480;
/** Longest row `auto` allows: beyond it one outlier would slow every batch. */
const MAX_AUTO_LENGTH = 2048;
/** Share of the machine's memory that an estimate may reach before the batch is cut in parts. */
const MEMORY_SHARE = 0.6;
/** Main memory of a process that has a GPU: CUDA's libraries are large. */
const GPU_PROCESS_MB = 4000;

const clamp = (value: number, min: number, max: number) => Math.min(max, Math.max(min, value));
/** The value given, or undefined for `auto`, null and absence. */
const given = <T>(value: T | "auto" | null | undefined): T | undefined =>
  value === "auto" || value === null ? undefined : value;

/** LoRA learning rate by size of the base model: small models need larger steps. */
export function autoLearningRate(parameters: number): number {
  if (parameters <= 3e8) return 1e-3;
  if (parameters <= 1e9) return 5e-4;
  if (parameters <= 4e9) return 3e-4;
  if (parameters <= 1.2e10) return 2e-4;
  return 1e-4;
}

/** The same where every weight is trained: steps a LoRA learns by would undo what the model knows. */
export function autoFullLearningRate(parameters: number): number {
  if (parameters <= 3e8) return 5e-5;
  return parameters <= 4e9 ? 2e-5 : 1e-5;
}

/** Rows of one optimizer step: small sets need enough steps, large ones smoother gradients. */
export function autoBatchSize(rows: number): number {
  if (rows < 64) return 4;
  if (rows < 5_000) return 8;
  return rows < 50_000 ? 16 : 32;
}

/** Passes over the data: enough to see about 480 rows, two at least below 1,000 rows, 25 at most. */
export function autoEpochs(rows: number): number {
  return clamp(Math.ceil(ROWS_TO_SEE / Math.max(1, rows)), rows < 1000 ? 2 : 1, 25);
}

/** Memory in MiB of the machine whose GPUs train: libraries a process, and the weights on their way to the GPUs. */
function hostMemoryMb(weights: number, parallel: ParallelPlan): number {
  const copies = parallel.strategy === "fsdp" || parallel.strategy === "zero3" ? 1 : parallel.processes;
  return Math.ceil(GPU_PROCESS_MB * parallel.processes + weights * copies);
}

/** Tokens of the longest sequence that is computed: data that is known to be shorter than allowed takes less. */
function longest(request: TrainRequest, facts: Facts, maxLength: number, answer: number): number {
  if (request.packing === true || !facts.tokens?.exact) return maxLength;
  return Math.min(maxLength, facts.tokens.max + answer);
}

/** Share of a packed sequence that rows fill, about. */
const PACKED_SHARE = 0.95;

/** Sequences of an epoch: the rows, or with packing about as many as their tokens fill; the trainer says exactly. */
function sequences(request: TrainRequest, facts: Facts, rows: number, maxLength: number): number {
  if (request.packing !== true || !facts.tokens) return rows;
  return Math.min(rows, Math.ceil(facts.tokens.total / (maxLength * PACKED_SHARE)));
}

/** GRPO is one process: asked for nothing else, it gets one GPU. */
const alone = (request: TrainRequest): TrainRequest => ({
  ...request,
  ...{ gpus: given(request.gpus) ?? 1, parallel: given(request.parallel) ?? "single" },
});

/** Every number of a run. @param request fields that are not `auto` are taken as they are */
export function resolveAuto(request: TrainRequest, facts: Facts): Resolved {
  const reasons: Record<string, string> = {};
  const pick = <T>(field: keyof TrainRequest, value: T | "auto" | null | undefined, rule: () => T, why: string): T => {
    const own = given(value);
    if (own !== undefined) return own;
    reasons[field] = why;
    return rule();
  };
  const rows = Math.max(1, facts.trainRows);
  const name = methodNameOf(request, facts.rowType, pick);
  const method = methodOf(name, request, pick, facts.start ?? null, facts.base.context_length);

  const answer = answerOf(method);
  const maxLength = Math.min(
    pick(
      "max_length",
      request.max_length,
      () => {
        const need = Math.ceil(((facts.tokens?.max ?? 512) + answer) / 64) * 64;
        return clamp(need, 64, Math.min(MAX_AUTO_LENGTH, facts.base.context_length || MAX_AUTO_LENGTH));
      },
      `the longest row rounded up to 64 tokens, ${MAX_AUTO_LENGTH} at most`,
    ),
    facts.base.context_length || Number.POSITIVE_INFINITY,
  );
  if (answer >= maxLength)
    throw new AppError(
      "invalid",
      "invalid_value",
      `'max_completion_length' (${answer}) leaves no room for a prompt: it must be below the longest row, ${maxLength} tokens.`,
      { param: "max_completion_length" },
    );
  const allCards = facts.gpus ?? [];
  const gpu = onGpus(request, allCards);
  const newer = allCards.filter((kind) => kind.bf16);
  const bf16 = gpu ? newer.length > 0 || allCards.length === 0 : facts.machine.bf16;
  const where = gpu ? "the GPU" : "this machine";
  const precision = pick(
    "precision",
    request.precision,
    () => (bf16 ? "bfloat16" : "float32"),
    bf16 ? `${where} computes bfloat16 natively` : `${where} has no native bfloat16`,
  );
  const wish = pick("batch_size", request.batch_size, () => autoBatchSize(rows), `by ${rows} training rows`);
  const checkpointing = pick(
    "gradient_checkpointing",
    request.gradient_checkpointing,
    () => facts.base.parameters > 2e9,
    "only models over 2B parameters need the memory",
  );
  const run = (rowsAtOnce: number, strategy: ParallelPlan["strategy"], processes: number): RunShape => ({
    ...{ method: name, precision, quantization: method.quantization ?? "none", ...adapterShape(method.adapter) },
    ...{
      tuned: facts.start !== undefined,
      refers: refersOf(method),
      rows: rowsAtOnce,
      length: longest(request, facts, maxLength, answer),
    },
    scored: method.type === "sft" && method.loss_on === "all" ? 1 : scoredOf(name, facts.scored ?? 1),
    ...(method.type === "grpo" ? { answers: method.num_generations, written: method.max_completion_length } : {}),
    ...(facts.joined &&
    facts.base.joins &&
    typeof request.neftune_alpha !== "number" &&
    request.attention !== "flash_attention_2"
      ? { joined: facts.joined }
      : {}),
    ...{ checkpointing, gpu, strategy, processes },
  });
  const factor = facts.memoryFactor ?? 1;
  const margin = gpu ? CARD_MARGIN : PROCESSOR_MARGIN;
  const partMb = (rowsAtOnce: number, strategy: ParallelPlan["strategy"], processes: number) =>
    Math.ceil(totalMb(memoryParts(facts.base, run(rowsAtOnce, strategy, processes))) * factor * margin);
  const cards = precision === "bfloat16" && newer.length ? newer : allCards;
  const split = gpu
    ? splitOnGpus(name === "grpo" ? alone(request) : request, wish, cards, partMb, sequencesOf(name) > 1)
    : splitOnProcessors(request, wish, partMb, facts.machine.memoryMb * MEMORY_SHARE);
  const { batchSize, perDevice, processes, strategy } = split;
  if (batchSize !== wish) reasons.batch_size = `by ${rows} training rows, a multiple of ${processes} processes`;
  if (gpu) pick("gpus", request.gpus, () => split.gpus, "the smallest number of GPUs it fits on");
  if (processes > 1) pick("parallel", request.parallel, () => strategy, split.why);
  const parallel: ParallelPlan = { processes, strategy };
  const epochs = pick(
    "n_epochs",
    request.n_epochs,
    () => autoEpochs(rows),
    `so that about ${ROWS_TO_SEE} rows are seen`,
  );
  const stepsPerEpoch = Math.max(1, Math.ceil(sequences(request, facts, rows, maxLength) / batchSize));
  const maxSteps = given(request.max_steps) ?? null;
  const steps = Math.min(stepsPerEpoch * epochs, maxSteps ?? Number.POSITIVE_INFINITY);
  const multiplier = given(request.learning_rate_multiplier) ?? 1;
  const whole = method.adapter.type === "full";
  const usualRate = whole ? autoFullLearningRate : autoLearningRate;
  const rate = pick(
    "learning_rate",
    request.learning_rate,
    () => Number((usualRate(facts.base.parameters) * rateShare(name) * multiplier).toPrecision(4)),
    `${whole ? "full fine-tuning of" : "LoRA on"} a model of this size${rateShare(name) === 1 ? "" : `, ${rateShare(name)} of it for ${name}`}${multiplier === 1 ? "" : `, times ${multiplier}`}`,
  );

  const hyperparameters: Hyperparameters = {
    n_epochs: epochs,
    max_steps: maxSteps,
    batch_size: batchSize,
    per_device_batch_size: perDevice,
    gradient_accumulation: batchSize / processes / perDevice,
    learning_rate: rate,
    scheduler: pick("scheduler", request.scheduler, () => "linear" as const, "falls to zero at the end"),
    warmup_ratio: pick("warmup_ratio", request.warmup_ratio, () => (steps < 200 ? 0.1 : 0.03), `by ${steps} steps`),
    weight_decay: pick(
      "weight_decay",
      request.weight_decay,
      () => 0,
      whole ? "runs as short as these need none" : "adapters need none",
    ),
    max_grad_norm: pick("max_grad_norm", request.max_grad_norm, () => 1, "the usual guard"),
    max_length: maxLength,
    seed: request.seed ?? 42,
    precision,
    gradient_checkpointing: checkpointing,
    ...optionsOf(request),
  };
  const memory = memoryParts(facts.base, run(perDevice, strategy, processes));
  const every = Math.max(1, Math.ceil(steps / 4));
  const schedule: Schedule = {
    total_steps: steps,
    log_every: Math.max(1, Math.floor(steps / 20_000)),
    eval_every: pick(
      "eval_every",
      request.eval_every,
      () => Math.min(every, 500),
      "four times a run, every 500 steps at least",
    ),
    save_every: pick(
      "save_every",
      request.save_every,
      () => Math.min(every, 500),
      "four times a run, every 500 steps at least",
    ),
    keep_checkpoints: 3,
    sample_rows: Math.min(3, facts.holdoutRows),
    eval_rows: Math.min(32, facts.holdoutRows),
    sample_max_tokens: method.type === "grpo" ? method.max_completion_length : 64,
  };
  return {
    method,
    hyperparameters,
    schedule,
    parallel,
    need: {
      gpus: split.gpus,
      gpu_memory_mb: split.gpuMemoryMb,
      cpus: processes,
      memory_mb: gpu ? hostMemoryMb(memory.weights, parallel) : partMb(perDevice, strategy, processes) * processes,
      formula_mb: Math.round(totalMb(memory) * (gpu ? 1 : processes)),
      // A few checkpoints: of an adapter, or of all weights with the optimizer's two moments.
      disk_mb: Math.ceil(500 + ((facts.base.parameters * (whole ? 12 : 0.04 * 16)) / 2 ** 20) * 4),
    },
    memory: planned(memory, { factor, margin, processes, gpu }),
    reasons,
  };
}
