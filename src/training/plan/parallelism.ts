/**
 * How many GPUs or processes a training gets and what they share, by the rules of docs/hyperparameters.md: pure, like
 * auto.ts.
 */
import type { ParallelPlan } from "../../contract/spec.ts";
import { AppError } from "../../errors.ts";
import type { TrainRequest } from "./request.ts";

/** Cards of one kind in one host: so many can train together. */
export interface Cards {
  count: number;
  memoryMb: number;
  /** Multiplies bfloat16 natively. */
  bf16: boolean;
}

/** MiB one of `processes` needs for `rows` rows at once, its margin included. */
export type NeedMb = (rows: number, strategy: Strategy, processes: number) => number;

export interface Split extends ParallelPlan {
  batchSize: number;
  perDevice: number;
  gpus: number;
  /** MiB each GPU must have. */
  gpuMemoryMb: number;
  /** Why, for the plan's reasons. */
  why: string;
}

/** What is asked of a card over what the formula says; the rest is for fragments and other people's displays. */
export const CARD_MARGIN = 1 / 0.9;
/** What a GPU is taken to have while no host has told of any. */
const USUAL_CARD_MB = 80_000;
type Strategy = ParallelPlan["strategy"];
const invalid = (param: keyof TrainRequest, message: string) =>
  new AppError("invalid", "invalid_value", message, { param });
const given = <T>(value: T | "auto" | null | undefined): T | undefined =>
  value === "auto" || value === null ? undefined : value;

/** Whether a request is trained on GPUs: when it names a number, or leaves it open and there are some. */
export function onGpus(request: TrainRequest, cards: readonly Cards[]): boolean {
  const asked = given(request.gpus);
  if (asked !== undefined) return asked > 0;
  return cards.length > 0 && given(request.cpu_processes) === undefined;
}

/** The batch for `count` processes: an automatic one grows to a multiple, a given one must be one. */
function batchFor(request: TrainRequest, batch: number, count: number): number {
  if (batch % count === 0) return batch;
  if (given(request.batch_size) === undefined) return Math.ceil(batch / count) * count;
  throw invalid(
    "batch_size",
    `A batch of ${batch} rows cannot be shared out equally by ${count} processes: use a multiple of ${count}.`,
  );
}

/** Rows of a process that may be computed at once: all of its share, or the part asked for. */
function atOnce(request: TrainRequest, share: number): number {
  const asked = given(request.per_device_batch_size) ?? share;
  if (asked > share || share % asked !== 0)
    throw invalid(
      "per_device_batch_size",
      `'per_device_batch_size' must divide the ${share} rows a process has in every step.`,
    );
  return asked;
}

/** The largest equal part of `rows` rows that fits; one row when none does. */
function part(rows: number, fits: (rows: number) => boolean): number {
  let size = rows;
  while (size > 1 && (rows % size !== 0 || !fits(size))) size--;
  return size;
}

/** The split on the processors of one machine. The processes together get `room` MiB. */
export function splitOnProcessors(request: TrainRequest, batch: number, needMb: NeedMb, room: number): Split {
  const processes = given(request.cpu_processes) ?? 1;
  const named = given(request.parallel);
  if (named && named !== "single" && named !== "ddp")
    throw invalid("parallel", `'${named}' splits a model between GPUs: set 'gpus', or leave 'parallel' to auto.`);
  if (processes > 1 && named === "single")
    throw invalid("parallel", `'single' is one process; 'cpu_processes' asks for ${processes}.`);
  if (processes === 1 && named === "ddp")
    throw invalid("parallel", "'ddp' needs two processes at least: set 'gpus' or 'cpu_processes'.");
  const batchSize = batchFor(request, batch, processes);
  // The batch is cut in equal parts until one part fits; the outcome is the same, only slower.
  const strategy = processes > 1 ? "ddp" : "single";
  const most = atOnce(request, batchSize / processes);
  const perDevice = part(most, (rows) => needMb(rows, strategy, processes) * processes <= room);
  return { processes, strategy, batchSize, perDevice, gpus: 0, gpuMemoryMb: 0, why: "trained on processors" };
}

