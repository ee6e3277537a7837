/**
 * Estimates the memory of a training by its parts, with the formula in docs/memory.md. Pure; in MiB, for one process on
 * its device.
 */
import type { AdapterSettings, Optimizer, Quantization, TrainSpec } from "../../contract/spec.ts";
import { sequencesOf } from "./method-defaults.ts";

/** The dimensions of a model that memory depends on. */
export interface ModelShape {
  parameters: number;
  layers: number;
  hidden: number;
  intermediate: number;
  heads: number;
  /** Width of keys or values: number of key-value heads times head size. */
  keys: number;
  vocabulary: number;
  /** Embedding and output head share one matrix. */
  tied: boolean;
  /** Both answers of a pair can share one prompt: every layer has plain attention. */
  joins?: boolean;
}

/** The settings of a run that memory depends on. */
export interface RunShape {
  method: TrainSpec["method"]["type"];
  precision: "float32" | "bfloat16";
  quantization: Quantization;
  adapter: {
    r: number;
    layers: number | null;
    dropout: number;
    target_modules: "all-linear" | string[];
    dora?: boolean;
  };
  /** Full fine-tuning, without an adapter; absent = false. */
  whole?: boolean;
  /** The run continues from a fine-tuned model; methods with a reference model keep a copy of it. */
  tuned: boolean;
  /** The method uses a reference model. */
  refers: boolean;
  /** Per-device batch size, and tokens of the longest row. */
  rows: number;
  length: number;
  /** Share of the tokens in the loss; only these have logits. */
  scored: number;
  /**
   * Length of a pair as one sequence divided by its longer side, when the prompt is computed once; absent = both sides
   * are computed in full.
   */
  joined?: number;
  /** Completions per row and tokens of the longest; absent for methods that generate none. */
  answers?: number;
  written?: number;
  checkpointing: boolean;
  /** Absent = adamw. */
  optimizer?: Optimizer;
  gpu: boolean;
  strategy: "single" | "ddp" | "fsdp" | "zero2" | "zero3";
  processes: number;
}

/** MiB by purpose. `generation` is for methods that generate completions during training. */
export type Part = (typeof PARTS)[number];
export const PARTS = [
  "runtime",
  "weights",
  "adapter",
  "gradients",
  "optimizer",
  "activations",
  "logits",
  "reference",
  "generation",
] as const;
export type Parts = Record<Part, number>;

/** A process without a model: interpreter and libraries. Measured. */
const RUNTIME_MB = 530;
/** Overhead of quantized layers: bitsandbytes and its buffers. Measured. */
const QUANTIZER_MB = 100;
/**
 * Heap fragmentation: the C library's allocator reuses freed memory only partly. The many small tensors of the layers
 * need this factor, and more with gradient checkpointing, which allocates and frees them layer by layer. Tensors of 32
 * MB and more are returned to the system as a whole.
 */
const HEAP = { factor: 1.85, checkpointing: 6.5, belowBytes: 32 * 2 ** 20 };
/** On a GPU: CUDA's context and the libraries' workspaces, and communication buffers between several GPUs. */
export const CONTEXT_MB = 1500;
const COMMUNICATION_MB = 1000;
const BYTES = { float32: 4, bfloat16: 2 } as const;
/** Bytes of a quantized weight with its scales: NF4 in blocks of 64 with double quantization, int8 by rows. */
const QUANTIZED = { nf4: 0.516, int8: 1.01 } as const;
const ADAPTER_BYTES = 4;
/** Bytes of the optimizer's state per trained weight: float32 moments, or 8 bits with a scale for each 256. */
const STATE_BYTES = { adamw: 8, adamw_8bit: 2 + (2 * 4) / 256, lion: 4, sgd: 0 };
/**
 * Bytes per logit at the peak of the backward pass: log-probabilities, and the gradients before and after the softmax;
 * TRL's losses keep more.
 */
const LOGIT_BYTES: Record<RunShape["method"], number> = {
  sft: 12,
  pretrain: 12,
  dpo: 22,
  orpo: 22,
  kto: 22,
  reward: 0,
  grpo: 22,
};
/** A pair is computed as one sequence when that takes at most this share of both sides. */
const JOIN_BELOW = 0.9;
/**
 * Model types with plain attention in every layer. Pairs of other models may be joined too, but the estimate does not
 * count on it.
 */
const PLAIN_ATTENTION = ["llama", "qwen2", "qwen3", "smollm3"];
const MIB = 2 ** 20;

/** The shape of a model from its stored architecture; unknown values are guessed from its size. */
export function modelShape(parameters: number, known: Record<string, unknown> | null): ModelShape {
  const number = (key: string) => (typeof known?.[key] === "number" && known[key] > 0 ? known[key] : null);
  const layers = number("layers") ?? Math.max(1, Math.round(Math.cbrt(parameters / 196_608)));
  const hidden = number("hidden_size") ?? Math.max(8, Math.round(Math.sqrt(parameters / layers / 12)));
  const heads = number("attention_heads") ?? Math.max(1, Math.round(hidden / 64));
  return {
    parameters,
    layers,
    hidden,
    intermediate: number("intermediate_size") ?? Math.round(hidden * 2.7),
    heads,
    keys: (number("key_value_heads") ?? heads) * (number("head_dim") ?? hidden / heads),
    vocabulary: number("vocab_size") ?? Math.min(50_000, Math.round(parameters / hidden / 4)),
    tied: known?.tied_embeddings === true,
    joins: PLAIN_ATTENTION.includes(String(known?.model_type)),
  };
}

