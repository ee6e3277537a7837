/** The request of a sweep and its decisions, as stored, sent and shown. */

export type TrialValue = string | number | boolean;
/** Values of one trial, by field of the training request. */
export type TrialValues = Record<string, TrialValue>;

/** Numbers from `min` to `max`; a grid uses `points` of them. */
export interface ValueRange {
  min: number;
  max: number;
  scale: "linear" | "log";
  points: number;
}
/** Values to try, by field of the training request. */
export type Space = Record<string, TrialValue[] | ValueRange>;

export type Strategy =
  | { type: "grid" }
  | { type: "random"; trials: number; seed: number }
  | { type: "halving"; trials: number; seed: number; eta: number };

export interface SweepRequest {
  name: string;
  /** The training request that every trial is based on. */
  training: Record<string, unknown>;
  space: Space;
  strategy: Strategy;
  /** Metric of the training runs to optimize, such as `eval/loss`. */
  metric: string;
  direction: "min" | "max";
  /** Maximum number of trials queued or running at the same time. */
  parallel: number;
}

/** The decision about a trial at a rung. Times in milliseconds. */
export interface Decision {
  rung: number;
  step: number;
  value: number;
  /** Rank among the trials that had reached the rung, 1 = best, and their number. */
  rank: number;
  of: number;
  kept: boolean;
  at: number;
}
