/** The smallest change that makes a run fit: options are tried from what leaves the result as it is to what costs quality. */
import { AppError } from "../errors.ts";
import { type Facts, type Resolved, resolveAuto } from "./auto.ts";
import type { TrainRequest } from "./request.ts";

/** Fields a suggestion may change. */
export type Change = Partial<
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

/** Everything worth trying, the cheapest first. */
function* steps(now: Resolved, facts: Facts): Generator<Step> {
  const { hyperparameters: h, method } = now;
  const share = h.batch_size / now.parallel.processes;
  // Parts of the batch of now, and of the rows the process has in a step: only those come out even.
  const parts = smaller(h.per_device_batch_size).filter((part) => share % part === 0);
  const part = (rows: number): Step => ({
    change: { per_device_batch_size: rows },
    words: `compute ${rows === 1 ? "one row" : `${rows} rows`} at a time; the batch stays ${h.batch_size}, it only takes longer`,
    effect: "same",
  });
  const checkpointing: Step = {
    change: { gradient_checkpointing: true },
    words:
      "compute activations again instead of keeping them (gradient checkpointing); the result is the same, it takes about a third longer",
    effect: "same",
  };
  const join = (...all: Step[]): Step => ({
    change: Object.assign({}, ...all.map((one) => one.change)),
    words: all.map((one) => one.words).join("; "),
    effect: all.some((one) => one.effect === "quality") ? "quality" : "same",
  });
  for (const rows of parts) yield part(rows);
  const one = parts.length ? [part(1)] : [];
  if (!h.gradient_checkpointing) {
    yield checkpointing;
    for (const rows of parts) yield join(part(rows), checkpointing);
  }
  const same = h.gradient_checkpointing ? one : [...one, checkpointing];
  const bits = (["int8", "nf4"] as const)
    .filter(() => (method.quantization ?? "none") === "none" && facts.start === undefined)
    .map(
      (quantization): Step => ({
        change: { quantization },
        words: `hold the base in ${quantization === "nf4" ? "4 bits (nf4)" : "8 bits (int8)"}; answers get a little worse`,
        effect: "quality",
      }),
    );
  for (const step of bits) {
    yield step;
    if (same.length) yield join(...same, step);
  }
  const best = bits.at(-1) ? [...same, bits.at(-1) as Step] : same;
  const lengths = [0.75, 0.5, 0.25, 0.125].map((part) => Math.max(64, Math.floor((h.max_length * part) / 64) * 64));
  // Less room would leave GRPO's prompts out, or cut every answer.
  const cuts = (method.type === "grpo" ? [] : lengths)
    .filter((length, i) => length < h.max_length && lengths.indexOf(length) === i)
    .map(
      (max_length): Step => ({
        change: { max_length },
        words: `at most ${max_length} tokens a row; longer rows are cut at the end`,
        effect: "quality",
      }),
    );
  if (facts.start === undefined && method.adapter.type === "full")
    yield {
      change: { adapter: "lora" },
      words: "train a small adapter (LoRA) instead of every weight; it learns less that is new",
      effect: "quality",
    };
  const layered = method.adapter.type === "lora" && method.adapter.layers === null;
  if (facts.start === undefined && layered && facts.base.layers > 3) {
    const lora_layers = Math.ceil(facts.base.layers / 2);
    const top: Step = {
      change: { lora_layers },
      words: `train the top ${lora_layers} layers alone`,
      effect: "quality",
    };
    yield top;
    yield join(...best, top);
  }
  for (const cut of cuts) yield join(...same, cut);
  for (const cut of cuts) yield join(...best, cut);
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
