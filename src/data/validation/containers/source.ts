/** What reading a file needs: where its rows are, how they are split, and what the report says about it. */

import type { ProblemCode } from "../rows/problems.ts";
import type { Report } from "../rows/report.ts";
import type { Encoding } from "./charset.ts";

/** How the records of a text are split. `auto` decides by the first bytes. */
type Shape = "auto" | "jsonl" | "json_array" | "json_sequence" | "csv" | "text_lines" | "paragraphs";

/** How a version asks for its file to be read. */
export interface Reading {
  /** The encoding of a text; null = UTF-8, or what a byte order mark says. */
  encoding: Encoding | null;
  /** The file of an archive, the sheet of a workbook or the list of a JSON object to read. */
  part: string | null;
  /** Repair text that was decoded with the wrong code page. */
  repairText: boolean;
}

export const AS_IT_IS: Reading = { encoding: null, part: null, repairText: false };

/** The settings of a version with those of an earlier one for what is not given; null when all are the defaults. */
export function readingOf(given: Partial<Reading> | null | undefined, before: Reading | null): Reading | null {
  const from = before ?? AS_IT_IS;
  const reading = {
    encoding: given?.encoding ?? from.encoding,
    part: given?.part ?? from.part,
    repairText: given?.repairText ?? from.repairText,
  };
  return reading.encoding || reading.part !== null || reading.repairText ? reading : null;
}

export interface Note {
  code: ProblemCode;
  detail: string;
  sample?: string;
}

/** A text with rows, ready for the one pass. */
export interface Source {
  path: string;
  /** Name of the text; its extension is a hint. */
  filename: string;
  shape: Shape;
  /** Range of the rows in bytes. */
  from: number;
  to: number;
  /** Lines before `from`. */
  line: number;
  /** The delimiter that the file names itself (`sep=;`); null = as the header line says. */
  delimiter: string | null;
  /** CR when lines end with it alone. */
  lineBreak: 10 | 13;
  /** Name of the container for the report; null = the shape. */
  container: Report["container"];
  about: NonNullable<Report["source"]>;
  notes: Note[];
}

/** A file that is read as it is. */
export function plainSource(path: string, filename: string, size: number): Source {
  return {
    path,
    filename,
    shape: "auto",
    from: 0,
    to: size,
    line: 0,
    delimiter: null,
    lineBreak: 10,
    container: null,
    about: { compression: [], unpacked_bytes: null, part: null, other_parts: [] },
    notes: [],
  };
}
