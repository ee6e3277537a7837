/** Reads the header and the first records of a CSV file, and turns records into objects by the names of the columns. */
import type { CsvPreview } from "../rows/report.ts";
import { guessDelimiter, scanCsv, splitCells } from "../scan/csv.ts";

/** The column name of each field; `system` is optional. */
export interface CsvMapping {
  prompt: string;
  completion: string;
  system?: string;
}

/** The cells of a record by the names of their columns. */
export const objectOf = (columns: string[], cells: string[]): Record<string, unknown> =>
  Object.fromEntries(columns.map((column, at) => [column, cells[at] ?? ""]));

/** Records of the head, to decide how the columns are read. */
const HEAD_RECORDS = 51;

/** The cells of the first records after the header. */
export function firstCells(head: Buffer, whole: boolean, delimiter: string): string[][] {
  const records: string[][] = [];
  const scanner = scanCsv(head.length, delimiter, {
    record: (bytes, start, end) => {
      if (records.length < HEAD_RECORDS && end > start)
        records.push(splitCells(bytes.toString("utf8", start, end), delimiter));
    },
    tooLong() {},
    broken() {},
  });
  scanner.push(head);
  if (whole) scanner.end();
  return records.slice(1);
}

/**
 * Reads the header of a CSV file and the first records after it.
 * @param given the delimiter, when the file names it
 */
export function csvPreview(head: Buffer, whole: boolean, filename: string, given: string | null = null): CsvPreview {
  const stop = head.indexOf(10);
  const firstLine = head.toString("utf8", 0, stop < 0 ? head.length : stop);
  const delimiter = given ?? (/\.tsv$/i.test(filename) ? "\t" : guessDelimiter(firstLine));
  const records: string[][] = [];
  const scanner = scanCsv(head.length, delimiter, {
    record: (bytes, start, end) => {
      if (records.length < 6 && end > start) records.push(splitCells(bytes.toString("utf8", start, end), delimiter));
    },
    tooLong() {},
    broken() {},
  });
  scanner.push(head);
  if (whole) scanner.end();
  const columns = (records[0] ?? []).slice(0, 200).map((name) => name.trim());
  return {
    columns,
    delimiter,
    proposed: {},
    first_rows: records.slice(1).map((cells) => cells.slice(0, 200).map((cell) => cell.slice(0, 200))),
  };
}
