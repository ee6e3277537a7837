/** Pages through canonical rows on disk. Uses the sparse index to read only what is needed. */
import { open } from "node:fs/promises";
import { join } from "node:path";
import { parseExact } from "../../lib/text/exact-json.ts";
import { offsetBefore, readIndex } from "../storage/index-file.ts";
import type { Split } from "../validation/model.ts";
import { type Message, type NumberedRow, textsOf } from "../validation/rows/types.ts";
import { scanLines } from "../validation/scan/lines.ts";

export interface RowPage {
  rows: NumberedRow[];
  /** The `after` of the next page; null at the end. */
  next: number | null;
}

const CHUNK = 1 << 18;
const MAX_LINE = 1 << 30;
/** A page ends early at this size. */
const PAGE_BYTES = 4 << 20;
/** A search returns the rows found so far after this many bytes. */
const SEARCH_BYTES = 64 << 20;

/** Which rows are listed; without a condition, all. */
export interface RowFilter {
  /** A text in the row, in any letter case. */
  search?: string;
  /** Rows with a message of this role, or with tool calls. */
  role?: Message["role"] | "tool_calls";
  /** `good` or `bad` of labeled rows, or the whole last answer. */
  label?: string;
  /** Limits of the characters of all texts. */
  minCharacters?: number;
  maxCharacters?: number;
  /** Ids of rows. */
  ids?: ReadonlySet<number>;
}

/** A test for the rows that a filter lists; null when it lists all. */
function matcher({ search, role, label, minCharacters, maxCharacters, ids }: RowFilter) {
  const wanted = search?.toLowerCase();
  const tests: ((row: NumberedRow) => boolean)[] = [];
  const messages = (row: NumberedRow) => ("messages" in row ? row.messages : []);
  if (ids) tests.push((row) => ids.has(row.id));
  if (wanted) tests.push((row) => textsOf(row).some((text) => text.toLowerCase().includes(wanted)));
  if (role === "tool_calls") tests.push((row) => messages(row).some((turn) => turn.tool_calls));
  else if (role) tests.push((row) => messages(row).some((turn) => turn.role === role));
  if (label !== undefined)
    tests.push((row) =>
      "label" in row ? (row.label ? "good" : "bad") === label : messages(row).at(-1)?.content.trim() === label,
    );
  if (minCharacters !== undefined || maxCharacters !== undefined)
    tests.push((row) => {
      const length = textsOf(row).reduce((sum, text) => sum + text.length, 0);
      return length >= (minCharacters ?? 0) && length <= (maxCharacters ?? Number.POSITIVE_INFINITY);
    });
  return tests.length ? (row: NumberedRow) => tests.every((holds) => holds(row)) : null;
}

/**
 * Lines of a file with an index that have an id above `after`, in order.
 * @param wanted null lists all
 */
export async function pageLines<T extends { id: number }>(
  path: string,
  indexPath: string,
  page: { after: number; limit: number },
  wanted: ((row: T) => boolean) | null,
): Promise<{ rows: T[]; next: number | null }> {
  const rows: T[] = [];
  let last = page.after;
  let size = 0;
  let full = false;
  const scanner = scanLines(MAX_LINE, {
    record(bytes, start, end) {
      if (full || start === end) return;
      if (rows.length >= page.limit || size > PAGE_BYTES) {
        full = true;
        return;
      }
      const row = parseExact(bytes.toString("utf8", start, end)) as T;
      if (row.id <= page.after) return;
      last = row.id;
      if (wanted && !wanted(row)) return;
      rows.push(row);
      size += end - start;
    },
    tooLong() {},
    broken() {},
  });
  const file = await open(path, "r");
  try {
    const chunk = Buffer.allocUnsafe(CHUNK);
    let at = offsetBefore(readIndex(indexPath), page.after);
    const stop = at + SEARCH_BYTES;
    for (;;) {
      const { bytesRead } = await file.read(chunk, 0, CHUNK, at);
      if (bytesRead === 0) {
        scanner.end();
        break;
      }
      scanner.push(chunk.subarray(0, bytesRead));
      at += bytesRead;
      if (full) break;
      if (wanted && at > stop && last > page.after) {
        full = true;
        break;
      }
    }
  } finally {
    await file.close();
  }
  return { rows, next: full ? last : null };
}

/** Rows with an id above `after`, in order. */
export const pageRows = (
  dir: string,
  split: Split,
  page: { after: number; limit: number } & RowFilter,
): Promise<RowPage> =>
  pageLines<NumberedRow>(join(dir, `${split}.jsonl`), join(dir, `${split}.idx`), page, matcher(page));
