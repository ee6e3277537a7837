/** Exports in the API: the formats, the fidelity that each requires, and the view of one. */
import * as v from "valibot";
import { JOB_STATES } from "../../contract/job.ts";
import { EvaluateResultSchema, FidelitySchema, FileEntrySchema } from "../../contract/results-schema.ts";
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

/** An export as the API shows it. `state`: that of its job, or `deleted`. Times in seconds. */
export const ExportView = v.strictObject({
  object: v.literal("model.export"),
  /** The id of its job. */
  id: v.string(),
  model: v.string(),
  format: v.picklist(FORMATS),
  state: v.picklist([...JOB_STATES, "deleted"]),
  /** Null until its files are compared. */
  fidelity: v.nullable(FidelitySchema),
  limits: v.strictObject({ kl_mean: v.number(), top1_same: v.number() }),
  artifact_id: v.nullable(v.string()),
  bytes: v.nullable(v.number()),
  files: v.array(v.strictObject({ path: v.string(), size: v.number(), sha256: v.string(), url: v.string() })),
  error: v.nullable(v.strictObject({ code: v.string(), message: v.string() })),
  created_by: v.string(),
  created_at: v.number(),
  finished_at: v.nullable(v.number()),
});
export type ExportView = v.InferOutput<typeof ExportView>;

export const DeletedExport = v.strictObject({
  id: v.string(),
  object: v.literal("model.export"),
  deleted: v.literal(true),
});

const instant = v.nullable(v.pipe(v.string(), v.isoTimestamp()));
const recorded = v.looseObject({});

/**
 * The signed provenance of a model: base model and data by hash, the specification, trainer and packages, scores, and
 * the hashes of its files. The signature covers everything else in the document.
 */
export const PassportView = v.strictObject({
  object: v.literal("model.passport"),
  version: v.number(),
  installation: v.string(),
  issued_at: instant,
  model: v.string(),
  job: v.strictObject({ id: v.string(), started_at: instant, finished_at: instant, attempts: v.number() }),
  base_model: recorded,
  dataset: recorded,
  validation: v.nullable(recorded),
  spec: recorded,
  seed: v.number(),
  trainer: v.strictObject({
    version: v.string(),
    environment: v.string(),
    image: v.nullable(v.string()),
    packages: v.nullable(v.array(v.string())),
  }),
  checkpoint: v.nullable(v.strictObject({ id: v.string(), step: v.number(), metrics: recorded })),
  result: v.nullable(recorded),
  evaluation: v.nullable(EvaluateResultSchema),
  artifacts: v.array(
    v.strictObject({ id: v.string(), kind: v.string(), step: v.number(), files: v.array(FileEntrySchema) }),
  ),
  signature: v.strictObject({ algorithm: v.literal("ed25519"), public_key: v.string(), value: v.string() }),
});

/** The public key of provenance signatures: 32 bytes in base64. */
export const PassportKey = v.strictObject({
  object: v.literal("passport_key"),
  algorithm: v.literal("ed25519"),
  installation: v.string(),
  public_key: v.string(),
});
export type PassportKey = v.InferOutput<typeof PassportKey>;
