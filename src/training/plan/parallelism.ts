/**
 * Resolves the number of GPUs or processes and the parallelism strategy by the rules in docs/hyperparameters.md. Pure.
 */
import type { ParallelPlan } from "../../contract/spec.ts";
import { AppError } from "../../errors.ts";
import type { TrainRequest } from "./request.ts";

/** GPUs of one model in one host, which can train together. */
export interface GpuKind {
  count: number;
  memoryMb: number;
  /** Computes bfloat16 natively. */
  bf16: boolean;
}

/** MiB that one of `processes` needs with `rows` rows per device, including the margin. */
export type NeedMb = (rows: number, strategy: Strategy, processes: number) => number;

export interface Split extends ParallelPlan {
  batchSize: number;
  perDevice: number;
  gpus: number;
  /** MiB each GPU must have. */
  gpuMemoryMb: number;
  /** The reason, for the plan. */
  why: string;
}

/** Safety margin on GPUs: leaves 10% for fragmentation and other processes. */
export const GPU_MARGIN = 1 / 0.9;
/** Assumed memory of a GPU while no host has reported any, in MiB. */
const DEFAULT_GPU_MB = 80_000;
type Strategy = ParallelPlan["strategy"];
const invalid = (param: keyof TrainRequest, message: string) =>
  new AppError("invalid", "invalid_value", message, { param });
const given = <T>(value: T | "auto" | null | undefined): T | undefined =>
  value === "auto" || value === null ? undefined : value;

/** Whether a request trains on GPUs: it names a number, or leaves it to `auto` and GPUs are available. */
export function usesGpus(request: TrainRequest, gpuKinds: readonly GpuKind[]): boolean {
  const asked = given(request.gpus);
  if (asked !== undefined) return asked > 0;
  return gpuKinds.length > 0 && given(request.cpu_processes) === undefined;
}

/** The batch size for `count` processes: `auto` is rounded up to a multiple, a given value must be one. */
function batchFor(request: TrainRequest, batch: number, count: number): number {
  if (batch % count === 0) return batch;
  if (given(request.batch_size) === undefined) return Math.ceil(batch / count) * count;
  throw invalid(
    "batch_size",
    `A batch of ${batch} rows cannot be split equally between ${count} processes. Use a multiple of ${count}.`,
  );
}

/** The largest allowed per-device batch size: the process's share of the batch, or the requested part of it. */
function maxPerDevice(request: TrainRequest, share: number): number {
  const asked = given(request.per_device_batch_size) ?? share;
  if (asked > share || share % asked !== 0)
    throw invalid(
      "per_device_batch_size",
      `'per_device_batch_size' must be a divisor of ${share}, the rows per process and step.`,
    );
  return asked;
}

/** The largest divisor of `rows` that fits; 1 when none does. */
function largestFit(rows: number, fits: (rows: number) => boolean): number {
  let size = rows;
  while (size > 1 && (rows % size !== 0 || !fits(size))) size--;
  return size;
}

/** The split on the CPU cores of one machine. All processes together may use `room` MiB. */
export function splitOnCpu(request: TrainRequest, batch: number, needMb: NeedMb, room: number): Split {
  const processes = given(request.cpu_processes) ?? 1;
  const named = given(request.parallel);
  if (named && named !== "single" && named !== "ddp")
    throw invalid("parallel", `'${named}' splits a model over several GPUs. Set 'gpus', or leave 'parallel' at auto.`);
  if (processes > 1 && named === "single")
    throw invalid("parallel", `'single' is one process, but 'cpu_processes' is ${processes}.`);
  if (processes === 1 && named === "ddp")
    throw invalid("parallel", "'ddp' needs at least two processes. Set 'gpus' or 'cpu_processes'.");
  const batchSize = batchFor(request, batch, processes);
  // Gradient accumulation: the batch is split until one part fits. The result is the same, only slower.
  const strategy = processes > 1 ? "ddp" : "single";
  const most = maxPerDevice(request, batchSize / processes);
  const perDevice = largestFit(most, (rows) => needMb(rows, strategy, processes) * processes <= room);
  return { processes, strategy, batchSize, perDevice, gpus: 0, gpuMemoryMb: 0, why: "trained on processors" };
}

