/** Exports in the API: the formats, the fidelity that each requires, and the view of one. */

import * as v from "valibot";
import type { Fidelity } from "../../contract/job.ts";
import { EXPORT_FORMATS, type ExportSpec } from "../../contract/spec.ts";

export const FORMATS = EXPORT_FORMATS;
export type Format = ExportSpec["format"];
/** The program of llama.cpp that writes the formats in `QUANTIZED`; it has to be installed on the machine. */
export const QUANTIZER = "llama-quantize";
export const QUANTIZED: readonly Format[] = ["gguf-q6_k", "gguf-q5_k_m", "gguf-q4_k_m"];

/**
 * Limits on the difference between an export and the trained model: mean Kullback-Leibler divergence in nats per token,
 * and the share of positions with the same most likely token. Rounding stays far within them (docs/user-guide.md has
 * figures); a lost scale or a wrong order of weights is far outside.
 */
export const LIMITS: Record<Format, ExportSpec["limits_of_fidelity"]> = {
  safetensors: { kl_mean: 0.01, top1_same: 0.95 },
  "gguf-f16": { kl_mean: 0.01, top1_same: 0.95 },
  "gguf-q8_0": { kl_mean: 0.03, top1_same: 0.93 },
  "gguf-q6_k": { kl_mean: 0.05, top1_same: 0.9 },
  "gguf-q5_k_m": { kl_mean: 0.1, top1_same: 0.87 },
  "gguf-q4_k_m": { kl_mean: 0.2, top1_same: 0.8 },
};

/** Whether a fine-tuned model's own files already have a format: the full model in 32 bits. */
export const isOwnFormat = (model: { whole: boolean; precision: string }, format: Format): boolean =>
  model.whole && model.precision === "float32" && format === "safetensors";

/** Model types that can be written as GGUF; the trainer also checks tokenizer and positions. */
export const GGUF_TYPES = new Set(["llama", "mistral", "qwen2", "qwen3"]);

export const CreateExport = v.strictObject({
  format: v.picklist(FORMATS, `must be one of ${FORMATS.join(", ")}`),
});

export interface ExportView {
  object: "model.export";
  /** The id of its job. */
  id: string;
  model: string;
  format: Format;
  state: string;
  /** Null until its files are compared. */
  fidelity: Fidelity | null;
  limits: ExportSpec["limits_of_fidelity"];
  artifact_id: string | null;
  bytes: number | null;
  files: { path: string; size: number; sha256: string; url: string }[];
  error: { code: string; message: string } | null;
  created_at: number;
  finished_at: number | null;
}