/** Inputs and outputs of a layer's linear modules, by their usual names. */
function modulesOf({ hidden, intermediate, keys }: ModelShape): Record<string, [input: number, output: number]> {
  return {
    q_proj: [hidden, hidden],
    k_proj: [hidden, keys],
    v_proj: [hidden, keys],
    o_proj: [hidden, hidden],
    gate_proj: [hidden, intermediate],
    up_proj: [hidden, intermediate],
    down_proj: [intermediate, hidden],
  };
}

/** The adapter's part of a run's shape; rank 0 for full fine-tuning. */
export const adapterShape = (adapter: AdapterSettings): Pick<RunShape, "adapter" | "whole"> =>
  adapter.type === "lora"
    ? { adapter }
    : { adapter: { r: 0, layers: null, dropout: 0, target_modules: "all-linear" }, whole: true };

/** The modules of a layer that have an adapter; all of them when a name is unknown. */
function adapted(model: ModelShape, { target_modules: wanted }: RunShape["adapter"]): [number, number][] {
  const all = modulesOf(model);
  const found = wanted === "all-linear" ? [] : wanted.flatMap((name) => (all[name] ? [all[name]] : []));
  return found.length && found.length === wanted.length ? found : Object.values(all);
}

/** Layers with gradients: from the lowest adapter up. */
const trainedLayers = (model: ModelShape, { adapter }: RunShape) =>
  Math.min(model.layers, adapter.layers ?? model.layers);

/** Number of trainable parameters. */
function trainedParameters(model: ModelShape, run: RunShape): number {
  if (run.whole) return model.parameters;
  const { r, dora } = run.adapter;
  const a = adapted(model, run.adapter);
  const perLayer = a.reduce((sum, [input, output]) => sum + r * (input + output) + (dora ? output : 0), 0);
  return perLayer * trainedLayers(model, run) + (run.method === "reward" ? model.hidden : 0);
}

/** Bytes of the optimizer's state. */
function stateBytes(model: ModelShape, run: RunShape, embedding: number): number {
  const { optimizer = "adamw", adapter, whole } = run;
  const count = trainedParameters(model, run);
  // Adafactor keeps a mean for each row and column of a matrix.
  if (optimizer === "adafactor") return whole ? (8 * count) / model.hidden : (4 * count) / adapter.r + 4 * adapter.r;
  // In 8 bits the moments of an embedding stay float32.
  const exact = optimizer === "adamw_8bit" && whole ? embedding : 0;
  return (count - exact) * STATE_BYTES[optimizer] + exact * STATE_BYTES.adamw;
}

/** Parameters of embedding and output head, which are never quantized. */
const embeddings = (model: ModelShape) =>
  Math.min(model.parameters, model.vocabulary * model.hidden * (model.tied ? 1 : 2));

function weightBytes(model: ModelShape, { precision, quantization, whole }: RunShape): number {
  // Trained weights stay float32; computing in bfloat16 adds a copy during a step.
  if (whole) return model.parameters * (BYTES.float32 + (precision === "bfloat16" ? BYTES.bfloat16 : 0));
  const outside = embeddings(model);
  const inside = model.parameters - outside;
  return outside * BYTES[precision] + inside * (quantization === "none" ? BYTES[precision] : QUANTIZED[quantization]);
}

/**
 * Bytes a layer keeps per token for the backward pass: counted with autograd's hooks, exact for Llama-style layers. An
 * adapter computes in float32 and keeps its input in it, so bfloat16 halves only the rest.
 */
function layerBytes(model: ModelShape, run: RunShape): number {
  const { hidden: h, intermediate: i, keys: k, heads } = model;
  const half = run.precision === "bfloat16";
  const whole = half ? 20 * h + 8 * i + 4 * k : 32 * h + 16 * i + 8 * k;
  const plain = half ? 36 * h + 10 * i + 4 * k : 24 * h + 16 * i + 8 * k;
  return (
    (run.whole ? whole : plain) + 4 * heads + 8 + ADAPTER_BYTES * run.adapter.r * adapted(model, run.adapter).length
  );
}

/** The same for dropout, which keeps its masked input, and for DoRA, which keeps every output twice. */
function extraBytes(model: ModelShape, run: RunShape): number {
  const { hidden: h, intermediate: i } = model;
  const half = run.precision === "bfloat16";
  const dropped = run.adapter.dropout > 0 ? (half ? 24 : 40) * h + 4 * i : 0;
  const outputs = adapted(model, run.adapter).reduce((sum, [, output]) => sum + output, 0);
  return dropped + (run.adapter.dora ? outputs * (half ? 6 : 8) : 0);
}

