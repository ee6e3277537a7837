/**
 * Selects the validation split while the file streams: the rows with the smallest keys. A key depends only on the
 * content of the row and the seed.
 */

const MAX_HOLDOUT_ROWS = 1000;

/** The byte range of a canonical row; `end` includes the line break. */
export interface RowSpan {
  start: number;
  end: number;
}

interface Group {
  key: number;
  /** Null when more rows have the key than the validation split can hold. */
  spans: RowSpan[] | null;
}

/** A 53-bit number from the row's hash and the seed. Equal rows get equal keys. */
export function splitKey(lo: number, hi: number, seed: number): number {
  let a = (lo ^ seed) | 0;
  let b = (hi ^ Math.imul(seed, 0x85ebca6b)) | 0;
  for (let round = 0; round < 2; round++) {
    a = Math.imul(a ^ (a >>> 16), 0x85ebca6b);
    b = Math.imul(b ^ (b >>> 13), 0xc2b2ae35);
    a ^= b >>> 15;
    b ^= a >>> 16;
  }
  return (a >>> 0) * 2 ** 21 + ((b >>> 0) >>> 11);
}

/** Size of the validation split: the fraction of `rows`, at most 1,000, and at least one row is left for training. */
function holdoutSize(rows: number, fraction: number): number {
  if (fraction <= 0 || rows < 2) return 0;
  return Math.min(MAX_HOLDOUT_ROWS, rows - 1, Math.max(1, Math.round(rows * fraction)));
}

/** Keeps the rows with the 1,000 smallest keys. Equal rows stay together, so they end up in the same split. */
export function createHoldout() {
  // A max-heap by key: the root is removed first.
  const heap: Group[] = [];
  const byKey = new Map<number, Group>();

  function up(from: number) {
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (keyAt(parent) >= keyAt(at)) return;
      swap(at, parent);
      at = parent;
    }
  }
  function down() {
    let at = 0;
    for (;;) {
      const left = at * 2 + 1;
      if (left >= heap.length) return;
      const child = left + 1 < heap.length && keyAt(left + 1) > keyAt(left) ? left + 1 : left;
      if (keyAt(at) >= keyAt(child)) return;
      swap(at, child);
      at = child;
    }
  }
  const keyAt = (index: number) => heap[index]?.key ?? -1;
  function swap(a: number, b: number) {
    const [x, y] = [heap[a], heap[b]];
    if (!x || !y) return;
    heap[a] = y;
    heap[b] = x;
  }

  return {
    add(key: number, start: number, end: number) {
      if (heap.length >= MAX_HOLDOUT_ROWS && key > keyAt(0)) return;
      const known = byKey.get(key);
      if (known) {
        if (known.spans && known.spans.length < MAX_HOLDOUT_ROWS) known.spans.push({ start, end });
        else known.spans = null;
        return;
      }
      const group: Group = { key, spans: [{ start, end }] };
      byKey.set(key, group);
      heap.push(group);
      up(heap.length - 1);
      if (heap.length <= MAX_HOLDOUT_ROWS) return;
      const [root, last] = [heap[0], heap.pop()];
      if (root && last) {
        heap[0] = last;
        byKey.delete(root.key);
        down();
      }
    },
    /** The validation rows in file order: at most `holdoutSize`, fewer when a group of equal rows does not fit. */
    choose(rows: number, fraction: number): RowSpan[] {
      const wanted = holdoutSize(rows, fraction);
      const chosen: RowSpan[] = [];
      for (const group of [...heap].sort((a, b) => a.key - b.key))
        if (group.spans && chosen.length + group.spans.length <= wanted) chosen.push(...group.spans);
      return chosen.sort((a, b) => a.start - b.start);
    },
  };
}
