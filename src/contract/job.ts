/**
 * Jobs of any kind: states, stored progress and result, and the names of a trainer's phases.
 */
import type { EvaluateResult } from "./spec.ts";
import type { TrainResult } from "./trainer.ts";

export const JOB_STATES = [
  "validating",
  "queued",
  "starting",
  "running",
  "pausing",
  "paused",
  "stopping",
  "succeeded",
  "failed",
  "cancelled",
] as const;
export type JobState = (typeof JOB_STATES)[number];

/** Final states. The state table in jobs/state.ts is tested against this list. */
export const FINAL_STATES = ["succeeded", "failed", "cancelled"] as const satisfies readonly JobState[];
export type FinalState = (typeof FINAL_STATES)[number];

/** True for final states. Accepts any text, so that clients of the API can use it. */
export function isFinal(state: string): state is FinalState {
  return FINAL_STATES.some((final) => final === state);
}

/** States of jobs that have not ended, in order. */
export const OPEN_STATES: readonly Exclude<JobState, FinalState>[] = JOB_STATES.filter((state) => !isFinal(state));

/**
 * Result of the memory dry run with the longest rows: their number, length in tokens, and peak memory in MiB.
 */
export interface Canary {
  rows: number;
  length: number;
  seconds: number;
  peak_memory_mb: number;
  peak_gpu_memory_mb?: number;
  peak_gpu_reserved_mb?: number;
}

/** The latest progress of a job, as stored in `job.progress`. */
export interface Progress {
  step?: number;
  total_steps?: number;
  fraction?: number;
  epoch?: number;
  eta_s?: number | null;
  phase?: string;
  tokens_seen?: number;
  /** Tokens seen before the current attempt. */
  tokens_before?: number;
  tokens_per_second?: number;
  loss?: number;
  eval_loss?: number;
  /** What a job waits for before it is queued, for users. */
  waiting?: string;
  /** Address and models of a serve job. */
  address?: string;
  models?: string[];
  /** The last exception of an attempt: its calls, the number of the attempt, its step, and when the job was queued. */
  last_failure?: { calls: string; attempt: number; step: number; queued_at: number | null };
  /** The trainer's plan event. */
  plan?: Record<string, number>;
  /** The memory dry run of the last attempt. */
  canary?: Canary;
  /** Verification of the last attempt's first batch against the stored rows; `why` it was not compared. */
  first_batch?: { state: "told" } | { state: "same"; rows: number } | { state: "not_compared"; why: string };
}

/** Comparison of an export with its model, measured by the trainer; see docs/user-guide.md. */
export interface Fidelity {
  prompts: number;
  positions: number;
  kl_mean: number;
  kl_max: number;
  logprob_mean: number;
  logprob_max: number;
  top1_same: number;
  tokens_same: boolean;
  stop_tokens_same: boolean;
  template_same: boolean;
}

/** Result of a job as stored in `job.result`; its fields depend on the kind of job. */
export interface JobResult extends Partial<TrainResult>, Partial<EvaluateResult> {
  /** For exports. */
  fidelity?: Fidelity;
  /** Ids of files with the metrics of a training. */
  result_files?: string[];
}

/** True for the result of an evaluation. */
export function isEvaluateResult(result: JobResult | null | undefined): result is JobResult & EvaluateResult {
  return typeof result?.base === "object" && result.base !== null && "tuned" in result;
}

interface PhaseNames {
  /** In the job's events. */
  event: string;
  /** On the job's page, if different. */
  page?: string;
  /** In the terminal of `quickstart`; absent for phases that a quickstart run does not have. */
  terminal?: string;
}

const PHASES: Record<string, PhaseNames> = {
  starting: { event: "Starting the trainer", terminal: "Starting the trainer" },
  downloading: { event: "Downloading", terminal: "Downloading" },
  loading_data: { event: "Loading the data", terminal: "Loading the data" },
  loading_model: { event: "Loading the model", terminal: "Loading the model" },
  canary: { event: "Memory test (longest batches)", terminal: "Memory test (longest batches)" },
  training: { event: "Training", terminal: "First step" },
  evaluating: { event: "Evaluating", page: "Evaluating on validation rows", terminal: "Evaluating on validation rows" },
  sampling: { event: "Generating samples", terminal: "Generating samples" },
  saving: { event: "Saving a checkpoint", terminal: "Saving a checkpoint" },
  uploading: { event: "Uploading files", terminal: "Storing the checkpoint" },
  serving: { event: "Serving" },
  asking: { event: "Generating samples" },
  merging: { event: "Merging the adapter into the base model" },
  writing: { event: "Writing the files" },
  comparing: { event: "Loading the files and comparing the export" },
};

/** The name of a trainer's phase in a place; null for phases without a name there. */
export function phaseWords(phase: string | null | undefined, place: keyof PhaseNames): string | null {
  const words = phase && Object.hasOwn(PHASES, phase) ? PHASES[phase] : undefined;
  return (place === "page" ? (words?.page ?? words?.event) : words?.[place]) ?? null;
}
