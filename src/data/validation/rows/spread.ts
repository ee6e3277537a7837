/** Running total, percentiles and histogram of one number per row, in fixed memory. */
import type { Bucket, Spread } from "./report.ts";

/** Narrow buckets per doubling. With eight, a percentile is within 10% of the exact value. */
const PER_DOUBLING = 8;
const SLOTS = 40 * PER_DOUBLING;
/** Narrow buckets per histogram bar: the first width that needs at most `MAX_BARS` bars is used. */
const WIDTHS = [1, 2, 4, PER_DOUBLING];
const MAX_BARS = 16;

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
   * Bars from the smallest to the largest value: narrow for a small range of values, powers of two for a wide one.
   */
  function histogram(): Bucket[] {
    const buckets: Bucket[] = [];
    if ((slots[0] ?? 0) > 0) buckets.push({ from: 0, to: 1, count: slots[0] ?? 0 });
    const first = slots.findIndex((many, slot) => slot > 0 && many > 0) - 1;
    const last = slots.findLastIndex((many) => many > 0) - 1;
    if (first < 0) return buckets;
    const width = WIDTHS.find((each) => (last - first) / each < MAX_BARS) ?? PER_DOUBLING;
    for (let slot = first - (first % width); slot <= last; slot += width) {
      const [from, to] = [Math.ceil(2 ** (slot / PER_DOUBLING)), Math.ceil(2 ** ((slot + width) / PER_DOUBLING))];
      let sum = 0;
      for (let i = 0; i < width; i++) sum += slots[1 + slot + i] ?? 0;
      // Between small numbers a bar can be empty by rounding.
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
