/**
 * What is known of a job of any kind: its states, its progress and result as they are stored, and the words for a
 * trainer's phases.
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

/** States that nothing follows. The table of moves in jobs/state.ts is tested against this list. */
export const FINAL_STATES = ["succeeded", "failed", "cancelled"] as const satisfies readonly JobState[];
export type FinalState = (typeof FINAL_STATES)[number];

/** True for states that nothing follows. Takes any text, so that clients of the API can ask too. */
export function isFinal(state: string): state is FinalState {
  return FINAL_STATES.some((final) => final === state);
}

/** States of jobs that have not ended, in the order of a job's life. */
export const OPEN_STATES: readonly Exclude<JobState, FinalState>[] = JOB_STATES.filter((state) => !isFinal(state));

/**
 * The memory test of a run on its longest rows: their number, their length in tokens, and the peak memory until then in
 * MiB.
 */
export interface Canary {
  rows: number;
  length: number;
  seconds: number;
  peak_memory_mb: number;
  peak_gpu_memory_mb?: number;
  peak_gpu_reserved_mb?: number;
}

/** Last known progress of a job, as stored in `job.progress`. */
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
  /** What the longest rows took before the first step of the last attempt. */
  canary?: Canary;
  /** Whether the first batch of the last attempt is made of the rows as they are stored; `why` it was not compared. */
  first_batch?: { state: "told" } | { state: "same"; rows: number } | { state: "not_compared"; why: string };
}

/** How an export compares with the model it was made of, as its trainer measured it; see docs/user-guide.md. */
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
  /** Ids of files with the curves of a training, written when somebody asks for them. */
  result_files?: string[];
}

/** True for the result of an evaluation that has both of its sides. */
export function isEvaluateResult(result: JobResult | null | undefined): result is JobResult & EvaluateResult {
  return typeof result?.base === "object" && result.base !== null && "tuned" in result;
}

interface PhaseWords {
  /** In the job's list of events. */
  event: string;
  /** On the job's page, where that says more. */
  page?: string;
  /** In the terminal of `quickstart`; absent for phases that no quickstart run goes through. */
  terminal?: string;
}

const PHASES: Record<string, PhaseWords> = {
  starting: { event: "Starting the trainer", terminal: "Starting the trainer" },
  downloading: { event: "Downloading", terminal: "Downloading" },
  loading_data: { event: "Loading the data", terminal: "Reading the rows" },
  loading_model: { event: "Loading the model", terminal: "Loading the model" },
  canary: { event: "Sending the longest rows ahead", terminal: "Trying the longest rows" },
  training: { event: "Training", terminal: "First step" },
  evaluating: { event: "Evaluating", page: "Evaluating on held-out rows", terminal: "Measuring on held-out rows" },
  sampling: { event: "Answering sample rows", terminal: "Trying it out" },
  saving: { event: "Saving a checkpoint", terminal: "Saving a checkpoint" },
  uploading: { event: "Uploading files", terminal: "Storing the checkpoint" },
  serving: { event: "Serving" },
  asking: { event: "Asking the trained model" },
  merging: { event: "Merging the adapter into its base" },
  writing: { event: "Writing the files" },
  comparing: { event: "Reading the files back and comparing them" },
};

/** What a trainer's phase is called at a place; null for phases that have no name there. */
export function phaseWords(phase: string | null | undefined, place: keyof PhaseWords): string | null {
  const words = phase && Object.hasOwn(PHASES, phase) ? PHASES[phase] : undefined;
  return (place === "page" ? (words?.page ?? words?.event) : words?.[place]) ?? null;
}
