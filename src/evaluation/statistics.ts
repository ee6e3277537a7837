/**
 * Compares two sides that answered the same rows: paired differences with 95% intervals, and a one-sentence verdict.
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
  /** The grader's rewards; null = not graded, or the grader failed. */
  baseReward?: number | null;
  tunedReward?: number | null;
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
  /** Difference of the grader's rewards; null without a grader. */
  reward: Difference | null;
  verdict: Verdict;
  /** The metric that decided the verdict. */
  decided_by: "exact_match" | "loss" | "reward" | null;
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

const Z = 1.959963984540054;

/** Wilson's 95% interval of a share; valid for few rows and for shares of 0 and 1. */
function wilson(hits: number, n: number): { low: number; high: number } {
  if (n === 0) return { low: 0, high: 1 };
  const share = hits / n;
  const square = (Z * Z) / n;
  const center = (share + square / 2) / (1 + square);
  const half = (Z * Math.sqrt((share * (1 - share)) / n + square / (4 * n))) / (1 + square);
  return { low: hits === 0 ? 0 : Math.max(0, center - half), high: hits === n ? 1 : Math.min(1, center + half) };
}

/**
 * Difference of two paired shares with Newcombe's score interval (1998, method 10). It stays wide for few rows and when
 * all rows agree, where a bootstrap has no width.
 */
export function pairedShares(sides: readonly (readonly [base: boolean, tuned: boolean])[]): Difference {
  const n = sides.length;
  if (n === 0) return { mean: 0, low: -1, high: 1 };
  const count = (base: boolean, tuned: boolean) => sides.filter(([b, t]) => b === base && t === tuned).length;
  const [both, onlyTuned, onlyBase, neither] = [
    count(true, true),
    count(false, true),
    count(true, false),
    count(false, false),
  ];
  const [tuned, base] = [both + onlyTuned, both + onlyBase];
  const margins = tuned * (n - tuned) * base * (n - base);
  const cross = both * neither - onlyTuned * onlyBase;
  const phi = margins === 0 ? 0 : (cross > 0 ? Math.max(0, cross - n / 2) : cross) / Math.sqrt(margins);
  const [t, b] = [wilson(tuned, n), wilson(base, n)];
  const mean = (tuned - base) / n;
  const root = (down: number, up: number) => Math.sqrt(Math.max(0, down * down - 2 * phi * down * up + up * up));
  return {
    mean,
    low: mean - root(tuned / n - t.low, b.high - base / n),
    high: mean + root(t.high - tuned / n, base / n - b.low),
  };
}

/** Mean of one side's rewards: Wilson's interval for pass or fail, else by bootstrap. */
export function meanInterval(values: readonly number[]): Difference {
  if (values.some((value) => value !== 0 && value !== 1))
    return pairedInterval(
      values,
      values.map(() => 1),
    );
  const hits = values.filter((value) => value === 1).length;
  return { mean: values.length ? hits / values.length : 0, ...wilson(hits, values.length) };
}

