/**
 * The smallest change that makes a run fit: options are tried in order, first those that keep the result, then those
 * that cost quality.
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
  /** The change and its effect, for users. */
  words: string;
  /** `same`: the result is the same, only slower. */
  effect: "same" | "quality";
  /** Memory of the changed run, in MiB. */
  memoryMb: number;
}

interface Step {
  change: Change;
  words: string;
  effect: Suggestion["effect"];
}

/** Proper divisors, largest first. */
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
  words: "turn on gradient checkpointing; the result is the same, and training takes about a third longer",
  effect: "same",
};

/**
 * Smaller per-device batch sizes: only divisors of the current one and of a process's share of the batch.
 */
function parts({ hyperparameters: h, parallel }: Resolved): Step[] {
  const share = h.batch_size / parallel.processes;
  return smaller(h.per_device_batch_size)
    .filter((rows) => share % rows === 0)
    .map((rows) => ({
      change: { per_device_batch_size: rows },
      words: `set the per-device batch size to ${rows}; the batch size stays ${h.batch_size}, and training takes longer`,
      effect: "same",
    }));
}

/** Base model quantization, the more accurate one first. */
function fewerBits({ method }: Resolved, { start }: Facts): Step[] {
  if ((method.quantization ?? "none") !== "none" || start !== undefined) return [];
  return (["int8", "nf4"] as const).map((quantization) => ({
    change: { quantization },
    words: `quantize the base model to ${quantization === "nf4" ? "4 bits (nf4)" : "8 bits (int8)"}; quality drops slightly`,
    effect: "quality",
  }));
}

/** Lower max sequence lengths. Not for GRPO: they would skip prompts or truncate every completion. */
function shorterRows({ hyperparameters: h, method }: Resolved): Step[] {
  if (method.type === "grpo") return [];
  const lengths = [0.75, 0.5, 0.25, 0.125].map((part) => Math.max(64, Math.floor((h.max_length * part) / 64) * 64));
  return [...new Set(lengths)]
    .filter((length) => length < h.max_length)
    .map((max_length) => ({
      change: { max_length },
      words: `set the max sequence length to ${max_length} tokens; longer rows are truncated`,
      effect: "quality",
    }));
}

/** Fewer trainable weights. @param best the other changes that save most memory */
function fewerWeights({ method }: Resolved, { start, base }: Facts, best: Step[]): Step[] {
  if (start !== undefined) return [];
  if (method.adapter.type === "full")
    return [
      {
        change: { adapter: "lora" },
        words: "train a LoRA adapter instead of full fine-tuning; the model learns less new knowledge",
        effect: "quality",
      },
    ];
  if (method.adapter.layers !== null || base.layers <= 3) return [];
  const lora_layers = Math.ceil(base.layers / 2);
  const top: Step = { change: { lora_layers }, words: `train only the top ${lora_layers} layers`, effect: "quality" };
  return [top, join(...best, top)];
}

/** All changes to try, the cheapest first. */
function* steps(now: Resolved, facts: Facts): Generator<Step> {
  const less = parts(now);
  yield* less;
  const checkpointed = now.hyperparameters.gradient_checkpointing;
  if (!checkpointed) {
    yield CHECKPOINTING;
    for (const part of less) yield join(part, CHECKPOINTING);
  }
  // All changes that keep the result, combined: the last part has a per-device batch size of 1.
  const same = [...less.slice(-1), ...(checkpointed ? [] : [CHECKPOINTING])];
  const bits = fewerBits(now, facts);
  for (const step of bits) {
    yield step;
    if (same.length) yield join(...same, step);
  }
  const best = [...same, ...bits.slice(-1)];
  yield* fewerWeights(now, facts, best);
  for (const cut of shorterRows(now)) yield join(...same, cut);
  for (const cut of shorterRows(now)) yield join(...best, cut);
}

/**
 * The first change with which the run fits into `roomMb`; null when no change suffices.
 * @param refused whether the options of a resolved run cannot be combined
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
