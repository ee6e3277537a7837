/**
 * Resolves every `auto` of a training request by the rules in docs/hyperparameters.md. Pure: the same facts give the
 * same spec.
 */
import type {
  AdapterSettings,
  Hyperparameters,
  MethodSettings,
  Need,
  ParallelPlan,
  RowType,
  Schedule,
} from "../../contract/spec.ts";
import { AppError } from "../../errors.ts";
import { learnedMemory, type PastRun } from "./history.ts";
import { rateOf, warmupRatio } from "./learning-rate.ts";
import {
  adapterShape,
  CPU_MARGIN,
  type MemoryPlan,
  type ModelShape,
  memoryParts,
  type Parts,
  planned,
  type RunShape,
  totalMb,
} from "./memory.ts";
import {
  type Choose,
  completionTokens,
  methodNameOf,
  methodOf,
  optionsOf,
  scoredShare,
  sequencesOf,
  usesReference,
} from "./method-defaults.ts";
import { GPU_MARGIN, type GpuKind, type NeedMb, type Split, splitOnCpu, splitOnGpus, usesGpus } from "./parallelism.ts";
import type { TrainRequest } from "./request.ts";

/**
 * Input of the rules. Token counts are for the training rows with the base model's tokenizer; null while unknown.
 */
export interface Facts {
  trainRows: number;
  holdoutRows: number;
  /** Whether the validation rows are those of a validation file. */
  ownValidation?: boolean;
  /** Absent while the data is being validated. */
  rowType?: RowType;
  /** Settings of the adapter or full model that the run continues from. */
  start?: AdapterSettings;
  tokens: {
    total: number;
    /** Sequences that a row becomes on average; 1 when absent. */
    perRow?: number;
    max: number;
    p95: number;
    over: Record<string, number>;
    exact: boolean;
    /** Number of rows by length, shortest first. */
    histogram?: { from: number; to: number; count: number }[];
  } | null;
  base: { context_length: number } & ModelShape;
  /** Share of tokens in the loss when training on assistant turns; 1 while unknown. */
  scored?: number;
  /** Length of a preference pair as one sequence divided by its longer side; null for other rows. */
  joined?: number | null;
  /** Ended runs of the same base model on this installation; they correct the memory formula. */
  past?: readonly PastRun[];
  machine: { cpus: number; memoryMb: number; bf16: boolean };
  /** GPUs available to jobs, by host and model; absent when there are none. */
  gpus?: GpuKind[];
}

export interface Resolved {
  method: MethodSettings;
  hyperparameters: Hyperparameters;
  schedule: Schedule;
  parallel: ParallelPlan;
  need: Pick<Need, "gpus" | "gpu_memory_mb" | "cpus" | "memory_mb" | "disk_mb" | "formula_mb">;
  memory: MemoryPlan;
  /** The reason for each value that was `auto`, by request field. */
  reasons: Record<string, string>;
}

/** Rows a model should see at least; short tasks are learned within 40 to 60 steps of eight rows. */
const ROWS_TO_SEE = 480;
/** Largest max sequence length that `auto` selects: beyond it, one outlier would slow every batch. */
const MAX_AUTO_LENGTH = 2048;
/** Share of the machine's memory that an estimate may reach before gradient accumulation is used. */
const MEMORY_SHARE = 0.6;
/**
 * Most rows of one evaluation during training: withheld ones, and those of a validation file. GRPO generates an answer
 * for each.
 */
const EVAL_ROWS = { withheld: 32, own: 128 };
/** Main memory of a process that uses a GPU: CUDA's libraries are large. */
const GPU_PROCESS_MB = 4000;

const rowsOf = ({ trainRows }: Facts) => Math.max(1, trainRows);
const clamp = (value: number, min: number, max: number) => Math.min(max, Math.max(min, value));
/** The value given, or undefined for `auto`, null and absence. */
const given = <T>(value: T | "auto" | null | undefined): T | undefined =>
  value === "auto" || value === null ? undefined : value;

/** Rows per optimizer step: small datasets need enough steps, large ones smoother gradients. */
function autoBatchSize(rows: number): number {
  if (rows < 64) return 4;
  if (rows < 5_000) return 8;
  return rows < 50_000 ? 16 : 32;
}

