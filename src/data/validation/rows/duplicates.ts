/** A set of 64-bit row hashes in bounded memory. It counts exact duplicates in files of any size. */

const FIRST_SLOTS = 1 << 14;
/** 4 million slots of 8 bytes: 32 MiB, enough for 3 million distinct rows. */
const MAX_SLOTS = 1 << 22;

/**
 * Two rows count as equal when their 64-bit hashes are equal. With 3 million rows, the chance of one wrong match is
 * below one in a million.
 */
export function createHashSet(maxSlots = MAX_SLOTS) {
  let slots = Math.min(FIRST_SLOTS, maxSlots);
  let low = new Uint32Array(slots);
  let high = new Uint32Array(slots);
  let size = 0;
  let complete = true;

  function place(lo: number, hi: number): boolean {
    for (let at = (lo ^ Math.imul(hi, 0x9e3779b1)) & (slots - 1); ; at = (at + 1) & (slots - 1)) {
      if (low[at] === lo && high[at] === hi) return false;
      if (low[at] === 0 && high[at] === 0) {
        low[at] = lo;
        high[at] = hi;
        return true;
      }
    }
  }

  function grow() {
    const [oldLow, oldHigh] = [low, high];
    slots *= 2;
    low = new Uint32Array(slots);
    high = new Uint32Array(slots);
    for (let i = 0; i < oldLow.length; i++) {
      const lo = oldLow[i] ?? 0;
      const hi = oldHigh[i] ?? 0;
      if (lo !== 0 || hi !== 0) place(lo, hi);
    }
  }

  return {
    /** True when the pair was added before. A full table still finds the rows in it, and `complete` becomes false. */
    seen(lo: number, hi: number): boolean {
      const key = lo === 0 && hi === 0 ? 1 : lo;
      if (size * 4 >= slots * 3) {
        if (slots < maxSlots) grow();
        else {
          for (let at = (key ^ Math.imul(hi, 0x9e3779b1)) & (slots - 1); ; at = (at + 1) & (slots - 1)) {
            if (low[at] === key && high[at] === hi) return true;
            if (low[at] === 0 && high[at] === 0) {
              complete = false;
              return false;
            }
          }
        }
      }
      if (!place(key, hi)) return true;
      size++;
      return false;
    },
    get complete() {
      return complete;
    },
  };
}
