/** Running totals, percentiles and a histogram of one number a row, in fixed memory. */
import type { Bucket, Spread } from "./report.ts";

/** Eight narrow buckets for every doubling: a percentile read from them is within 10% of the true one. */
const PER_DOUBLING = 8;
const SLOTS = 40 * PER_DOUBLING;

/** Collects numbers of at least 0. */
export function createSpread() {
  const slots = new Uint32Array(SLOTS + 1);
  let count = 0;
  let total = 0;
  let min = Number.POSITIVE_INFINITY;
  let max = 0;

  const slotOf = (value: number) =>
    value < 1 ? 0 : Math.min(SLOTS, 1 + Math.floor(Math.log2(value) * PER_DOUBLING + 1e-9));

  function percentile(share: number): number {
    let left = Math.ceil(count * share);
    for (let slot = 0; slot <= SLOTS; slot++) {
      left -= slots[slot] ?? 0;
      if (left <= 0)
        return slot === 0 ? 0 : Math.min(max, Math.max(min, Math.round(2 ** ((slot - 0.5) / PER_DOUBLING))));
    }
    return max;
  }

  /** Powers of two from the smallest to the largest value seen. */
  function histogram(): Bucket[] {
    const buckets: Bucket[] = [];
    if ((slots[0] ?? 0) > 0) buckets.push({ from: 0, to: 1, count: slots[0] ?? 0 });
    for (let power = 0; power * PER_DOUBLING < SLOTS; power++) {
      let sum = 0;
      for (let i = 0; i < PER_DOUBLING; i++) sum += slots[1 + power * PER_DOUBLING + i] ?? 0;
      buckets.push({ from: 2 ** power, to: 2 ** (power + 1), count: sum });
    }
    while (buckets.length > 0 && buckets.at(-1)?.count === 0) buckets.pop();
    while (buckets.length > 0 && buckets[0]?.count === 0) buckets.shift();
    return buckets;
  }

  return {
    add(value: number) {
      const slot = slotOf(value);
      slots[slot] = (slots[slot] ?? 0) + 1;
      count++;
      total += value;
      if (value < min) min = value;
      if (value > max) max = value;
    },
    result(): Spread {
      return {
        total,
        min: count ? min : 0,
        max,
        mean: count ? total / count : 0,
        p50: percentile(0.5),
        p95: percentile(0.95),
        histogram: histogram(),
      };
    },
  };
}
