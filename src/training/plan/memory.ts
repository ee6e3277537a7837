/**
 * How much memory a training takes, part by part: the formula of docs/memory.md. Pure; MiB, and for one process with
 * its device.
 */
import type { AdapterSettings, Quantization, TrainSpec } from "../../contract/spec.ts";
import { sequencesOf } from "./method-defaults.ts";

/** A model's measures that memory depends on. */
export interface ModelShape {
  parameters: number;
  layers: number;
  hidden: number;
  intermediate: number;
  heads: number;
  /** Width of keys or of values: their heads times the width of one. */
  keys: number;
  vocabulary: number;
  /** Embedding and head are one matrix. */
  tied: boolean;
  /** Both answers of a pair can be computed behind one prompt: attention is plain in every layer. */
  joins?: boolean;
}

/** What of a run memory depends on. */
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
  /** Every weight is trained and there is no adapter; absent = false. */
  whole?: boolean;
  /** It goes on from a tuned model, of which the methods that compare keep a copy. */
  tuned: boolean;
  /** The method compares with the model it began from. */
  refers: boolean;
  /** Rows of one process that are computed at once, and tokens of the longest. */
  rows: number;
  length: number;
  /** Part of the tokens that have a loss, and so logits. */
  scored: number;
  /**
   * A pair as one sequence over its longer side, where its prompt is computed once; absent = both sides are computed
   * whole.
   */
  joined?: number;
  /** Answers the model writes to each row, and tokens of the longest; absent for methods that write none. */
  answers?: number;
  written?: number;
  checkpointing: boolean;
  gpu: boolean;
  strategy: "single" | "ddp" | "fsdp" | "zero2" | "zero3";
  processes: number;
}

/** MiB by what it is for. `generation` is for methods that let the model write while it learns. */
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

/** A process before any model: interpreter, libraries and the like. Measured. */
const RUNTIME_MB = 530;
/** What quantized layers bring besides: bitsandbytes, and what it unpacks. Measured. */
const QUANTIZER_MB = 100;
/**
 * Main memory is given back by the C library in pieces that the next tensor does not always fit into: the many small
 * tensors of the layers take so much more than they hold, and with checkpointing, which makes and drops them layer by
 * layer, several times as much. Tensors of 32 MB and more are given back whole.
 */
const HEAP = { factor: 1.85, checkpointing: 6.5, belowBytes: 32 * 2 ** 20 };
/** On a card: CUDA's context, the libraries' workspaces; and the buffers of several talking to each other. */
export const CONTEXT_MB = 1500;
const TALK_MB = 1000;
const BYTES = { float32: 4, bfloat16: 2 } as const;
/** Bytes of a quantized weight with its scales: NF4 in blocks of 64 with double quantization, int8 by rows. */
const QUANTIZED = { nf4: 0.516, int8: 1.01 } as const;
const ADAPTER_BYTES = 4;
/** AdamW keeps two float32 moments of every trained weight. */
const MOMENTS = 2;
/**
 * Bytes of a logit at the height of the backward pass: log-probabilities, and the gradients before and behind the
 * softmax; TRL's losses keep more.
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
/** A pair is computed as one sequence where that takes at most this much of both sides. */
const WORTH = 0.9;
/**
 * Types of models whose attention is plain in every layer as they are published; others may be joined, but are not
 * counted on.
 */
const PLAIN_ATTENTION = ["llama", "qwen2", "qwen3", "smollm3"];
const MIB = 2 ** 20;

/** The shape of a model from its stored architecture; what is not known is taken to be as in models of its size. */
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

/** An adapter's part of a run's shape; that of a run without one has nothing in it. */
export const adapterShape = (adapter: AdapterSettings): Pick<RunShape, "adapter" | "whole"> =>
  adapter.type === "lora"
    ? { adapter }
    : { adapter: { r: 0, layers: null, dropout: 0, target_modules: "all-linear" }, whole: true };

/** The modules of a layer that have an adapter; names that are not known are taken for all. */
function adapted(model: ModelShape, { target_modules: wanted }: RunShape["adapter"]): [number, number][] {
  const all = modulesOf(model);
  const found = wanted === "all-linear" ? [] : wanted.flatMap((name) => (all[name] ? [all[name]] : []));
  return found.length && found.length === wanted.length ? found : Object.values(all);
}

/** Layers through which a gradient runs: those from the lowest adapter up. */
const trainedLayers = (model: ModelShape, { adapter }: RunShape) =>
  Math.min(model.layers, adapter.layers ?? model.layers);

/** Weights that are trained. */
function trainedParameters(model: ModelShape, run: RunShape): number {
  if (run.whole) return model.parameters;
  const { r, dora } = run.adapter;
  const a = adapted(model, run.adapter);
  const perLayer = a.reduce((sum, [input, output]) => sum + r * (input + output) + (dora ? output : 0), 0);
  return perLayer * trainedLayers(model, run) + (run.method === "reward" ? model.hidden : 0);
}

/** Parameters of embedding and head, which are never quantized. */
const embeddings = (model: ModelShape) =>
  Math.min(model.parameters, model.vocabulary * model.hidden * (model.tied ? 1 : 2));

function weightBytes(model: ModelShape, { precision, quantization, whole }: RunShape): number {
  // What is trained stays float32; computing in bfloat16 keeps a copy in it for the length of a step.
  if (whole) return model.parameters * (BYTES.float32 + (precision === "bfloat16" ? BYTES.bfloat16 : 0));
  const outside = embeddings(model);
  const inside = model.parameters - outside;
  return outside * BYTES[precision] + inside * (quantization === "none" ? BYTES[precision] : QUANTIZED[quantization]);
}

