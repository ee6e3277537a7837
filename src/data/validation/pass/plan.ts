/** Decides from the first bytes of a file how its records are split and checked. */
import { type PlainRow, readPlain } from "../fast-path/plain-row.ts";
import type { RowRange } from "../fast-path/row-bytes.ts";
import { createTextRows } from "../fast-path/text-row.ts";
import { type CsvMapping, csvConverter, csvPreview, isObvious, mappingFault } from "../formats/csv.ts";
import { createCsvRows } from "../formats/csv-bytes.ts";
import { type Container, detectContainer, detectFormat, TYPE_FIELDS } from "../formats/detect.ts";
import type { RowFormat } from "../formats/format.ts";
import type { ProblemCode, Problems } from "../rows/problems.ts";
import type { Report } from "../rows/report.ts";
import type { Checked } from "../rows/types.ts";
import { splitCells } from "../scan/csv.ts";
import { createRowCheck, decode, type Valid } from "./row-check.ts";
import type { ValidateOutcome, ValidateTask } from "./task.ts";

/** Converts a common row without parsing it, and stores its counts in `Plan.counts`; null when it needs the check. */
type TakeRow = (bytes: Buffer, start: number, end: number) => RowRange | null;

interface Shortcut {
  take: TakeRow;
  /** Consecutive rows that this shortcut did not take. */
  misses: number;
}

type Check = (bytes: Buffer, start: number, end: number, valid: Valid) => Checked | null;

/** How the records of a file are split and checked. */
export interface Plan {
  container: Container;
  delimiter: string;
  /** The first record is a CSV header. */
  header: boolean;
  /** Byte fast paths that are tried before the check. */
  shortcuts: Shortcut[];
  /** The counts of the last row that a shortcut took. */
  counts: PlainRow;
  check: Check;
  finish(report: Report): void;
  /** The format of another row type that has more good rows than the plan's, once all rows are checked. */
  rival(good: number): RowFormat | null;
}

/** The start of the file. `whole` when that is all of it. */
export interface Head {
  head: Buffer;
  whole: boolean;
}

/** A plan, or the reason to stop before reading rows. */
type Decision = Plan | { stop: ValidateOutcome["status"]; code: ProblemCode | null; message: string };

const noCounts = (): PlainRow => ({ system: 0, user: 0, assistant: 0, characters: 0, alternatives: 0 });

function csvPlan(task: ValidateTask, { head, whole }: Head, report: Report, problems: Problems): Decision {
  const preview = csvPreview(head, whole, task.filename);
  report.csv = preview;
  report.format = "csv";
  const { columns, delimiter } = preview;
  const mapping = task.mapping ?? (isObvious(columns) ? preview.proposed : null);
  if (!mapping)
    return { stop: "needs_mapping", code: null, message: "Choose the columns for the prompt and the completion." };
  const fault = mappingFault(mapping, columns);
  if (fault)
    return { stop: "failed", code: "missing_field", message: `The column mapping does not match the file: ${fault}.` };
  const convert = csvConverter(columns, mapping as unknown as CsvMapping);
  const counts = noCounts();
  return {
    container: "csv",
    delimiter,
    header: true,
    counts,
    shortcuts: [{ take: createCsvRows(columns, mapping as unknown as CsvMapping, delimiter, counts), misses: 0 }],
    check: (bytes, start, end, valid) => {
      const text = decode(bytes, start, end, problems, valid);
      return text === null ? null : convert(splitCells(text, delimiter), problems);
    },
    finish() {},
    rival: () => null,
  };
}

function jsonShortcuts(
  format: RowFormat,
  container: Container,
  counts: PlainRow,
  noteIgnored: (key: string, value: unknown) => void,
): Shortcut[] {
  const lines = container === "jsonl";
  if (!format.layout) return [];
  const layout = { ...format.layout, onlyWithExtra: lines && format.layout.onlyWithExtra };
  const known = format.fields.union(TYPE_FIELDS);
  const shortcuts: Shortcut[] = [{ take: createTextRows(layout, known, counts, noteIgnored), misses: 0 }];
  if (lines && format.name === "chat")
    shortcuts.unshift({
      take: (bytes, from, to) => (readPlain(bytes, from, to, counts) ? { bytes, from, to } : null),
      misses: 0,
    });
  return shortcuts;
}

/**
 * Detects the container and the format from the first bytes, and stores them in the report.
 * @param elected the format, when it is known from all rows
 */
export function planFor(
  task: ValidateTask,
  start: Head,
  report: Report,
  problems: Problems,
  elected: RowFormat | null,
): Decision {
  const container = detectContainer(start.head, task.filename);
  if (typeof container !== "string") return { stop: "failed", ...container };
  report.container = container;
  if (container === "csv") return csvPlan(task, start, report, problems);
  const format = elected ?? detectFormat(start.head, container, start.whole);
  if (format && "message" in format) return { stop: "failed", ...format };
  const rows = createRowCheck(format, problems);
  const counts = noCounts();
  return {
    container,
    delimiter: ",",
    header: false,
    counts,
    shortcuts: format ? jsonShortcuts(format, container, counts, rows.noteIgnored) : [],
    check: rows.check,
    rival: rows.rival,
    finish(into) {
      into.format = rows.format?.name ?? null;
      into.row_type = rows.format?.type ?? "chat";
      into.ignored_fields = { ...rows.ignored };
    },
  };
}
