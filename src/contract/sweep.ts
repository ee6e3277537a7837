/** The request and results of a sweep, as stored, sent and shown. */

export type TrialValue = string | number | boolean;
/** Fields of a training request with the values of one trial. */
export type TrialValues = Record<string, TrialValue>;

/** Numbers from `min` to `max`; a grid uses `points` of them. */
export interface ValueRange {
  min: number;
  max: number;
  scale: "linear" | "log";
  points: number;
}
/** The values to try, by field of a training request. */
export type Space = Record<string, TrialValue[] | ValueRange>;

export type Strategy =
  | { type: "grid" }
  | { type: "random"; trials: number; seed: number }
  | { type: "halving"; trials: number; seed: number; eta: number };

export interface SweepRequest {
  name: string;
  /** The training request that every trial changes. */
  training: Record<string, unknown>;
  space: Space;
  strategy: Strategy;
  /** A metric of the trainings, such as `eval/loss`. */
  metric: string;
  direction: "min" | "max";
  /** Concurrent trials, queued or running. */
  parallel: number;
}

/** The result of a trial at a rung, and the decision. Times in milliseconds. */
export interface Decision {
  rung: number;
  step: number;
  value: number;
  /** Its rank among the trials that had reached the rung, 1 = best, and their number. */
  rank: number;
  of: number;
  kept: boolean;
  at: number;
}
