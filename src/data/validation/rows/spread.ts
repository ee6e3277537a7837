/** Running totals, percentiles and a histogram of one number a row, in fixed memory. */
import type { Bucket, Spread } from "./report.ts";

/** Eight narrow buckets for every doubling: a percentile read from them is within 10% of the true one. */
const PER_DOUBLING = 8;
const SLOTS = 40 * PER_DOUBLING;
/** Narrow buckets that make one of the histogram's; the first that needs few enough is taken. */
const WIDTHS = [1, 2, 4, PER_DOUBLING];
const MOST_BUCKETS = 16;

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

  /**
   * Buckets from the smallest to the largest value seen: narrow ones when these lie close together, powers of two when
   * they do not.
   */
  function histogram(): Bucket[] {
    const buckets: Bucket[] = [];
    if ((slots[0] ?? 0) > 0) buckets.push({ from: 0, to: 1, count: slots[0] ?? 0 });
    const first = slots.findIndex((many, slot) => slot > 0 && many > 0) - 1;
    const last = slots.findLastIndex((many) => many > 0) - 1;
    if (first < 0) return buckets;
    const width = WIDTHS.find((each) => (last - first) / each < MOST_BUCKETS) ?? PER_DOUBLING;
    for (let slot = first - (first % width); slot <= last; slot += width) {
      const [from, to] = [Math.ceil(2 ** (slot / PER_DOUBLING)), Math.ceil(2 ** ((slot + width) / PER_DOUBLING))];
      let sum = 0;
      for (let i = 0; i < width; i++) sum += slots[1 + slot + i] ?? 0;
      // Between small numbers there is nothing.
      if (to > from) buckets.push({ from, to, count: sum });
    }
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
