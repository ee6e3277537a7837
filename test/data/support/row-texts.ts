/** What a shortcut says about the texts of a row, beside what the reader of any canonical row finds. */
import type { RowRange } from "../../../src/data/validation/fast-path/row-bytes.ts";
import { createRowReader, createRowText, type RowText } from "../../../src/data/validation/rows/row-text.ts";

const rangesOf = ({ count, part, from, to, ...facts }: RowText) => ({
  ...facts,
  part: [...part.subarray(0, count)],
  from: [...from.subarray(0, count)],
  to: [...to.subarray(0, count)],
});

const read = createRowText();
const readText = createRowReader();

/** Both must be equal. */
export function textsOf({ bytes, from, to, text }: RowRange) {
  readText(bytes, from, to, read);
  return { shortcut: rangesOf(text), reader: rangesOf(read) };
}
