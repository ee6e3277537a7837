/** A table of 64-bit hashes with the line where each was first seen, in bounded memory, for files of any size. */

const FIRST_SLOTS = 1 << 14;
/** 4 million slots of 12 bytes: 48 MiB, enough for 3 million distinct rows. */
const MAX_SLOTS = 1 << 22;

/**
 * Two rows count as equal when their 64-bit hashes are equal. With 3 million rows, the chance of one wrong match is
 * below one in a million.
 */
export function createHashLines(maxSlots = MAX_SLOTS) {
  let slots = Math.min(FIRST_SLOTS, maxSlots);
  let low = new Uint32Array(slots);
  let high = new Uint32Array(slots);
  /** Line 0 is a free slot. */
  let lines = new Uint32Array(slots);
  let size = 0;
  let complete = true;

  /** The slot of the hash, or the free slot where it belongs. */
  function slotOf(lo: number, hi: number): number {
    let at = (lo ^ Math.imul(hi, 0x9e3779b1)) & (slots - 1);
    while (lines[at] !== 0 && (low[at] !== lo || high[at] !== hi)) at = (at + 1) & (slots - 1);
    return at;
  }
  function place(at: number, lo: number, hi: number, line: number) {
    low[at] = lo;
    high[at] = hi;
    lines[at] = line;
  }

  function grow() {
    const [oldLow, oldHigh, oldLines] = [low, high, lines];
    slots *= 2;
    low = new Uint32Array(slots);
    high = new Uint32Array(slots);
    lines = new Uint32Array(slots);
    for (let i = 0; i < oldLines.length; i++) {
      const line = oldLines[i] ?? 0;
      if (line === 0) continue;
      const [lo, hi] = [oldLow[i] ?? 0, oldHigh[i] ?? 0];
      place(slotOf(lo, hi), lo, hi, line);
    }
  }

  return {
    /**
     * The line where the hash was seen first, or 0 when `line` is the first. A full table still finds the hashes in it,
     * and `complete` becomes false.
     */
    first(lo: number, hi: number, line: number): number {
      const [a, b] = [lo >>> 0, hi >>> 0];
      if (size * 4 >= slots * 3 && slots < maxSlots) grow();
      const at = slotOf(a, b);
      const known = lines[at] ?? 0;
      if (known > 0) return known;
      if (size * 4 >= slots * 3) complete = false;
      else {
        place(at, a, b, line);
        size++;
      }
      return 0;
    },
    get complete() {
      return complete;
    },
  };
}