/** Epochs: enough to see about 480 rows, at least two below 1,000 rows, at most 25. */
function autoEpochs(rows: number): number {
  return clamp(Math.ceil(ROWS_TO_SEE / Math.max(1, rows)), rows < 1000 ? 2 : 1, 25);
}

/** Main memory in MiB for training on GPUs: libraries per process, and the weights while they are loaded. */
function hostMemoryMb(weights: number, parallel: ParallelPlan): number {
  const copies = parallel.strategy === "fsdp" || parallel.strategy === "zero3" ? 1 : parallel.processes;
  return Math.ceil(GPU_PROCESS_MB * parallel.processes + weights * copies);
}

/** Tokens of the longest sequence in a batch; data known to be shorter than the maximum needs less memory. */
function longest(request: TrainRequest, facts: Facts, maxLength: number, answer: number): number {
  if (request.packing === true || !facts.tokens?.exact) return maxLength;
  return Math.min(maxLength, facts.tokens.max + answer);
}

/** Approximate share of a packed sequence that rows fill. */
const PACKED_SHARE = 0.95;

/** Sequences per epoch: those of all rows, or an estimate with packing; the trainer reports the exact number. */
function sequences(request: TrainRequest, facts: Facts, rows: number, maxLength: number): number {
  if (!facts.tokens) return rows;
  const all = Math.round(rows * (facts.tokens.perRow ?? 1));
  return request.packing === true ? Math.min(all, Math.ceil(facts.tokens.total / (maxLength * PACKED_SHARE))) : all;
}

/** GRPO runs in one process: one GPU unless the request asks for something else. */
const singleProcess = (request: TrainRequest): TrainRequest => ({
  ...request,
  gpus: given(request.gpus) ?? 1,
  parallel: given(request.parallel) ?? "single",
});

/** Takes the given value, or the rule's with its reason in `reasons`. */
function picker(reasons: Record<string, string>): Choose {
  return (field, value, rule, why) => {
    const own = given(value);
    if (own !== undefined) return own;
    reasons[field] = why;
    return rule();
  };
}

/** The max sequence length. @throws AppError when it leaves no tokens for GRPO's prompts */
function maxLengthOf(request: TrainRequest, facts: Facts, answer: number, pick: Choose): number {
  const context = facts.base.context_length;
  const wanted = pick(
    "max_length",
    request.max_length,
    () => {
      const need = Math.ceil(((facts.tokens?.max ?? 512) + answer) / 64) * 64;
      return clamp(need, 64, Math.min(MAX_AUTO_LENGTH, context || MAX_AUTO_LENGTH));
    },
    `the longest row rounded up to 64 tokens, ${MAX_AUTO_LENGTH} at most`,
  );
  const maxLength = Math.min(wanted, context || Number.POSITIVE_INFINITY);
  if (answer >= maxLength)
    throw new AppError(
      "invalid",
      "invalid_value",
      `'max_completion_length' (${answer}) leaves no tokens for a prompt: it must be below the max sequence length (${maxLength} tokens).`,
      { param: "max_completion_length" },
    );
  return maxLength;
}

/** What is resolved before the batch is split between devices. */
interface Run {
  request: TrainRequest;
  facts: Facts;
  method: MethodSettings;
  maxLength: number;
  gpu: boolean;
  /** The available GPUs that compute the precision natively. */
  gpuKinds: readonly GpuKind[];
  precision: "float32" | "bfloat16";
  batchSize: number;
  checkpointing: boolean;
}

