/**
 * A sparse index over a file of canonical rows: pairs of row id and byte offset. One short read finds any page of a
 * large file.
 */
import { readFileSync, writeFileSync } from "node:fs";

/** Rows per index entry. */
export const INDEX_EVERY = 256;

/** Entries in file order: id, offset, id, offset, … as little-endian doubles. */
type RowIndex = Float64Array;

export function writeIndex(path: string, entries: number[]): void {
  writeFileSync(path, new Uint8Array(new Float64Array(entries).buffer));
}

export function readIndex(path: string): RowIndex {
  const bytes = readFileSync(path);
  return new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/** Offset to start reading at so that no row with an id above `after` is missed. */
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
