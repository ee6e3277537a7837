/** Text that the sweep pages share. */
import type { TrialValues } from "../../../src/contract/sweep.ts";
import { formatNumber } from "../../../src/lib/text/format.ts";
import type { SweepView, TrialView } from "../../../src/training/sweeps/model.ts";

/** `learning_rate 0.001, lora_r 16`. */
export const valuesOf = (values: TrialValues): string =>
  Object.entries(values)
    .map(([field, value]) => `${field} ${value}`)
    .join(", ");

export const scoreOf = (score: number | null): string => (score === null ? "–" : formatNumber(score, 4));

/** The best completed trial. */
export const bestOf = (sweep: SweepView): TrialView | null =>
  sweep.trials.find((one) => one.number === sweep.best) ?? null;

export const STRATEGIES = {
  grid: ["Grid", "every combination of the values"],
  random: ["Random", "a given number of combinations, drawn by the seed"],
  halving: ["Successive halving", "random draws; the worse trials are stopped early"],
} as const;