function runOf(request: TrainRequest, facts: Facts, pick: Choose): Run {
  const rows = rowsOf(facts);
  const name = methodNameOf(request, facts.rowType, pick);
  const method = methodOf(name, request, pick, facts.start ?? null, facts.base.context_length);
  const maxLength = maxLengthOf(request, facts, completionTokens(method), pick);
  const all = facts.gpus ?? [];
  const gpu = usesGpus(request, all);
  const newer = all.filter((kind) => kind.bf16);
  const bf16 = gpu ? newer.length > 0 || all.length === 0 : facts.machine.bf16;
  const where = gpu ? "the GPU" : "this machine";
  const precision = pick(
    "precision",
    request.precision,
    () => (bf16 ? "bfloat16" : "float32"),
    bf16 ? `${where} computes bfloat16 natively` : `${where} has no native bfloat16`,
  );
  const batchSize = pick("batch_size", request.batch_size, () => autoBatchSize(rows), `by ${rows} training rows`);
  const checkpointing = pick(
    "gradient_checkpointing",
    request.gradient_checkpointing,
    () => facts.base.parameters > 2e9,
    "only models over 2B parameters need the memory",
  );
  const gpuKinds = precision === "bfloat16" && newer.length ? newer : all;
  return { request, facts, method, maxLength, gpu, gpuKinds, precision, batchSize, checkpointing };
}

/** Input of the memory formula, for one process with `rows` rows per device. */
function shapeOf(run: Run, rows: number, strategy: ParallelPlan["strategy"], processes: number): RunShape {
  const { request, facts, method, gpu, precision, checkpointing } = run;
  const joins =
    facts.base.joins && typeof request.neftune_alpha !== "number" && request.attention !== "flash_attention_2";
  return {
    method: method.type,
    precision,
    quantization: method.quantization ?? "none",
    ...adapterShape(method.adapter),
    tuned: facts.start !== undefined,
    refers: usesReference(method),
    rows,
    length: longest(request, facts, run.maxLength, completionTokens(method)),
    scored: method.type === "sft" && method.loss_on === "all" ? 1 : scoredShare(method.type, facts.scored ?? 1),
    ...(method.type === "grpo" ? { answers: method.num_generations, written: method.max_completion_length } : {}),
    ...(facts.joined && joins ? { joined: facts.joined } : {}),
    checkpointing,
    optimizer: given(request.optimizer) ?? "adamw",
    gpu,
    strategy,
    processes,
  };
}

/** The correction of the memory formula by earlier runs of this kind, and the safety margin. */
function correctionOf({ facts, method, precision, gpu }: Run): { factor: number; margin: number } {
  const kind = { method, hyperparameters: { precision }, need: { gpus: gpu ? 1 : 0 } };
  return { factor: learnedMemory(facts.past ?? [], kind).factor, margin: gpu ? GPU_MARGIN : CPU_MARGIN };
}

/** Splits the batch between processes. @throws AppError `does_not_fit` unless `anyMemory` is set */
function splitOf(run: Run, needMb: NeedMb, anyMemory: boolean): Split {
  const { request, facts, method, gpu, gpuKinds, batchSize } = run;
  if (!gpu) return splitOnCpu(request, batchSize, needMb, facts.machine.memoryMb * MEMORY_SHARE);
  const asked = method.type === "grpo" ? singleProcess(request) : request;
  return splitOnGpus(asked, batchSize, gpuKinds, needMb, { whole: sequencesOf(method.type) > 1, anyMemory });
}

/** The hyperparameters, and the resulting number of steps. */
function hyperparametersOf(
  run: Run,
  { batchSize, processes, perDevice }: Split,
  pick: Choose,
): { hyperparameters: Hyperparameters; steps: number } {
  const { request, facts, method, maxLength } = run;
  const rows = rowsOf(facts);
  const epochs = pick(
    "n_epochs",
    request.n_epochs,
    () => autoEpochs(rows),
    `so that about ${ROWS_TO_SEE} rows are seen`,
  );
  const stepsPerEpoch = Math.max(1, Math.ceil(sequences(request, facts, rows, maxLength) / batchSize));
  const maxSteps = given(request.max_steps) ?? null;
  const steps = Math.min(stepsPerEpoch * epochs, maxSteps ?? Number.POSITIVE_INFINITY);
  const optimizer = pick("optimizer", request.optimizer, () => "adamw" as const, "the usual optimizer");
  const rate = rateOf(request, facts.base.parameters, { ...method, optimizer }, pick);
  const hyperparameters: Hyperparameters = {
    n_epochs: epochs,
    max_steps: maxSteps,
    batch_size: batchSize,
    per_device_batch_size: perDevice,
    gradient_accumulation: batchSize / processes / perDevice,
    learning_rate: rate,
    ...(optimizer === "adamw" ? {} : { optimizer }),
    scheduler: pick("scheduler", request.scheduler, () => "linear" as const, "falls to zero at the end"),
    warmup_ratio: warmupRatio(request, steps, pick),
    weight_decay: pick(
      "weight_decay",
      request.weight_decay,
      () => 0,
      method.adapter.type === "full" ? "runs as short as these need none" : "adapters need none",
    ),
    max_grad_norm: pick("max_grad_norm", request.max_grad_norm, () => 1, "the usual guard"),
    max_length: maxLength,
    seed: request.seed ?? 42,
    precision: run.precision,
    gradient_checkpointing: run.checkpointing,
    ...optionsOf(request),
  };
  return { hyperparameters, steps };
}

