/** Words and numbers the sweep pages share. */
import type { TrialValues } from "../../../src/contract/sweep.ts";
import { formatNumber } from "../../../src/lib/text/format.ts";
import type { SweepView, TrialView } from "../../../src/training/sweeps/model.ts";

/** `learning_rate 0.001, lora_r 16`. */
export const valuesOf = (values: TrialValues): string =>
  Object.entries(values)
    .map(([field, value]) => `${field} ${value}`)
    .join(", ");

export const scoreOf = (score: number | null): string => (score === null ? "–" : formatNumber(score, 4));

/** The best trial that was trained to its end. */
export const bestOf = (sweep: SweepView): TrialView | null =>
  sweep.trials.find((one) => one.number === sweep.best) ?? null;

export const STRATEGIES = {
  grid: ["Grid", "every combination of the values"],
  random: ["Random", "as many combinations as you say, drawn by the seed"],
  halving: ["Successive halving", "drawn like random; at a part of the steps the worse ones are stopped"],
} as const;
