/** Decides from the first bytes of a file how its records are split and checked. */

import type { Source } from "../containers/source.ts";
import { createPlainRows, type PlainRow } from "../fast-path/plain-row.ts";
import type { RowRange } from "../fast-path/row-bytes.ts";
import { createTextRows } from "../fast-path/text-row.ts";
import { type CsvMapping, csvPreview, firstCells, objectOf } from "../formats/csv.ts";
import { createCsvRows } from "../formats/csv-bytes.ts";
import { decide } from "../formats/decide.ts";
import { type Container, checkedFields, detectContainer, elect, firstObjects } from "../formats/detect.ts";
import type { RowFormat, Threads } from "../formats/format.ts";
import { lateColumn } from "../mapping/columns.ts";
import type { Mapping } from "../mapping/model.ts";
import { isBlank } from "../mapping/values.ts";
import type { JsonObject } from "../rows/chat.ts";
import type { ProblemCode, Problems } from "../rows/problems.ts";
import type { Report } from "../rows/report.ts";
import { createRowText } from "../rows/row-text.ts";
import type { Checked } from "../rows/types.ts";
import { splitCells } from "../scan/csv.ts";
import { notJson } from "./not-json.ts";
import { createRowCheck, decode, type Reading, type Valid } from "./row-check.ts";
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
  /** Collects rows that become conversations after the last record. */
  threads?: Threads;
  finish(report: Report): void;
  /** How to read the file instead, when all rows show that the plan is wrong. @param good its good rows */
  lesson(good: number): Reading | null;
}

/** The start of the file. `whole` when that is all of it. */
export interface Head {
  head: Buffer;
  whole: boolean;
}

/** A plan, or the reason to stop before reading rows. */
type Decision = Plan | Stop;

interface Stop {
  stop: ValidateOutcome["status"];
  code: ProblemCode | null;
  message: string;
}

const noCounts = (): PlainRow => ({ system: 0, user: 0, assistant: 0, characters: 0, alternatives: 0 });

/**
 * The format of a file with these first rows, or the reason to stop. Null when no row could be read: validation then
 * reports the fault of each.
 */
function formatFor(
  task: ValidateTask,
  rows: JsonObject[],
  isTable: boolean,
  report: Report,
  problems: Problems,
  elected: RowFormat | null = null,
): RowFormat | Stop | null {
  if (rows.length === 0) return null;
  const decided = decide(rows, elected ?? elect(rows), task.mapping, isTable);
  report.mapping = decided.reading;
  if (report.csv) report.csv.proposed = proposedTexts(decided.reading.proposed);
  if (decided.outcome !== "read") {
    const { message, outcome } = decided;
    return outcome === "ask"
      ? { stop: "needs_mapping", code: null, message }
      : { stop: "failed", code: "missing_field", message };
  }
  if (decided.remark) {
    problems.at(0);
    problems.add("read_as", "", "", decided.remark);
    problems.at(1);
  }
  return decided.format;
}

/** Adds fields that only later rows have to those that the user can map. */
function addLate({ mapping: reading }: Report, unread: Map<string, unknown>) {
  const known = new Set(reading?.columns.map(({ name }) => name));
  for (const [name, value] of unread) if (!known.has(name)) reading?.columns.push(lateColumn(name, value));
}

/** The parts of a mapping that are a single column. */
const proposedTexts = (mapping: Mapping | null): Record<string, string> =>
  Object.fromEntries(
    Object.entries(mapping ?? {}).filter((entry): entry is [string, string] => typeof entry[1] === "string"),
  );

/** The columns of a format that reads one question and one answer as they are; null for any other format. */
function pairColumns({ layout, mapping }: RowFormat): CsvMapping | null {
  const { pair, system } = layout ?? {};
  const [prompt, context] = pair?.user ?? [];
  if (!pair || !prompt || context || pair.rejected || mapping?.history || mapping?.tools) return null;
  return { prompt, completion: pair.assistant, ...(system ? { system } : {}) };
}

/** Names the columns whose name another one has already. */
function noteDoubles(columns: string[], problems: Problems) {
  const seen = new Set<string>();
  for (const column of columns) {
    if (column !== "" && seen.has(column)) problems.add("duplicate_column", column, "", `"${column}"`);
    seen.add(column);
  }
}