function scheduleOf({ request, facts, method }: Run, steps: number, pick: Choose): Schedule {
  const every = () => Math.min(Math.max(1, Math.ceil(steps / 4)), 500);
  const why = "four times a run, every 500 steps at least";
  return {
    total_steps: steps,
    log_every: Math.max(1, Math.floor(steps / 20_000)),
    eval_every: pick("eval_every", request.eval_every, every, why),
    save_every: pick("save_every", request.save_every, every, why),
    keep_checkpoints: 3,
    sample_rows: Math.min(3, facts.holdoutRows),
    eval_rows: Math.min(
      EVAL_ROWS[facts.ownValidation && method.type !== "grpo" ? "own" : "withheld"],
      facts.holdoutRows,
    ),
    sample_max_tokens: method.type === "grpo" ? method.max_completion_length : 64,
  };
}

/**
 * Resolves every setting of a run; request fields that are not `auto` are used as given.
 * @param anyMemory resolves a run that fits no available GPU as if GPUs had unlimited memory, so that a plan can show
 *   how much is missing
 * @throws AppError naming the invalid field; `does_not_fit` unless `anyMemory` is set
 */
export function resolveAuto(request: TrainRequest, facts: Facts, { anyMemory = false } = {}): Resolved {
  const reasons: Record<string, string> = {};
  const pick = picker(reasons);
  const run = runOf(request, facts, pick);
  const { factor, margin } = correctionOf(run);
  const partsOf: (...split: Parameters<NeedMb>) => Parts = (rows, strategy, processes) =>
    memoryParts(facts.base, shapeOf(run, rows, strategy, processes));
  const needMb: NeedMb = (...split) => Math.ceil(totalMb(partsOf(...split)) * factor * margin);
  const split = splitOf(run, needMb, anyMemory);
  const { batchSize, perDevice, processes, strategy } = split;
  if (batchSize !== run.batchSize)
    reasons.batch_size = `by ${rowsOf(facts)} training rows, a multiple of ${processes} processes`;
  if (run.gpu) pick("gpus", request.gpus, () => split.gpus, "the smallest number of GPUs it fits on");
  if (processes > 1) pick("parallel", request.parallel, () => strategy, split.why);
  const parallel: ParallelPlan = { processes, strategy };
  const { hyperparameters, steps } = hyperparametersOf(run, split, pick);
  const schedule = scheduleOf(run, steps, pick);
  const parts = partsOf(perDevice, strategy, processes);
  // One checkpoint: an adapter, or all weights with the optimizer's two moments.
  const checkpointBytes = facts.base.parameters * (run.method.adapter.type === "full" ? 12 : 0.04 * 16);
  const need: Resolved["need"] = {
    gpus: split.gpus,
    gpu_memory_mb: split.gpuMemoryMb,
    cpus: processes,
    memory_mb: run.gpu ? hostMemoryMb(parts.weights, parallel) : needMb(perDevice, strategy, processes) * processes,
    formula_mb: Math.round(totalMb(parts) * (run.gpu ? 1 : processes)),
    disk_mb: Math.ceil(500 + (checkpointBytes / 2 ** 20) * 4),
  };
  const memory = planned(parts, { factor, margin, processes, gpu: run.gpu });
  return { method: run.method, hyperparameters, schedule, parallel, need, memory, reasons };
}
