/** Exports as callers ask for and see them: the formats, how faithful each must be, and the view of one. */

import * as v from "valibot";
import type { Fidelity } from "../../contract/job.ts";
import { EXPORT_FORMATS, type ExportSpec } from "../../contract/spec.ts";

export const FORMATS = EXPORT_FORMATS;
export type Format = ExportSpec["format"];
/** Formats that llama.cpp's `llama-quantize` writes: they need it on the machine. */
export const QUANTIZER = "llama-quantize";
export const QUANTIZED: readonly Format[] = ["gguf-q6_k", "gguf-q5_k_m", "gguf-q4_k_m"];

/**
 * How far files may be from the trained model: mean Kullback-Leibler divergence in nats a token, and the share of
 * positions with the same likeliest token. Rounding alone stays far below (docs/user-guide.md has figures); a lost
 * scale or a wrong order of weights lies far above.
 */
export const LIMITS: Record<Format, ExportSpec["limits_of_fidelity"]> = {
  safetensors: { kl_mean: 0.01, top1_same: 0.95 },
  "gguf-f16": { kl_mean: 0.01, top1_same: 0.95 },
  "gguf-q8_0": { kl_mean: 0.03, top1_same: 0.93 },
  "gguf-q6_k": { kl_mean: 0.05, top1_same: 0.9 },
  "gguf-q5_k_m": { kl_mean: 0.1, top1_same: 0.87 },
  "gguf-q4_k_m": { kl_mean: 0.2, top1_same: 0.8 },
};

/** Whether a tuned model's own files are of a format: all of its weights, in the precision it was trained in. */
export const isAlready = (of: { whole: boolean; precision: string }, format: Format): boolean =>
  of.whole && of.precision === "float32" && format === "safetensors";

/** Types of models that can be written as GGUF; the trainer looks at tokenizer and positions too. */
export const GGUF_TYPES = new Set(["llama", "mistral", "qwen2", "qwen3"]);

export const CreateExport = v.strictObject({
  format: v.picklist(FORMATS, `must be one of ${FORMATS.join(", ")}`),
});

export interface ExportView {
  object: "model.export";
  /** That of its job. */
  id: string;
  model: string;
  format: Format;
  state: string;
  /** Null until its files were compared. */
  fidelity: Fidelity | null;
  limits: ExportSpec["limits_of_fidelity"];
  artifact_id: string | null;
  bytes: number | null;
  files: { path: string; size: number; sha256: string; url: string }[];
  error: { code: string; message: string } | null;
  created_at: number;
  finished_at: number | null;
}
