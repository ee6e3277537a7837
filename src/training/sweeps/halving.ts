/**
 * Asynchronous successive halving (the "stopping" variant of ASHA, arXiv:1810.05934): a trial that reaches a rung is
 * compared with the trials that reached it earlier, and either continues or is stopped. Pure.
 */

/** Most rungs of a sweep. With eta 3 the first rung is at 1/81 of the steps. */
const MAX_RUNGS = 4;

/** Number of rungs for a sweep of `trials`. Each rung keeps one trial in `eta`, until one is left. */
export const rungCount = (trials: number, eta: number): number =>
  Math.min(MAX_RUNGS, Math.floor(Math.log(trials) / Math.log(eta) + 1e-9));

/**
 * Steps at which a training of `steps` is compared: 1/eta, 1/eta², … of its steps. All are multiples of the first, so
 * that periodic evaluations hit each of them. A training that is too short has fewer rungs.
 * @param warmup steps at the beginning after which nothing can be compared yet
 */
export function rungsOf(steps: number, rungs: number, eta: number, warmup = 0): number[] {
  for (let levels = rungs; levels > 0; levels--) {
    const first = Math.floor(steps / eta ** levels);
    if (first >= 1 && first > warmup) return Array.from({ length: levels }, (_, n) => first * eta ** n);
  }
  return [];
}

/** The rank of a trial with `value` at a rung where the values `before` were seen, and whether it continues. */
export function rankAtRung(
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