/** Bytes of activations at the peak of the backward pass. */
function activationBytes(model: ModelShape, run: RunShape, tokens: number): number {
  const layers = trainedLayers(model, run);
  const kept = layerBytes(model, run) * tokens;
  // DoRA materializes every adapted weight in float32, 1.5 times on average.
  const whole = run.adapter.dora ? 6 * adapted(model, run.adapter).reduce((sum, [m, n]) => sum + m * n, 0) : 0;
  const extra = extraBytes(model, run) * tokens + whole;
  // A layer's temporary tensors: gradients of its widest parts.
  const working = (4 * model.intermediate + 4 * model.hidden) * 4 * tokens;
  // The embedding's output and the last norm.
  const ends = 12 * model.hidden * tokens;
  const inputs = model.hidden * BYTES[run.precision] * tokens * layers;
  const held = run.checkpointing ? inputs + kept : kept * layers;
  const scattered = !run.gpu && !run.whole && tokens * model.intermediate * BYTES[run.precision] < HEAP.belowBytes;
  const heap = scattered ? (run.checkpointing ? HEAP.checkpointing : HEAP.factor) : 1;
  return (held + working + ends) * heap + extra * (run.checkpointing ? 1 : layers);
}

/** The memory of a run by parts; `totalMb` adds them up. */
export function memoryParts(model: ModelShape, run: RunShape): Parts {
  // KTO scores the second sequence of a row without gradients, before the first allocates anything.
  const sequences = run.answers ?? (run.method === "kto" ? 1 : sequencesOf(run.method));
  const scorable = run.rows * sequences * run.length;
  const joined = run.joined !== undefined && run.joined <= JOIN_BELOW * sequences;
  const tokens = joined ? run.rows * (run.joined ?? 2) * run.length : scorable;
  const trained = trainedParameters(model, run) * ADAPTER_BYTES;
  const { strategy, processes: n } = run;
  const weights = weightBytes(model, run);
  const split = strategy === "fsdp" || strategy === "zero3";
  // Two layers (one computes while the next is gathered) and the weights outside of layers.
  const gathered = split ? (weights / model.layers) * 3 : 0;
  const shared = split || strategy === "zero2" ? n : 1;
  const scored = run.written === undefined ? run.scored : run.written / run.length;
  // The KV cache of all completions. It is freed before the backward pass, but the allocator may keep its memory.
  const cache = run.answers ? 2 * model.layers * model.keys * BYTES[run.precision] * tokens : 0;
  const logits = scorable * scored * model.vocabulary * LOGIT_BYTES[run.method];
  // A trained embedding has two gradients before they are summed, and the optimizer allocates as much for the largest
  // weight. Measured.
  const twice = 2 * model.vocabulary * model.hidden * BYTES.float32;
  return {
    runtime: run.gpu
      ? CONTEXT_MB + (n > 1 ? COMMUNICATION_MB : 0)
      : RUNTIME_MB + (run.quantization === "none" ? 0 : QUANTIZER_MB),
    weights: (split ? weights / n + gathered : weights) / MIB,
    adapter: run.whole ? 0 : trained / (split ? n : 1) / MIB,
    // DDP also copies gradients into buckets.
    gradients: (((strategy === "ddp" ? 2 : 1) * trained) / shared + (run.whole ? twice : 0)) / MIB,
    optimizer: stateBytes(model, run, model.vocabulary * model.hidden) / shared / MIB,
    activations: activationBytes(model, run, tokens) / MIB,
    logits: logits / MIB,
    reference: (run.refers && (run.whole || run.tuned) ? trained : 0) / MIB,
    generation: cache / MIB,
  };
}

export const totalMb = (parts: Parts): number => PARTS.reduce((sum, name) => sum + parts[name], 0);

/**
 * Safety margin on CPUs: the largest measured error of the formula (docs/memory.md).
 */
export const CPU_MARGIN = 1.1;

/**
 * Memory of a plan in MiB. All values except `parts` are for the device as a whole: the machine, or the fullest GPU.
 */
export interface MemoryPlan {
  device: "cpu" | "gpu";
  /** Of one process, corrected by the runs of this installation. */
  parts: Parts;
  processes: number;
  /** The correction factor; 1 = no earlier runs. */
  factor: number;
  /** The safety margin for what the formula does not cover. */
  margin: number;
  /** Parts and margin: the memory a machine or GPU must have. */
  total: number;
}

/** The parts of one process as a plan. */
export function planned(
  parts: Parts,
  { factor, margin, processes, gpu }: { factor: number; margin: number; processes: number; gpu: boolean },
): MemoryPlan {
  const corrected = Object.fromEntries(PARTS.map((name) => [name, parts[name] * factor])) as Parts;
  const sum = totalMb(corrected);
  const together = gpu ? 1 : processes;
  const total = Math.ceil(sum * margin) * together;
  return { device: gpu ? "gpu" : "cpu", parts: corrected, processes, factor, margin: total - sum * together, total };
}
