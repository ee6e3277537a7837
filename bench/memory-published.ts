/**
 * Peaks on GPUs that others published, with their runs: the memory formula is compared with them.
 */
import type { ModelShape, RunShape } from "../src/training/plan/memory.ts";

interface Published {
  what: string;
  source: string;
  model: ModelShape;
  run: RunShape;
  /** As published, taken as GiB. */
  gib: number;
}

const QWEN: ModelShape = {
  parameters: 7.721e9,
  layers: 32,
  hidden: 4096,
  intermediate: 11_008,
  heads: 32,
  keys: 4096,
  vocabulary: 151_936,
  tied: false,
};
const LLAMA: ModelShape = { ...QWEN, parameters: 6.738e9, vocabulary: 32_000 };
const RUN: RunShape = {
  method: "sft",
  precision: "bfloat16",
  quantization: "none",
  tuned: false,
  refers: false,
  rows: 1,
  length: 256,
  scored: 1,
  checkpointing: true,
  gpu: true,
  strategy: "single",
  processes: 1,
  adapter: { r: 64, layers: null, dropout: 0.05, target_modules: "all-linear" },
};
const QWEN_SOURCE =
  "README of QwenLM/Qwen, profiling of memory and speed: one A100 of 80 GB, batch 1, FlashAttention 2";
const LENGTHS = [256, 512, 1024, 2048, 4096, 8192];
const qwen = (quantization: RunShape["quantization"], gib: number[]): Published[] =>
  LENGTHS.map((length, i) => ({
    what: `Qwen-7B, ${quantization === "none" ? "LoRA" : "Q-LoRA, 4 bits"}, ${length} tokens`,
    source: QWEN_SOURCE,
    model: QWEN,
    run: { ...RUN, quantization, length },
    gib: gib[i] ?? 0,
  }));

export const PUBLISHED: Published[] = [
  ...qwen("none", [20.1, 20.4, 21.5, 23.8, 29.7, 36.6]),
  ...qwen("nf4", [11.5, 11.5, 12.3, 13.9, 16.9, 23.5]),
  {
    what: "Llama 2 7B, LoRA, 8192 tokens, ZeRO-2 on eight",
    source: "LongLoRA, arXiv:2309.12307, table 12: eight A100, FlashAttention 2",
    model: LLAMA,
    run: {
      ...RUN,
      length: 8192,
      strategy: "zero2",
      processes: 8,
      adapter: { ...RUN.adapter, r: 8, dropout: 0, target_modules: ["q_proj", "k_proj", "v_proj", "o_proj"] },
    },
    gib: 25.7,
  },
];
