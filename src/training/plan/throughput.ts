/** Estimates how long a run takes, from the throughput of finished runs or from a measured default. */
import type { TrainSpec } from "../../contract/spec.ts";
import { learnedSpeed, type PastRun } from "./history.ts";

/**
 * Measured on two cores: a model with 134.5M parameters trains at 141 tokens/s in float32, and 208 in native bfloat16.
 */
const MEASURED = { parameters: 134.5e6, cpus: 2, float32: 141, bfloat16: 208 };
/**
 * Published dense bfloat16 throughput of GPUs in TFLOPS; the first matching name counts.
 */
const GPU_TFLOPS: readonly (readonly [name: RegExp, teraflops: number])[] = [
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
const UNKNOWN_GPU_TFLOPS = 100;

/** Names of GPUs as clouds write them, for those that no provider offers yet. */
export const GPU_NAMES: readonly string[] = [
  "A10",
  "A100",
  "A100 PCIe",
  "A100 SXM",
  "A10G",
  "A40",
  "B200",
  "B300",
  "GH200",
  "H100",
  "H100 NVL",
  "H100 PCIe",
  "H100 SXM",
  "H200",
  "H200 SXM",
  "L4",
  "L40",
  "L40S",
  "RTX 4090",
  "RTX 5090",
  "RTX 6000 Ada",
  "RTX A6000",
  "T4",
  "V100",
];
/** Share of it that training reaches; a guess until a run has finished. */
const UTILIZATION = { bfloat16: 0.3, float32: 0.08 };
/**
 * Operations per parameter and token with a frozen base: forward pass and gradient of the activations, and a second
 * forward pass with gradient checkpointing.
 */
const OPERATIONS = { plain: 4, checkpointing: 6 };
/** Seconds until the first step: interpreter, libraries, model. */
const START_S = 15;
/** Factor for evaluation, samples and checkpoints. */
const OVERHEAD = 1.2;
/** Range of an estimate, by its basis. */
const SPREAD = { history: [0.8, 1.4], default: [0.4, 2.5] } as const;

export interface Speed {
  /** Tokens trained per second. */
  tokensPerSecond: number;
  /** `history`: from finished runs with the same base model and precision. */
  basis: "history" | "default";
  /** Number of runs it is based on. */
  runs: number;
}

/** The hardware of a run: `gpus` of `gpuName`; 0 = CPUs. */
interface Hardware {
  cpus: number;
  gpus: number;
  gpuName: string | null;
}

/** Expected throughput. @param place as named by `hardwareOf`; null = anywhere */
export function expectedSpeed(past: readonly PastRun[], spec: TrainSpec, place: string | null, on: Hardware): Speed {
  const learned = learnedSpeed(past, spec, place);
  if (learned) return { tokensPerSecond: learned.speed, basis: "history", runs: learned.runs };
  const { precision, gradient_checkpointing: checkpointing } = spec.hyperparameters;
  const parameters = Math.max(1, spec.base_model.parameters);
  if (on.gpus > 0) {
    const tera = GPU_TFLOPS.find(([name]) => name.test(on.gpuName ?? ""))?.[1] ?? UNKNOWN_GPU_TFLOPS;
    const operations = (checkpointing ? OPERATIONS.checkpointing : OPERATIONS.plain) * parameters;
    return {
      tokensPerSecond: (tera * 1e12 * UTILIZATION[precision] * on.gpus) / operations,
      basis: "default",
      runs: 0,
    };
  }
  const scale = (MEASURED.parameters / parameters) * (Math.max(1, on.cpus) / MEASURED.cpus);
  return { tokensPerSecond: MEASURED[precision] * scale, basis: "default", runs: 0 };
}

/** Tokens a run processes; null while the rows are not counted. */
export function totalTokens(spec: TrainSpec, tokensPerEpoch: number | null): number | null {
  if (tokensPerEpoch === null) return null;
  const rowsSeen = Math.min(
    spec.schedule.total_steps * spec.hyperparameters.batch_size,
    spec.dataset.train_rows * spec.hyperparameters.n_epochs,
  );
  const perRow = tokensPerEpoch / Math.max(1, spec.dataset.train_rows);
  const { method } = spec;
  // An upper bound: every prompt is read once per completion of full length.
  if (method.type === "grpo")
    return Math.round(rowsSeen * method.num_generations * (perRow + method.max_completion_length));
  return Math.round(perRow * rowsSeen);
}

/** Seconds from launch to end. */
export function estimateSeconds(tokens: number | null, speed: Speed): number | null {
  return tokens === null ? null : Math.round(START_S + (tokens / speed.tokensPerSecond) * OVERHEAD);
}

/** The range of an estimate. */
export function secondsRange(seconds: number | null, basis: Speed["basis"]): [low: number, high: number] | null {
  const [low, high] = SPREAD[basis];
  return seconds === null ? null : [Math.floor(seconds * low), Math.ceil(seconds * high)];
}

/**
 * The tokens of a run whose range of seconds was estimated by `estimateSeconds` and `secondsRange` for a machine of
 * unknown GPU and `cpus` cores.
 */
export function tokensOf(
  [low, high]: readonly [low: number, high: number],
  past: readonly PastRun[],
  spec: TrainSpec,
  cpus: number,
): number {
  // The width of the range says what it was based on.
  const ratio = (basis: Speed["basis"]) => SPREAD[basis][1] / SPREAD[basis][0];
  const learned = high / Math.max(1, low) < (ratio("history") + ratio("default")) / 2;
  const basis = learned ? "history" : "default";
  const speed = expectedSpeed(learned ? past : [], spec, null, { cpus, gpus: spec.need.gpus, gpuName: null });
  const seconds = high / SPREAD[basis][1];
  return (Math.max(0, seconds - START_S) / OVERHEAD) * speed.tokensPerSecond;
}
