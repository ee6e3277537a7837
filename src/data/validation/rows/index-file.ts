/**
 * A sparse index over a file of canonical rows: pairs of row id and byte offset, so that any page of a large file is
 * found with one short read.
 */
import { readFileSync, writeFileSync } from "node:fs";

/** One entry for so many rows. */
export const INDEX_EVERY = 256;

/** Entries as they lie in the file: id, offset, id, offset … as little-endian doubles. */
type RowIndex = Float64Array;

export function writeIndex(path: string, entries: number[]): void {
  writeFileSync(path, new Uint8Array(new Float64Array(entries).buffer));
}

export function readIndex(path: string): RowIndex {
  const bytes = readFileSync(path);
  return new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/** Offset from which reading forward meets every row with an id above `after`. */
export function offsetBefore(index: RowIndex, after: number): number {
  let low = 0;
  let high = index.length / 2;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((index[middle * 2] ?? 0) <= after) low = middle + 1;
    else high = middle;
  }
  return low === 0 ? 0 : (index[(low - 1) * 2 + 1] ?? 0);
}