/**
 * The split on GPUs: the number asked for, or the smallest that fits.
 * @param options `whole`: the method needs all of the model on every GPU. `anyMemory`: what fits none is split as on
 *   GPUs with any memory
 * @throws AppError naming the field that cannot be
 */
export function splitOnGpus(
  request: TrainRequest,
  batch: number,
  cards: readonly Cards[],
  needMb: NeedMb,
  { whole = false, anyMemory = false } = {},
): Split {
  const named = given(request.parallel);
  const asked = given(request.gpus);
  if ((given(request.cpu_processes) ?? 1) > 1)
    throw invalid("cpu_processes", "'cpu_processes' is for training without GPUs: set 'gpus' to 0, or leave it out.");
  if (asked !== undefined && asked > 1 && named === "single")
    throw invalid("parallel", `'single' uses one GPU; 'gpus' asks for ${asked}.`);
  if (asked === 1 && named && named !== "single")
    throw invalid("parallel", `'${named}' needs two GPUs at least; 'gpus' asks for one.`);
  const largest = (count: number) => {
    const kinds = cards.filter((kind) => kind.count >= count);
    const known = kinds.length ? kinds : asked === undefined ? [] : cards;
    return Math.max(0, ...known.map((kind) => kind.memoryMb)) || (asked === undefined ? 0 : USUAL_CARD_MB);
  };
  const most = Math.max(1, ...cards.map((kind) => kind.count));
  const least = named && named !== "single" ? 2 : 1;
  const counts = asked ? [asked] : powers(named === "single" ? 1 : most).filter((count) => count >= least);
  for (const count of counts) {
    if (asked === undefined && given(request.batch_size) !== undefined && batch % count !== 0) continue;
    const batchSize = batchFor(request, batch, count);
    const room = largest(count);
    const choices: Strategy[] = named ? [named] : count === 1 ? ["single"] : whole ? ["ddp"] : ["ddp", "fsdp"];
    for (const strategy of choices) {
      if (needMb(1, strategy, count) > room) continue;
      const perDevice = part(atOnce(request, batchSize / count), (rows) => needMb(rows, strategy, count) <= room);
      const gpuMemoryMb = needMb(perDevice, strategy, count);
      return { processes: count, strategy, batchSize, perDevice, gpus: count, gpuMemoryMb, why: WHY[strategy] };
    }
  }
  if (anyMemory && cards.length) {
    const endless = cards.map((kind) => ({ ...kind, memoryMb: Number.MAX_SAFE_INTEGER }));
    return splitOnGpus(request, batch, endless, needMb, { whole });
  }
  const count = asked ?? counts.at(-1) ?? most;
  const strategy = named ?? (count === 1 ? "single" : whole ? "ddp" : "fsdp");
  throw new AppError(
    "invalid",
    "does_not_fit",
    `It would need ${needMb(1, strategy, count)} MB on each of ${count} GPUs (${strategy}); there are ${
      cards.length ? `at most ${most} together, the largest with ${largest(1)} MB` : "none known"
    }. Use ${asked && !whole ? "more GPUs" : "larger GPUs"}, a quantized base (nf4), a smaller model or a lower 'max_length', or set 'gpus' to 0 for processors.`,
    { param: "gpus" },
  );
}

const WHY: Record<Strategy, string> = {
  single: "the smallest number of GPUs it fits on",
  ddp: "model and batch fit on each GPU, so each holds all of the model",
  fsdp: "the model does not fit on one GPU, so its parts lie on several",
  zero2: "asked for",
  zero3: "asked for",
};

/** 1, 2, 4, … up to `most`: batches are powers of two too, and so are the ways GPUs are wired. */
function powers(most: number): number[] {
  const out: number[] = [];
  for (let count = 1; count <= most; count *= 2) out.push(count);
  return out;
}
