/** How strongly each varied setting of a sweep goes with its result: Spearman's rank correlation. */
import type { SweepView } from "./model.ts";

/** Fewer scored trials give no meaningful correlation. */
const MIN_TRIALS = 5;

/** Ranks from 1; equal values share their mean rank. */
function ranks(values: readonly number[]): number[] {
  const sorted = [...values].sort((a, b) => a - b);
  return values.map((value) => (sorted.indexOf(value) + sorted.lastIndexOf(value)) / 2 + 1);
}

/** Spearman's rank correlation (-1 to 1); null when one side does not vary. */
export function rankCorrelation(xs: readonly number[], ys: readonly number[]): number | null {
  const [a, b] = [ranks(xs), ranks(ys)];
  const mean = (xs.length + 1) / 2;
  const sum = (left: number[], right: number[]) =>
    left.reduce((total, value, n) => total + (value - mean) * ((right[n] ?? 0) - mean), 0);
  const scale = Math.sqrt(sum(a, a) * sum(b, b));
  return scale === 0 ? null : sum(a, b) / scale;
}

/**
 * The rank correlation of every numeric or true/false setting with the metric, strongest first; settings of names have
 * no order and are left out. Empty below 5 completed trials, because trials that were stopped early ran fewer steps.
 */
export function importanceOf(sweep: Pick<SweepView, "space" | "trials">): { field: string; correlation: number }[] {
  const scored = sweep.trials.filter(({ state, score }) => state === "succeeded" && score !== null);
  if (scored.length < MIN_TRIALS) return [];
  return Object.keys(sweep.space)
    .flatMap((field) => {
      const values = scored.map((one) => one.values[field]);
      if (values.some((value) => typeof value !== "number" && typeof value !== "boolean")) return [];
      const correlation = rankCorrelation(
        values.map(Number),
        scored.map(({ score }) => score ?? 0),
      );
      return correlation === null ? [] : [{ field, correlation }];
    })
    .sort((a, b) => Math.abs(b.correlation) - Math.abs(a.correlation));
}