function csvPlan(task: ValidateTask, source: Source, start: Head, report: Report, problems: Problems): Decision {
  const { head, whole } = start;
  const preview = csvPreview(head, whole, source.filename, source.delimiter);
  noteDoubles(preview.columns, problems);
  report.csv = preview;
  report.format = "csv";
  const { columns, delimiter } = preview;
  const cells = firstCells(head, whole, delimiter).filter((record) => record.length === columns.length);
  const records = cells.length > 0 ? cells : [[]];
  const format = formatFor(
    task,
    records.map((record) => objectOf(columns, record)),
    true,
    report,
    problems,
  );
  if (!format || "stop" in format)
    return format ?? { stop: "failed", code: "empty_file", message: "The file is empty." };
  const rows = createRowCheck(format, problems);
  const kinds = new Map(report.mapping?.columns.map(({ name, kind }) => [name, kind]));
  const open = columns.filter((column) => !format.fields.has(column));
  const unused = open.filter((column) => kinds.get(column) !== "empty");
  for (const column of unused) rows.noteIgnored(column, () => "");
  // Columns without a value so far are reported when they have one.
  const later = open.filter((column) => !unused.includes(column));
  const counts = noCounts();
  const mapping = pairColumns(format);
  return {
    container: "csv",
    delimiter,
    header: true,
    counts,
    threads: format.threads,
    shortcuts:
      mapping && later.length === 0 ? [{ take: createCsvRows(columns, mapping, delimiter, counts), misses: 0 }] : [],
    check(bytes, start, end, valid) {
      const text = decode(bytes, start, end, problems, valid);
      if (text === null) return null;
      const cells = splitCells(text, delimiter, () => problems.add("escaped_quote", "", text));
      if (problems.rowErrors() > 0) return null;
      if (cells.length !== columns.length) {
        problems.add("wrong_columns", "", cells.join(" | "), `${cells.length} instead of ${columns.length}`);
        return null;
      }
      const row = objectOf(columns, cells);
      for (const column of later) if (!isBlank(row[column])) rows.noteIgnored(column, () => row[column]);
      const checked = format.convert(row, problems);
      // Cells may hold JSON.
      return checked && rows.tidied({ ...checked, marked: true });
    },
    finish(into) {
      into.row_type = format.type;
      into.ignored_fields = {
        ...rows.ignored,
        ...Object.fromEntries(unused.map((column) => [column, into.rows])),
      };
    },
    lesson: () => null,
  };
}

function jsonShortcuts(
  format: RowFormat,
  container: Container,
  counts: PlainRow,
  noteIgnored: (key: string, value: () => unknown) => void,
): Shortcut[] {
  const lines = container === "jsonl";
  const text = createRowText();
  const rows = createPlainRows(counts, text);
  const plain = (read: typeof rows.chat): Shortcut => ({
    take: (bytes, from, to) => (read(bytes, from, to) ? { bytes, from, to, text } : null),
    misses: 0,
  });
  if (lines && format.name === "text") return [plain(rows.text)];
  if (!format.layout) return [];
  const layout = { ...format.layout, onlyWithExtra: lines && format.layout.onlyWithExtra };
  const known = checkedFields(format);
  const shortcuts: Shortcut[] = [{ take: createTextRows(layout, known, counts, noteIgnored), misses: 0 }];
  if (lines && format.name === "chat") shortcuts.unshift(plain(rows.chat));
  return shortcuts;
}

/** Each record is a text. */
function textPlan(container: Container, report: Report, problems: Problems): Plan {
  report.format = "text";
  report.row_type = "text";
  return {
    container,
    delimiter: ",",
    header: false,
    counts: noCounts(),
    shortcuts: [],
    check: (bytes, start, end, valid) => {
      const text = decode(bytes, start, end, problems, valid);
      return text === null ? null : { row: { text }, same: false };
    },
    finish() {},
    lesson: () => null,
  };
}

/** The name of a container in the report. */
const containerName = (container: Container): Report["container"] =>
  container === "text_lines" || container === "paragraphs" ? "text" : container;

/**
 * Detects the container and the format from the first bytes, and stores them in the report.
 * @param learned what is known from all rows
 */
export function planFor(
  task: ValidateTask,
  from: { source: Source; start: Head },
  report: Report,
  problems: Problems,
  learned: Reading | null,
): Decision {
  const { source, start } = from;
  const container = source.shape === "auto" ? detectContainer(start.head, source.filename) : source.shape;
  if (typeof container !== "string") return { stop: "failed", ...container };
  report.container = source.container ?? containerName(container);
  if (container === "csv") return csvPlan(task, source, start, report, problems);
  if (container === "text_lines" || container === "paragraphs") return textPlan(container, report, problems);
  const first = firstObjects(start.head, container, start.whole);
  const format = formatFor(task, first, false, report, problems, learned?.format ?? null);
  if (format && "stop" in format) return format;
  const fault = format || container !== "jsonl" ? null : notJson(start.head, start.whole);
  if (fault) return { stop: "failed", code: "not_json", message: fault };
  const rows = createRowCheck(format, problems, learned?.padded);
  const counts = noCounts();
  return {
    container,
    delimiter: ",",
    header: false,
    counts,
    shortcuts: format ? jsonShortcuts(format, container, counts, rows.noteIgnored) : [],
    check: rows.check,
    lesson: rows.lesson,
    threads: format?.threads,
    finish(into) {
      into.format = rows.format?.name ?? null;
      into.row_type = rows.format?.type ?? "chat";
      into.ignored_fields = { ...rows.ignored };
      addLate(into, rows.unread);
    },
  };
}
