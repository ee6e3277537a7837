/** States of jobs, their stored progress and result, and the names of a trainer's phases. */
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

/** Final states. The transition table in jobs/state.ts is tested against this list. */
export const FINAL_STATES = ["succeeded", "failed", "cancelled"] as const satisfies readonly JobState[];
export type FinalState = (typeof FINAL_STATES)[number];

/** True for final states. Accepts any text, for clients of the API. */
export function isFinal(state: string): state is FinalState {
  return FINAL_STATES.some((final) => final === state);
}

/** States of jobs that have not ended, in their usual order. */
export const OPEN_STATES: readonly Exclude<JobState, FinalState>[] = JOB_STATES.filter((state) => !isFinal(state));

/** The memory dry run on the longest rows: their number, their length in tokens, and the peak memory in MiB. */
export interface Canary {
  rows: number;
  length: number;
  seconds: number;
  peak_memory_mb: number;
  peak_gpu_memory_mb?: number;
  peak_gpu_reserved_mb?: number;
}

/** The last progress of a job, as stored in `job.progress`. */
export interface Progress {
  step?: number;
  total_steps?: number;
  fraction?: number;
  epoch?: number;
  eta_s?: number | null;
  phase?: string;
  tokens_seen?: number;
  /** Tokens seen when the current attempt began; the rest is on its usage line. */
  tokens_before?: number;
  tokens_per_second?: number;
  loss?: number;
  eval_loss?: number;
  /** Why a queued job is not running yet, for people. */
  waiting?: string;
  /** Address and models of a serve job. */
  address?: string;
  models?: string[];
  /** The trainer's own plan event. */
  plan?: Record<string, number>;
  /** The memory dry run before the first step of the last attempt. */
  canary?: Canary;
  /** Whether the first batch of the last attempt matches the stored rows, or `why` it was not compared. */
  first_batch?: { state: "told" } | { state: "same"; rows: number } | { state: "not_compared"; why: string };
}

/** How an export compares with its model, as measured by the trainer; see docs/user-guide.md. */
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

/** Result of a job as stored in `job.result`; which fields it has depends on the kind of the job. */
export interface JobResult extends Partial<TrainResult>, Partial<EvaluateResult> {
  /** Of an export. */
  fidelity?: Fidelity;
  /** Ids of files with the metrics of a training, written on demand. */
  result_files?: string[];
}

/** True for the result of an evaluation with both sides. */
export function isEvaluateResult(result: JobResult | null | undefined): result is JobResult & EvaluateResult {
  return typeof result?.base === "object" && result.base !== null && "tuned" in result;
}

interface PhaseWords {
  /** In the job's list of events. */
  event: string;
  /** On the job's page, when it differs. */
  page?: string;
  /** In the terminal of `quickstart`; absent for phases that quickstart does not reach. */
  terminal?: string;
}

const PHASES: Record<string, PhaseWords> = {
  starting: { event: "Starting the trainer", terminal: "Starting the trainer" },
  downloading: { event: "Downloading", terminal: "Downloading" },
  loading_data: { event: "Loading the data", terminal: "Reading the rows" },
  loading_model: { event: "Loading the model", terminal: "Loading the model" },
  canary: { event: "Memory test (longest batches)", terminal: "Memory test (longest batches)" },
  training: { event: "Training", terminal: "First step" },
  evaluating: { event: "Evaluating", page: "Evaluating on validation rows", terminal: "Evaluating on validation rows" },
  sampling: { event: "Generating samples", terminal: "Generating samples" },
  saving: { event: "Saving a checkpoint", terminal: "Saving a checkpoint" },
  uploading: { event: "Uploading files", terminal: "Storing the checkpoint" },
  serving: { event: "Serving" },
  asking: { event: "Generating samples with the trained model" },
  merging: { event: "Merging the adapter into the base model" },
  writing: { event: "Writing the files" },
  comparing: { event: "Reading the files back and comparing them" },
};

/** The name of a trainer's phase at a place; null for phases without a name there. */
export function phaseWords(phase: string | null | undefined, place: keyof PhaseWords): string | null {
  const words = phase && Object.hasOwn(PHASES, phase) ? PHASES[phase] : undefined;
  return (place === "page" ? (words?.page ?? words?.event) : words?.[place]) ?? null;
}