/** Difference of the grader's rewards over rows that both sides have: exact for pass or fail, else by bootstrap. */
function rewardDifference(pairs: readonly Pair[]): Difference | null {
  const both = pairs.flatMap(({ baseReward, tunedReward }) =>
    typeof baseReward === "number" && typeof tunedReward === "number" ? [[baseReward, tunedReward] as const] : [],
  );
  if (both.length === 0) return null;
  if (both.flat().every((value) => value === 0 || value === 1))
    return pairedShares(both.map(([base, tuned]) => [base === 1, tuned === 1]));
  return pairedInterval(
    both.map(([base, tuned]) => tuned - base),
    both.map(() => 1),
  );
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

/** How a sentence names the two sides. */
interface SideNames {
  base: string;
  tuned: string;
}
const BEFORE_AND_AFTER: SideNames = { base: "before", tuned: "after fine-tuning" };

/**
 * Compares both sides. The grader decides when there is one; else exact match when its difference is clear; else the
 * loss.
 */
export function compare(
  pairs: readonly Pair[],
  judged: Judged = "answers",
  names: SideNames = BEFORE_AND_AFTER,
): Comparison {
  const count = (base: boolean, tuned: boolean) =>
    pairs.filter((pair) => pair.baseExact === base && pair.tunedExact === tuned).length;
  const found = {
    rows: pairs.length,
    fixed: count(false, true),
    broken: count(true, false),
    both_right: count(true, true),
    both_wrong: count(false, false),
    exact_match: pairedShares(pairs.map((pair) => [pair.baseExact, pair.tunedExact])),
    token_accuracy: tokenDifference(pairs, "baseAccuracy", "tunedAccuracy"),
    loss: tokenDifference(pairs, "baseLoss", "tunedLoss"),
    reward: rewardDifference(pairs),
  };
  return { ...found, ...judge(found, judged, names, meansOf(pairs)) };
}

/** Mean rewards of the rows that both sides have. */
function meansOf(pairs: readonly Pair[]): SideNames {
  const both = pairs.filter((pair) => typeof pair.baseReward === "number" && typeof pair.tunedReward === "number");
  const mean = (key: "baseReward" | "tunedReward") =>
    (both.reduce((sum, pair) => sum + (pair[key] ?? 0), 0) / Math.max(1, both.length)).toFixed(3);
  return { base: mean("baseReward"), tuned: mean("tunedReward") };
}

type Found = Omit<Comparison, "verdict" | "decided_by" | "sentence">;
const WORDS = { better: "Better", worse: "Worse", no_clear_difference: "No clear difference" } as const;

/** A verdict by an interval, of which `up` says whether more is better. */
const verdictOf = ({ low, high }: Difference, up: boolean) =>
  low > 0 ? (up ? "better" : "worse") : high < 0 ? (up ? "worse" : "better") : "no_clear_difference";

function judge(
  found: Found,
  judged: Judged,
  names: SideNames,
  rewards: SideNames,
): Pick<Comparison, "verdict" | "decided_by" | "sentence"> {
  const { rows, exact_match: exact, loss, reward } = found;
  const lossWords = ({ mean, low, high }: Difference) =>
    `${nats(mean)} nats per token (95% interval ${nats(low)} to ${nats(high)})`;
  if (judged === "texts" && rows >= MIN_ROWS && loss) {
    const verdict = verdictOf(loss, false);
    return { verdict, decided_by: "loss", sentence: `${WORDS[verdict]} by loss: ${lossWords(loss)}.` };
  }
  const before = found.broken + found.both_right;
  const after = found.fixed + found.both_right;
  const what = judged === "pairs" ? "pairs are ranked correctly" : "answers match exactly";
  const scores =
    judged === "texts" ? plural(rows, "text") : `${after} of ${rows} ${what} ${names.tuned}, ${before} ${names.base}`;
  if (rows < MIN_ROWS)
    return {
      verdict: "too_few_rows",
      decided_by: null,
      sentence: `Too few rows for a verdict: ${scores}. Use at least ${MIN_ROWS} validation rows, preferably 50.`,
    };
  if (reward) {
    const verdict = verdictOf(reward, true);
    const interval = `${nats(reward.mean)}, 95% interval ${nats(reward.low)} to ${nats(reward.high)}`;
    return {
      verdict,
      decided_by: "reward",
      sentence: `${WORDS[verdict]} by the grader: mean reward ${rewards.tuned} ${names.tuned}, ${rewards.base} ${names.base} (${interval}).`,
    };
  }
  const points95 = `95% interval ${points(exact.low)} to ${points(exact.high)}`;
  const byAnswers = verdictOf(exact, true);
  if (byAnswers !== "no_clear_difference")
    return {
      verdict: byAnswers,
      decided_by: "exact_match",
      sentence: `${WORDS[byAnswers]}: ${scores} (${points(exact.mean)} points, ${points95}).`,
    };
  // The loss of a reward model cannot be compared with the loss of its base.
  const byLoss = judged === "answers" && loss ? verdictOf(loss, false) : "no_clear_difference";
  if (loss && byLoss !== "no_clear_difference")
    return {
      verdict: byLoss,
      decided_by: "loss",
      sentence: `${WORDS[byLoss]} by loss: ${lossWords(loss)}; exact match shows no clear difference (${after} ${names.tuned}, ${before} ${names.base}).`,
    };
  return {
    verdict: "no_clear_difference",
    decided_by: null,
    sentence: `No clear difference: ${scores} (${points95} points).`,
  };
}
