/** How long a run will take: from the speed of finished runs of this installation, or a measured default. */
import type { TrainSpec } from "../../contract/spec.ts";
import { learnedSpeed, type PastRun } from "./history.ts";

/**
 * Measured on two cores: a model of 134.5M parameters trains 141 tokens/s in float32, 208 in bfloat16 with native
 * support.
 */
const MEASURED = { parameters: 134.5e6, cpus: 2, float32: 141, bfloat16: 208 };
/**
 * Dense bfloat16 operations a second of cards as their makers publish them, in units of 10^12; the first name found
 * counts.
 */
const CARDS: readonly (readonly [name: RegExp, teraflops: number])[] = [
  [/\bB[23]00\b/i, 2250],
  [/\bH[12]00\b|\bGH200\b/i, 989],
  [/\bH800\b/i, 989],
  [/\bA[18]00\b/i, 312],
  [/\bL40S\b/i, 362],
  [/\bL40\b/i, 181],
  [/\b(RTX )?6000 Ada\b/i, 182],
  [/\bRTX 5090\b/i, 209],
  [/\b(RTX )?4090\b/i, 165],
  [/\bA40\b|\bA6000\b/i, 150],
  [/\bA10G?\b/i, 125],
  [/\bL4\b/i, 121],
  [/\bV100\b/i, 112],
  [/\bT4G?\b/i, 65],
];
const UNKNOWN_CARD = 100;
/** Part of that which training reaches, in bfloat16 and in float32; a guess until a run of one's own. */
const REACHED = { bfloat16: 0.3, float32: 0.08 };
/**
 * Operations a parameter and token with a frozen base: forward, and the gradient of the activations; once more forward
 * with checkpointing.
 */
const OPERATIONS = { plain: 4, checkpointing: 6 };
/** Seconds before the first step: interpreter, libraries, model. */
const START_S = 15;
/** Evaluation, samples and checkpoints on top of the steps. */
const OVERHEAD = 1.2;
/** How far off a time may be, by what it rests on. */
const SPREAD = { history: [0.8, 1.4], default: [0.4, 2.5] } as const;

export interface Speed {
  /** Tokens trained in a second. */
  tokensPerSecond: number;
  /** `history` when finished runs of the same base model and precision were found. */
  basis: "history" | "default";
  /** Runs it rests on. */
  runs: number;
}

/** What would do the work. `gpus` of `gpuName`; 0 = processors. */
interface Hardware {
  cpus: number;
  gpus: number;
  gpuName: string | null;
}

/** Speed to expect of a run. @param place where, as `hardwareOf` names it; null = anywhere */
export function expectedSpeed(past: readonly PastRun[], spec: TrainSpec, place: string | null, on: Hardware): Speed {
  const learned = learnedSpeed(past, spec, place);
  if (learned) return { tokensPerSecond: learned.speed, basis: "history", runs: learned.runs };
  const { precision, gradient_checkpointing: checkpointing } = spec.hyperparameters;
  const parameters = Math.max(1, spec.base_model.parameters);
  if (on.gpus > 0) {
    const tera = CARDS.find(([name]) => name.test(on.gpuName ?? ""))?.[1] ?? UNKNOWN_CARD;
    const operations = (checkpointing ? OPERATIONS.checkpointing : OPERATIONS.plain) * parameters;
    return { tokensPerSecond: (tera * 1e12 * REACHED[precision] * on.gpus) / operations, basis: "default", runs: 0 };
  }
  const scale = (MEASURED.parameters / parameters) * (Math.max(1, on.cpus) / MEASURED.cpus);
  return { tokensPerSecond: MEASURED[precision] * scale, basis: "default", runs: 0 };
}

/** Tokens a run goes through; null while the rows are not counted. */
export function totalTokens(spec: TrainSpec, tokensPerEpoch: number | null): number | null {
  if (tokensPerEpoch === null) return null;
  const rowsSeen = Math.min(
    spec.schedule.total_steps * spec.hyperparameters.batch_size,
    spec.dataset.train_rows * spec.hyperparameters.n_epochs,
  );
  const perRow = tokensPerEpoch / Math.max(1, spec.dataset.train_rows);
  const { method } = spec;
  // Every prompt is read once an answer; answers are at most so long.
  if (method.type === "grpo")
    return Math.round(rowsSeen * method.num_generations * (perRow + method.max_completion_length));
  return Math.round(perRow * rowsSeen);
}

/** Seconds from launch to end. */
export function estimateSeconds(tokens: number | null, speed: Speed): number | null {
  return tokens === null ? null : Math.round(START_S + (tokens / speed.tokensPerSecond) * OVERHEAD);
}

/** The same at least and at most. */
export function secondsRange(seconds: number | null, basis: Speed["basis"]): [low: number, high: number] | null {
  const [low, high] = SPREAD[basis];
  return seconds === null ? null : [Math.floor(seconds * low), Math.ceil(seconds * high)];
}
