/** The results of evaluations and exports as valibot schemas: the same as the types of spec.ts and job.ts. */
import * as v from "valibot";
import type { Fidelity } from "./job.ts";
import type { EvaluateResult, FileEntry, SideScore } from "./spec.ts";

const interval = { mean: v.number(), low: v.number(), high: v.number() };

const SideScoreSchema: v.GenericSchema<SideScore> = v.strictObject({
  rows: v.number(),
  tokens: v.number(),
  loss: v.strictObject(interval),
  perplexity: v.number(),
  token_accuracy: v.strictObject(interval),
  exact_match: v.strictObject({ ...interval, count: v.number() }),
  preference: v.optional(v.strictObject(interval)),
});

/** Scores of both sides of an evaluation. */
export const EvaluateResultSchema: v.GenericSchema<EvaluateResult> = v.strictObject({
  base: SideScoreSchema,
  tuned: v.nullable(SideScoreSchema),
});

/** The comparison of an export with the trained model. */
export const FidelitySchema: v.GenericSchema<Fidelity> = v.strictObject({
  prompts: v.number(),
  positions: v.number(),
  kl_mean: v.number(),
  kl_max: v.number(),
  logprob_mean: v.number(),
  logprob_max: v.number(),
  top1_same: v.number(),
  tokens_same: v.boolean(),
  stop_tokens_same: v.boolean(),
  template_same: v.boolean(),
});

/** A file of an artifact. */
export const FileEntrySchema: v.GenericSchema<FileEntry> = v.strictObject({
  path: v.string(),
  size: v.number(),
  sha256: v.string(),
});
