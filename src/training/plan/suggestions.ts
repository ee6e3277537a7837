/**
 * The smallest change that makes a run fit: options are tried from what leaves the result as it is to what costs
 * quality.
 */
import { AppError } from "../../errors.ts";
import { type Facts, type Resolved, resolveAuto } from "./defaults.ts";
import type { TrainRequest } from "./request.ts";

/** Fields a suggestion may change. */
type Change = Partial<
  Pick<
    TrainRequest,
    | ("per_device_batch_size" | "gradient_checkpointing" | "max_length")
    | ("adapter" | "quantization" | "lora_layers" | "lora_r")
  >
>;

export interface Suggestion {
  /** Fields of the request to set. */
  change: Change;
  /** What it costs, for people. */
  words: string;
  /** `same`: the run learns the same, only slower. */
  effect: "same" | "quality";
  /** Memory it then needs, in MiB. */
  memoryMb: number;
}

interface Step {
  change: Change;
  words: string;
  effect: Suggestion["effect"];
}

/** Largest first, down to one. */
function smaller(rows: number): number[] {
  return Array.from({ length: rows - 1 }, (_, i) => rows - 1 - i).filter((part) => rows % part === 0);
}

const join = (...all: Step[]): Step => ({
  change: Object.assign({}, ...all.map((one) => one.change)),
  words: all.map((one) => one.words).join("; "),
  effect: all.some((one) => one.effect === "quality") ? "quality" : "same",
});

const CHECKPOINTING: Step = {
  change: { gradient_checkpointing: true },
  words:
    "compute activations again instead of keeping them (gradient checkpointing); the result is the same, it takes about a third longer",
  effect: "same",
};

/**
 * Fewer rows at once: parts of the batch of now, and of the rows the process has in a step, since only those come out
 * even.
 */
function parts({ hyperparameters: h, parallel }: Resolved): Step[] {
  const share = h.batch_size / parallel.processes;
  return smaller(h.per_device_batch_size)
    .filter((rows) => share % rows === 0)
    .map((rows) => ({
      change: { per_device_batch_size: rows },
      words: `compute ${rows === 1 ? "one row" : `${rows} rows`} at a time; the batch stays ${h.batch_size}, it only takes longer`,
      effect: "same",
    }));
}

/** A base held in fewer bits, the better one first. */
function fewerBits({ method }: Resolved, { start }: Facts): Step[] {
  if ((method.quantization ?? "none") !== "none" || start !== undefined) return [];
  return (["int8", "nf4"] as const).map((quantization) => ({
    change: { quantization },
    words: `hold the base in ${quantization === "nf4" ? "4 bits (nf4)" : "8 bits (int8)"}; answers get a little worse`,
    effect: "quality",
  }));
}

/** Less of every row. Not for GRPO: less room would leave its prompts out, or cut every answer. */
function cuts({ hyperparameters: h, method }: Resolved): Step[] {
  if (method.type === "grpo") return [];
  const lengths = [0.75, 0.5, 0.25, 0.125].map((part) => Math.max(64, Math.floor((h.max_length * part) / 64) * 64));
  return [...new Set(lengths)]
    .filter((length) => length < h.max_length)
    .map((max_length) => ({
      change: { max_length },
      words: `at most ${max_length} tokens a row; longer rows are cut at the end`,
      effect: "quality",
    }));
}

/** Fewer weights that are trained. @param best what else leaves most memory */
function fewerWeights({ method }: Resolved, { start, base }: Facts, best: Step[]): Step[] {
  if (start !== undefined) return [];
  if (method.adapter.type === "full")
    return [
      {
        change: { adapter: "lora" },
        words: "train a small adapter (LoRA) instead of every weight; it learns less that is new",
        effect: "quality",
      },
    ];
  if (method.adapter.layers !== null || base.layers <= 3) return [];
  const lora_layers = Math.ceil(base.layers / 2);
  const top: Step = { change: { lora_layers }, words: `train the top ${lora_layers} layers alone`, effect: "quality" };
  return [top, join(...best, top)];
}

/** Everything worth trying, the cheapest first. */
function* steps(now: Resolved, facts: Facts): Generator<Step> {
  const less = parts(now);
  yield* less;
  const checkpointed = now.hyperparameters.gradient_checkpointing;
  if (!checkpointed) {
    yield CHECKPOINTING;
    for (const part of less) yield join(part, CHECKPOINTING);
  }
  // What leaves the result as it is, all of it together: the last part is one row at a time.
  const same = [...less.slice(-1), ...(checkpointed ? [] : [CHECKPOINTING])];
  const bits = fewerBits(now, facts);
  for (const step of bits) {
    yield step;
    if (same.length) yield join(...same, step);
  }
  const best = [...same, ...bits.slice(-1)];
  yield* fewerWeights(now, facts, best);
  for (const cut of cuts(now)) yield join(...same, cut);
  for (const cut of cuts(now)) yield join(...best, cut);
}

/**
 * The first change with which a run needs no more than `roomMb` where it computes; null when none of them does.
 * @param refused whether a resolved run is one that does not go together
 */
export function suggestFor(
  request: TrainRequest,
  facts: Facts,
  now: Resolved,
  roomMb: number,
  refused: (resolved: Resolved) => boolean,
): Suggestion | null {
  for (const step of steps(now, facts)) {
    try {
      const resolved = resolveAuto({ ...request, ...step.change }, facts);
      if (resolved.memory.total <= roomMb && !refused(resolved)) return { ...step, memoryMb: resolved.memory.total };
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
    }
  }
  return null;
}
