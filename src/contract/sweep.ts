/** What a sweep is asked for and what it writes down: as it is stored, sent and shown. */

export type TrialValue = string | number | boolean;
/** Fields of a training request with the values of one trial. */
export type TrialValues = Record<string, TrialValue>;

/** Numbers from `min` to `max`; a grid takes `points` of them. */
export interface ValueRange {
  min: number;
  max: number;
  scale: "linear" | "log";
  points: number;
}
/** By field of a training request: the values to try. */
export type Space = Record<string, TrialValue[] | ValueRange>;

export type Strategy =
  | { type: "grid" }
  | { type: "random"; trials: number; seed: number }
  | { type: "halving"; trials: number; seed: number; eta: number };

export interface SweepRequest {
  name: string;
  /** The training request every trial begins from. */
  training: Record<string, unknown>;
  space: Space;
  strategy: Strategy;
  /** A metric of the trainings, such as `eval/loss`. */
  metric: string;
  direction: "min" | "max";
  /** Trials in the queue or at work at a time. */
  parallel: number;
}

/** What was found of a trial at a rung, and what followed. Times in milliseconds. */
export interface Decision {
  rung: number;
  step: number;
  value: number;
  /** Its place among the trials that had reached the rung by then, 1 = best, and how many those were. */
  rank: number;
  of: number;
  kept: boolean;
  at: number;
}
