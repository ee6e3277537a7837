/**
 * Converts CSV records as bytes, without decoding the cells. Unusual records go to the full check in csv.ts. A test
 * compares the results of both.
 */
import type { PlainRow } from "../fast-path/plain-row.ts";
import { createRowBytes, type PlainRole, type RowRange } from "../fast-path/row-bytes.ts";
import { maybeBlank, QUOTE } from "../fast-path/text-bytes.ts";
import { MAX_ROW } from "../fast-path/text-row.ts";
import { indexNear } from "../scan/lines.ts";
import type { CsvMapping } from "./csv.ts";

/** Most bytes of one escaped character (a control character). */
const MAX_ESCAPED = 6;

/**
 * Creates a reader for records with these columns.
 * @returns the canonical row, valid until the next call, with its counts in `counts`; null when the record needs the
 *   full check
 */
export function createCsvRows(
  columns: string[],
  mapping: CsvMapping,
  delimiter: string,
  counts: PlainRow,
): (bytes: Buffer, start: number, end: number) => RowRange | null {
  const comma = delimiter.charCodeAt(0);
  const system = mapping.system === undefined ? -1 : columns.indexOf(mapping.system);
  const prompt = columns.indexOf(mapping.prompt);
  const completion = columns.indexOf(mapping.completion);
  const froms: number[] = [];
  const tos: number[] = [];
  const quoted: boolean[] = [];
  const row = createRowBytes(counts);

  /** Finds the cells. False for a wrong number of cells or misplaced quotes. */
  function find(bytes: Buffer, start: number, end: number): boolean {
    let at = start;
    for (let cell = 0; cell < columns.length; cell++) {
      quoted[cell] = bytes[at] === QUOTE && at < end;
      let stop: number;
      if (quoted[cell]) {
        stop = indexNear(bytes, QUOTE, ++at);
        while (stop + 1 < end && bytes[stop + 1] === QUOTE) stop = indexNear(bytes, QUOTE, stop + 2);
        if (stop >= end) return false;
      } else {
        stop = bytes.indexOf(comma, at);
        if (stop < 0 || stop > end) stop = end;
      }
      froms[cell] = at;
      tos[cell] = stop;
      at = quoted[cell] ? stop + 1 : stop;
      const isLast = cell === columns.length - 1;
      if (isLast ? at !== end : at >= end || bytes[at] !== comma) return false;
      at++;
    }
    return true;
  }

  const isGiven = (cell: number) => (froms[cell] ?? 0) < (tos[cell] ?? 0);
  const isBlank = (bytes: Buffer, cell: number) => maybeBlank(bytes, froms[cell] ?? 0, tos[cell] ?? 0, false);
  function put(role: PlainRole, bytes: Buffer, cell: number) {
    row.turn(role);
    row.cell(bytes, froms[cell] ?? 0, tos[cell] ?? 0, quoted[cell] ?? false);
    row.endTurn();
  }

  return (bytes, start, end) => {
    if (end - start > MAX_ROW || !find(bytes, start, end)) return null;
    if (isBlank(bytes, prompt) || isBlank(bytes, completion)) return null;
    if (system >= 0 && isGiven(system) && isBlank(bytes, system)) return null;
    row.begin((end - start) * MAX_ESCAPED, 3);
    if (system >= 0 && isGiven(system)) put("system", bytes, system);
    put("user", bytes, prompt);
    put("assistant", bytes, completion);
    row.end();
    return row;
  };
}
