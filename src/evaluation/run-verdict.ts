/** One sentence about which of several training runs is better, and whether the difference is more than noise. */
import { formatNumber } from "../lib/text/format.ts";
import { pairedShares } from "./statistics.ts";

export interface RunScore {
  name: string;
  /** `eval/reward` (higher is better) or another validation metric (lower is better). */
  metric: string;
  /** Its value for the model of the run; null = not measured. */
  value: number | null;
  /** What must be equal for values to be comparable: validation data and base model. */
  basis: string;
}

/** Fewer shared rows give no meaningful interval. */
const MIN_ROWS = 8;

const WORDS: Record<string, string> = { "eval/reward": "validation reward", "eval/loss": "validation loss" };
const points = (value: number) => `${value >= 0 ? "+" : "−"}${Math.abs(value * 100).toFixed(1)}`;
const quoted = (name: string) => `“${name}”`;

/** The best run and the next by the validation metric, as places in the list; null when they are not comparable. */
export function bestTwo(runs: readonly RunScore[]): [number, number] | null {
  const known = runs.flatMap((run, place) => (run.value === null ? [] : [{ ...run, value: run.value, place }]));
  const bases = new Set(known.map(({ metric, basis }) => `${metric} ${basis}`));
  if (known.length < 2 || bases.size > 1) return null;
  const sign = known[0]?.metric === "eval/reward" ? -1 : 1;
  const [first, second] = known.sort((a, b) => sign * (a.value - b.value));
  return first && second ? [first.place, second.place] : null;
}

/** What exact match adds; `pairs` are the shared rows of the best run and the next. */
function noise(pairs: readonly [boolean, boolean][], other: string): string {
  if (pairs.length === 0)
    return "; whether this is more than noise is unknown until both are evaluated on the same rows.";
  if (pairs.length < MIN_ROWS)
    return `; they share ${pairs.length} evaluated rows, too few to know whether this is more than noise.`;
  const { mean, low, high } = pairedShares(pairs.map(([best, next]) => [next, best]));
  const about = (middle: number, from: number, to: number) =>
    `(${points(middle)} points in exact match, 95% interval ${points(from)} to ${points(to)}, ${pairs.length} rows)`;
  if (low > 0) return `, and the difference is more than noise ${about(mean, low, high)}.`;
  // The gain of the other run.
  if (high < 0) return `, but ${quoted(other)} answers better by more than noise ${about(-mean, -high, -low)}.`;
  return `, but the answers differ by no more than noise ${about(mean, low, high)}.`;
}

/**
 * The verdict on `runs`.
 * @param pairs whether the two runs of `bestTwo` answered each shared row exactly
 */
export function runVerdict(runs: readonly RunScore[], pairs: readonly [boolean, boolean][]): string {
  const [best, next] = (bestTwo(runs) ?? []).map((place) => runs[place]);
  if (!best || !next) {
    return runs.filter(({ value }) => value !== null).length < 2
      ? "No verdict: fewer than two of these runs have a validation metric."
      : "No verdict: the validation metrics of these runs are not comparable, because their validation data, base model or metric differs.";
  }
  const words = WORDS[best.metric] ?? best.metric;
  const [one, other] = [formatNumber(best.value, 4), formatNumber(next.value, 4)];
  const lead =
    best.value === next.value
      ? `${quoted(best.name)} and ${quoted(next.name)} have the same ${words} (${one})`
      : `${quoted(best.name)} is better by ${words}: ${one}, next ${quoted(next.name)} with ${other}`;
  return `${lead}${noise(pairs, next.name)}`;
}
