/** A table of 64-bit hashes with the line where each was first seen, in bounded memory, for files of any size. */

const FIRST_SLOTS = 1 << 14;
/** 4 million slots of 12 bytes: 48 MiB, enough for 3 million distinct rows. */
const MAX_SLOTS = 1 << 22;
const FIELDS = 3;
const LINE = 2;

/**
 * Two rows count as equal when their 64-bit hashes are equal. With 3 million rows, the chance of one wrong match is
 * below one in a million.
 * @param expected about as many rows as will come: the table then grows less often
 */
export function createHashLines(maxSlots = MAX_SLOTS, expected = 0) {
  let slots = Math.min(FIRST_SLOTS, maxSlots);
  while (slots < expected && slots < maxSlots) slots *= 2;
  /** Three numbers each: the halves of the hash, and the line. Line 0 is a free slot. */
  let table = new Int32Array(slots * FIELDS);
  let size = 0;
  let complete = true;

  /** Where the hash is, or the free place where it belongs. */
  function placeOf(lo: number, hi: number): number {
    let slot = (lo ^ Math.imul(hi, 0x9e3779b1)) & (slots - 1);
    for (; ; slot = (slot + 1) & (slots - 1)) {
      const at = slot * FIELDS;
      if (table[at + LINE] === 0 || (table[at] === lo && table[at + 1] === hi)) return at;
    }
  }
  function put(at: number, lo: number, hi: number, line: number) {
    table[at] = lo;
    table[at + 1] = hi;
    table[at + LINE] = line;
  }

  function grow() {
    const older = table;
    slots *= 2;
    table = new Int32Array(slots * FIELDS);
    for (let i = 0; i < older.length; i += FIELDS) {
      const line = older[i + LINE] ?? 0;
      if (line === 0) continue;
      const [lo, hi] = [older[i] ?? 0, older[i + 1] ?? 0];
      put(placeOf(lo, hi), lo, hi, line);
    }
  }

  return {
    /**
     * The line where the hash was seen first, or 0 when `line` is the first. A full table still finds the hashes in it,
     * and `complete` becomes false.
     */
    first(lo: number, hi: number, line: number): number {
      const a = lo | 0;
      const b = hi | 0;
      if (size * 4 >= slots * 3 && slots < maxSlots) grow();
      const at = placeOf(a, b);
      const known = table[at + LINE] ?? 0;
      if (known > 0) return known;
      if (size * 4 >= slots * 3) complete = false;
      else {
        put(at, a, b, line);
        size++;
      }
      return 0;
    },
    get complete() {
      return complete;
    },
  };
}
