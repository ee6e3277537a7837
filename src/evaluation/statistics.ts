/**
 * Compares two sides that answered the same rows: paired differences with bootstrap intervals, and a one-sentence
 * verdict.
 */
import { plural } from "../lib/text/format.ts";

/** The numbers of both sides for one row. Losses are means over the answer's `tokens`, in nats. */
export interface Pair {
  tokens: number;
  baseExact: boolean;
  tunedExact: boolean;
  baseLoss: number | null;
  tunedLoss: number | null;
  baseAccuracy: number | null;
  tunedAccuracy: number | null;
}

/** Tuned minus base, with its 95% confidence interval. */
interface Difference {
  mean: number;
  low: number;
  high: number;
}

type Verdict = "better" | "no_clear_difference" | "worse" | "too_few_rows";

export interface Comparison {
  rows: number;
  /** Wrong before, right after; and the other three cases. */
  fixed: number;
  broken: number;
  both_right: number;
  both_wrong: number;
  exact_match: Difference;
  token_accuracy: Difference | null;
  loss: Difference | null;
  verdict: Verdict;
  /** The metric that decided the verdict. */
  decided_by: "exact_match" | "loss" | null;
  sentence: string;
}

/**
 * What an evaluation compares: answers (exact match), pairs to be ranked (reward models), or texts whose tokens are
 * predicted.
 */
export type Judged = "answers" | "pairs" | "texts";

const RESAMPLES = 2000;
/** Fewer rows give no meaningful interval. */
const MIN_ROWS = 8;

/** A small random number generator with a fixed seed, so that the same rows always give the same interval. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * Interval of a weighted mean of differences. It resamples rows, so both sides of a row stay together.
 * @param differences one per row
 * @param weights tokens per row, or all 1
 */
export function pairedInterval(differences: readonly number[], weights: readonly number[]): Difference {
  const n = differences.length;
  const meanOf = (pick: (k: number) => number) => {
    let sum = 0;
    let weight = 0;
    for (let k = 0; k < n; k++) {
      const i = pick(k);
      const w = weights[i] ?? 0;
      sum += (differences[i] ?? 0) * w;
      weight += w;
    }
    return weight === 0 ? 0 : sum / weight;
  };
  const random = generator(n * 2654435761);
  const means = Float64Array.from({ length: RESAMPLES }, () => meanOf(() => Math.floor(random() * n))).sort();
  return {
    mean: meanOf((k) => k),
    low: means[Math.floor(RESAMPLES * 0.025)] ?? 0,
    high: means[Math.ceil(RESAMPLES * 0.975) - 1] ?? 0,
  };
}

function tokenDifference(
  pairs: readonly Pair[],
  base: "baseLoss" | "baseAccuracy",
  tuned: "tunedLoss" | "tunedAccuracy",
): Difference | null {
  const known = pairs.filter((pair) => pair[base] !== null && pair[tuned] !== null);
  if (known.length === 0) return null;
  return pairedInterval(
    known.map((pair) => (pair[tuned] ?? 0) - (pair[base] ?? 0)),
    known.map((pair) => Math.max(1, pair.tokens)),
  );
}

const points = (value: number) => `${value >= 0 ? "+" : "−"}${Math.abs(value * 100).toFixed(1)}`;
const nats = (value: number) => `${value >= 0 ? "+" : "−"}${Math.abs(value).toFixed(3)}`;

/** Compares both sides. Exact match decides when its difference is clear, else the loss does. */
export function compare(pairs: readonly Pair[], judged: Judged = "answers"): Comparison {
  const count = (base: boolean, tuned: boolean) =>
    pairs.filter((pair) => pair.baseExact === base && pair.tunedExact === tuned).length;
  const counts = {
    rows: pairs.length,
    fixed: count(false, true),
    broken: count(true, false),
    both_right: count(true, true),
    both_wrong: count(false, false),
  };
  const exact = pairedInterval(
    pairs.map((pair) => Number(pair.tunedExact) - Number(pair.baseExact)),
    pairs.map(() => 1),
  );
  const loss = tokenDifference(pairs, "baseLoss", "tunedLoss");
  const accuracy = tokenDifference(pairs, "baseAccuracy", "tunedAccuracy");
  return {
    ...counts,
    exact_match: exact,
    token_accuracy: accuracy,
    loss,
    ...judge(counts, exact, loss, judged),
  };
}

function judge(
  counts: { rows: number; fixed: number; broken: number; both_right: number },
  exact: Difference,
  loss: Difference | null,
  judged: Judged,
): Pick<Comparison, "verdict" | "decided_by" | "sentence"> {
  const { rows } = counts;
  const lossWords = (found: Difference) =>
    `${nats(found.mean)} nats per token (95% interval ${nats(found.low)} to ${nats(found.high)})`;
  if (judged === "texts" && rows >= MIN_ROWS && loss) {
    const verdict = loss.high < 0 ? "better" : loss.low > 0 ? "worse" : "no_clear_difference";
    const word = { better: "Better", worse: "Worse", no_clear_difference: "No clear difference" }[verdict];
    return { verdict, decided_by: "loss", sentence: `${word} by loss: ${lossWords(loss)}.` };
  }
  const before = counts.broken + counts.both_right;
  const after = counts.fixed + counts.both_right;
  const what = judged === "pairs" ? "pairs are ranked correctly" : "answers match exactly";
  const scores =
    judged === "texts" ? plural(rows, "text") : `${after} of ${rows} ${what} after fine-tuning, ${before} before`;
  if (rows < MIN_ROWS)
    return {
      verdict: "too_few_rows",
      decided_by: null,
      sentence: `Too few rows for a verdict: ${scores}. Use at least ${MIN_ROWS} validation rows, preferably 50.`,
    };
  if (exact.low > 0 || exact.high < 0)
    return {
      verdict: exact.low > 0 ? "better" : "worse",
      decided_by: "exact_match",
      sentence: `${exact.low > 0 ? "Better" : "Worse"}: ${scores} (${points(exact.mean)} points, 95% interval ${points(exact.low)} to ${points(exact.high)}).`,
    };
  // The loss of a reward model cannot be compared with the loss of its base.
  if (judged === "answers" && loss && (loss.high < 0 || loss.low > 0))
    return {
      verdict: loss.high < 0 ? "better" : "worse",
      decided_by: "loss",
      sentence: `${loss.high < 0 ? "Better" : "Worse"} by loss: ${lossWords(loss)}; exact match shows no clear difference (${after} after, ${before} before).`,
    };
  return {
    verdict: "no_clear_difference",
    decided_by: null,
    sentence: `No clear difference: ${scores} (95% interval ${points(exact.low)} to ${points(exact.high)} points).`,
  };
}