/**
 * Bytes a layer keeps of a token for the backward pass: counted with autograd's own hooks, and exact for layers of
 * Llama's kind. An adapter computes in float32 and keeps its input so, which is why bfloat16 halves the rest alone.
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

/** The same of dropout, which keeps what it let through, and of DoRA, which keeps every output twice. */
function extraBytes(model: ModelShape, run: RunShape): number {
  const { hidden: h, intermediate: i } = model;
  const half = run.precision === "bfloat16";
  const dropped = run.adapter.dropout > 0 ? (half ? 24 : 40) * h + 4 * i : 0;
  const outputs = adapted(model, run.adapter).reduce((sum, [, output]) => sum + output, 0);
  return dropped + (run.adapter.dora ? outputs * (half ? 6 : 8) : 0);
}

/** Bytes of activations while the backward pass is at its height. */
function activationBytes(model: ModelShape, run: RunShape, tokens: number): number {
  const layers = trainedLayers(model, run);
  const kept = layerBytes(model, run) * tokens;
  // DoRA makes every adapted weight whole in float32, once and a half on average.
  const whole = run.adapter.dora ? 6 * adapted(model, run.adapter).reduce((sum, [m, n]) => sum + m * n, 0) : 0;
  const extra = extraBytes(model, run) * tokens + whole;
  // What a layer computes with beside what it keeps: gradients of its widest parts.
  const working = (4 * model.intermediate + 4 * model.hidden) * 4 * tokens;
  // The embedding's output and the last norm.
  const ends = 12 * model.hidden * tokens;
  const inputs = model.hidden * BYTES[run.precision] * tokens * layers;
  const held = run.checkpointing ? inputs + kept : kept * layers;
  const scattered = !run.gpu && !run.whole && tokens * model.intermediate * BYTES[run.precision] < HEAP.belowBytes;
  const heap = scattered ? (run.checkpointing ? HEAP.checkpointing : HEAP.factor) : 1;
  return (held + working + ends) * heap + extra * (run.checkpointing ? 1 : layers);
}

/** Every part of a run. Sums are in `totalMb`. */
export function memoryParts(model: ModelShape, run: RunShape): Parts {
  // KTO's second sequence of a row is scored without gradients, before the first keeps anything.
  const sequences = run.answers ?? (run.method === "kto" ? 1 : sequencesOf(run.method));
  const scorable = run.rows * sequences * run.length;
  const joined = run.joined !== undefined && run.joined <= WORTH * sequences;
  const tokens = joined ? run.rows * (run.joined ?? 2) * run.length : scorable;
  const trained = trainedParameters(model, run) * ADAPTER_BYTES;
  const { strategy, processes: n } = run;
  const weights = weightBytes(model, run);
  const split = strategy === "fsdp" || strategy === "zero3";
  // Two layers (one computes, the next one comes) and what lies outside of layers.
  const gathered = split ? (weights / model.layers) * 3 : 0;
  const shared = split || strategy === "zero2" ? n : 1;
  const scored = run.written === undefined ? run.scored : run.written / run.length;
  // Keys and values of every answer that is being written. They are dropped before the backward pass; the allocator may
  // keep their room.
  const cache = run.answers ? 2 * model.layers * model.keys * BYTES[run.precision] * tokens : 0;
  const logits = scorable * scored * model.vocabulary * LOGIT_BYTES[run.method];
  // A trained embedding has two gradients before they are one, and the optimizer lays out as much beside the largest
  // weight. Measured.
  const twice = 2 * model.vocabulary * model.hidden * BYTES.float32;
  return {
    runtime: run.gpu
      ? CONTEXT_MB + (n > 1 ? TALK_MB : 0)
      : RUNTIME_MB + (run.quantization === "none" ? 0 : QUANTIZER_MB),
    weights: (split ? weights / n + gathered : weights) / MIB,
    adapter: run.whole ? 0 : trained / (split ? n : 1) / MIB,
    // DDP lays gradients out in buckets besides.
    gradients: (((strategy === "ddp" ? 2 : 1) * trained) / shared + (run.whole ? twice : 0)) / MIB,
    optimizer: (MOMENTS * trained) / shared / MIB,
    activations: activationBytes(model, run, tokens) / MIB,
    logits: logits / MIB,
    reference: (run.refers && (run.whole || run.tuned) ? trained : 0) / MIB,
    generation: cache / MIB,
  };
}

export const totalMb = (parts: Parts): number => PARTS.reduce((sum, name) => sum + parts[name], 0);

/**
 * What is planned with over what the formula says on processors: what it is off at most by measure (docs/memory.md).
 */
export const PROCESSOR_MARGIN = 1.1;

/**
 * Memory of a plan. MiB, all but `parts` of everything the run needs where it computes: the machine, or the fullest
 * card.
 */
export interface MemoryPlan {
  device: "cpu" | "gpu";
  /** Of one process, as this installation's own runs corrected them. */
  parts: Parts;
  processes: number;
  /** What the formula was multiplied by; 1 = nothing was learned yet. */
  factor: number;
  /** What is added for whatever the formula leaves out. */
  margin: number;
  /** Parts and margin: what a machine or card must have. */
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