/**
 * The split on GPUs: the requested number, or the smallest that fits.
 * @param options `whole`: the method needs the full model on every GPU. `anyMemory`: a run that fits no GPU is split as
 *   if GPUs had unlimited memory
 * @throws AppError naming the invalid field
 */
export function splitOnGpus(
  request: TrainRequest,
  batch: number,
  gpuKinds: readonly GpuKind[],
  needMb: NeedMb,
  { whole = false, anyMemory = false } = {},
): Split {
  const named = given(request.parallel);
  const asked = given(request.gpus);
  if ((given(request.cpu_processes) ?? 1) > 1)
    throw invalid(
      "cpu_processes",
      "'cpu_processes' is for training without GPUs. Set 'gpus' to 0, or leave 'cpu_processes' out.",
    );
  if (asked !== undefined && asked > 1 && named === "single")
    throw invalid("parallel", `'single' uses one GPU, but 'gpus' is ${asked}.`);
  if (asked === 1 && named && named !== "single")
    throw invalid("parallel", `'${named}' needs at least two GPUs, but 'gpus' is 1.`);
  const largest = (count: number) => {
    const kinds = gpuKinds.filter((kind) => kind.count >= count);
    const known = kinds.length ? kinds : asked === undefined ? [] : gpuKinds;
    return Math.max(0, ...known.map((kind) => kind.memoryMb)) || (asked === undefined ? 0 : DEFAULT_GPU_MB);
  };
  const most = Math.max(1, ...gpuKinds.map((kind) => kind.count));
  const least = named && named !== "single" ? 2 : 1;
  const counts = asked ? [asked] : powersOfTwo(named === "single" ? 1 : most).filter((count) => count >= least);
  for (const count of counts) {
    if (asked === undefined && given(request.batch_size) !== undefined && batch % count !== 0) continue;
    const batchSize = batchFor(request, batch, count);
    const room = largest(count);
    const choices: Strategy[] = named ? [named] : count === 1 ? ["single"] : whole ? ["ddp"] : ["ddp", "fsdp"];
    for (const strategy of choices) {
      if (needMb(1, strategy, count) > room) continue;
      const perDevice = largestFit(
        maxPerDevice(request, batchSize / count),
        (rows) => needMb(rows, strategy, count) <= room,
      );
      const gpuMemoryMb = needMb(perDevice, strategy, count);
      return { processes: count, strategy, batchSize, perDevice, gpus: count, gpuMemoryMb, why: REASONS[strategy] };
    }
  }
  if (anyMemory && gpuKinds.length) {
    const unlimited = gpuKinds.map((kind) => ({ ...kind, memoryMb: Number.MAX_SAFE_INTEGER }));
    return splitOnGpus(request, batch, unlimited, needMb, { whole });
  }
  const count = asked ?? counts.at(-1) ?? most;
  const strategy = named ?? (count === 1 ? "single" : whole ? "ddp" : "fsdp");
  throw new AppError(
    "invalid",
    "does_not_fit",
    `The run needs ${needMb(1, strategy, count)} MB on each of ${count} GPUs (${strategy}). Available: ${
      gpuKinds.length ? `at most ${most} GPUs in one host, the largest with ${largest(1)} MB` : "no known GPUs"
    }. Use ${asked && !whole ? "more GPUs" : "larger GPUs"}, base model quantization (nf4), a smaller model or a lower 'max_length', or set 'gpus' to 0 to train on CPUs.`,
    { param: "gpus" },
  );
}

const REASONS: Record<Strategy, string> = {
  single: "the smallest number of GPUs it fits on",
  ddp: "model and batch fit on each GPU, so each holds all of the model",
  fsdp: "the model does not fit on one GPU, so it is sharded over several",
  zero2: "asked for",
  zero3: "asked for",
};

/** 1, 2, 4, … up to `most`: batch sizes and GPU interconnects are powers of two as well. */
function powersOfTwo(most: number): number[] {
  const out: number[] = [];
  for (let count = 1; count <= most; count *= 2) out.push(count);
  return out;
}
