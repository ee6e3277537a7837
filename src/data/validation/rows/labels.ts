/** Counts the labels of rows: good and bad of labeled data, or short answers that come from a small set. */
import type { RowText } from "./row-text.ts";

/** Most different answers of a classification. */
const MAX_LABELS = 50;
/** Longest answer in bytes that can be a label. */
const MAX_BYTES = 64;
/** A set of labels is small when there are on average at least this many rows of each. */
const ROWS_PER_LABEL = 3;

const GOOD = 1;
const BAD = 2;

/** A label with its number of rows. */
interface LabelCount {
  label: string;
  rows: number;
}

interface Counted {
  text: string;
  rows: number;
}

/** Collects the labels of rows until one has none. */
export function createLabels() {
  const found = new Map<number, Counted>();
  let rows = 0;
  let possible = true;

  function count(label: number, text: () => string): number {
    const known = found.get(label);
    if (known) known.rows++;
    else if (found.size >= MAX_LABELS) possible = false;
    else found.set(label, { text: text(), rows: 1 });
    rows++;
    return label;
  }
  const isUseful = () => possible && found.size > 1 && rows >= found.size * ROWS_PER_LABEL;

  return {
    /** The number of the label of a row, 0 without one. */
    add(bytes: Buffer, text: RowText): number {
      if (!possible) return 0;
      const { label, answer } = text;
      if (label !== null) return count(label ? GOOD : BAD, () => (label ? "good" : "bad"));
      const [from = 0, to = 0] = [text.from[answer], text.to[answer]];
      if (to === from || to - from > MAX_BYTES) {
        possible = false;
        return 0;
      }
      return count(
        Bun.hash.xxHash32(bytes.subarray(from, to)) || GOOD,
        () => JSON.parse(`"${bytes.toString("utf8", from, to)}"`) as string,
      );
    },
    /** Rows of each label by number; null when rows are not labeled. */
    counts: (): Map<number, number> | null =>
      isUseful() ? new Map([...found].map(([label, { rows: of }]) => [label, of])) : null,
    /** The same with texts, the most frequent first. */
    list: (): LabelCount[] | null =>
      isUseful()
        ? [...found.values()]
            .map(({ text, rows: of }) => ({ label: text.trim(), rows: of }))
            .sort((a, b) => b.rows - a.rows || (a.label < b.label ? -1 : 1))
        : null,
  };
}
