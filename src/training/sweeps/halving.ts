/**
 * Successive halving as it works without waiting (asynchronous, "stopping" variant of ASHA, arXiv:1810.05934): whoever
 * comes to a rung is compared with those that came there before, and goes on, as it is, or is stopped. Pure.
 */

/** Rungs at most; with eta 3 the first one is at an eighty-first of the steps. */
const MOST = 4;

/** How many rungs a sweep of so many trials has: each leaves one in `eta`, until one is left. */
export const rungCount = (trials: number, eta: number): number =>
  Math.min(MOST, Math.floor(Math.log(trials) / Math.log(eta) + 1e-9));

/**
 * Steps at which a training of `steps` is compared: a part of 1/eta, 1/eta², … of them, the first one dividing all
 * others, so that evaluations every so many steps come by at each. Trainings too short for a rung have fewer.
 */
export function rungsOf(steps: number, rungs: number, eta: number): number[] {
  for (let levels = rungs; levels > 0; levels--) {
    const first = Math.floor(steps / eta ** levels);
    if (first >= 1) return Array.from({ length: levels }, (_, n) => first * eta ** n);
  }
  return [];
}

/** Whether a trial with `value` goes on behind a rung where `before` were seen, and its place among all of them. */
export function judge(
  value: number,
  before: readonly number[],
  eta: number,
  direction: "min" | "max",
): { rank: number; of: number; kept: boolean } {
  const better = before.filter((other) => (direction === "min" ? other < value : other > value));
  const rank = better.length + 1;
  const of = before.length + 1;
  return { rank, of, kept: Number.isFinite(value) && rank <= Math.max(1, Math.floor(of / eta)) };
}
