/**
 * The one pass over an uploaded file: scan, parse, check, convert, count, hash and write. Runs in a worker; memory does
 * not grow with the file.
 */
import { closeSync, fstatSync, mkdirSync, openSync, readSync, rmSync } from "node:fs";
import { type PlainRow, readPlain } from "../fast-path/plain-row.ts";
import type { RowRange } from "../fast-path/row-bytes.ts";
import { createTextRows } from "../fast-path/text-row.ts";
import { type CsvMapping, csvConverter, csvPreview, isObvious, mappingFault } from "../formats/csv.ts";
import { createCsvRows } from "../formats/csv-bytes.ts";
import { type Container, detectContainer, detectFormat, TYPE_FIELDS } from "../formats/detect.ts";
import type { RowFormat } from "../formats/format.ts";
import { createHashSet } from "../rows/duplicates.ts";
import { createProblems, failureText, type ProblemCode, type Problems } from "../rows/problems.ts";
import type { Report } from "../rows/report.ts";
import { createStatistics } from "../rows/statistics.ts";
import type { Checked } from "../rows/types.ts";
import { scanCsv, splitCells } from "../scan/csv.ts";
import { scanJsonArray } from "../scan/json-array.ts";
import { type RecordSink, scanLines } from "../scan/lines.ts";
import { createRowCheck, decode, isValid, type Valid, validLines } from "./row-check.ts";
import { createRowWriter, hashRow } from "./row-writer.ts";

export interface ValidateTask {
  /** The uploaded file, and the name it came under (its ending is a hint). */
  source: string;
  filename: string;
  /** Directory for the canonical rows; made here, removed again when the version does not become ready. */
  outDir: string;
  mapping: Record<string, string> | null;
  seed: number;
  /** Share held out, 0 to 0.5. */
  holdoutFraction: number;
  /** Leave bad rows out instead of failing. */
  skipBad: boolean;
  maxLineBytes: number;
  /** Bytes of the disk that must stay free; less ends the validation with the code `disk_full`. */
  diskReserve: number;
}

export interface ValidateOutcome {
  status: "ready" | "failed" | "needs_mapping";
  /** sha256 over the canonical rows and the split settings; null unless ready. */
  hash: string | null;
  /** Why it failed, in one or a few sentences with line numbers. */
  error: string | null;
  report: Report;
}

const CHUNK = 1 << 20;
const HEAD = 1 << 18;
const MISSES = 64;
const BOM = Buffer.from([0xef, 0xbb, 0xbf]);

function emptyReport(task: ValidateTask, bytes: number): Report {
  return {
    format: null,
    row_type: "chat",
    container: null,
    bytes,
    rows: 0,
    bad_rows: 0,
    blank_lines: 0,
    bad_rows_left_out: false,
    encoding: { bom: false, line_endings: "lf" },
    ...createStatistics().result(),
    duplicates: { rows: 0, complete: true },
    ignored_fields: {},
    split: { seed: task.seed, holdout_fraction: task.holdoutFraction, train_rows: 0, holdout_rows: 0 },
    problems: [],
    csv: null,
    took_ms: 0,
  };
}

/** Takes a common kind of row without parsing it and counts it in `PlainRow`; null leaves it to the check. */
type TakeRow = (bytes: Buffer, start: number, end: number) => RowRange | null;

interface Shortcut {
  take: TakeRow;
  /** Rows it did not take since the last one it took. */
  misses: number;
}

type Check = (bytes: Buffer, start: number, end: number, valid: Valid) => Checked | null;

/** How records are cut and checked, once the first bytes were looked at. */
interface Plan {
  container: Container;
  delimiter: string;
  /** The first record of CSV is the header and no row. */
  header: boolean;
  /** Ways to take a row by its bytes, tried before the check. */
  shortcuts: Shortcut[];
  /** What the last row taken by a shortcut counts as. */
  counts: PlainRow;
  check: Check;
  finish(report: Report): void;
}

type Decision = Plan | { stop: ValidateOutcome["status"]; code: ProblemCode | null; message: string };

function csvPlan(task: ValidateTask, head: Buffer, whole: boolean, report: Report, problems: Problems): Decision {
  const preview = csvPreview(head, whole, task.filename);
  report.csv = preview;
  report.format = "csv";
  const { columns, delimiter } = preview;
  const mapping = task.mapping ?? (isObvious(columns) ? preview.proposed : null);
  if (!mapping)
    return { stop: "needs_mapping", code: null, message: "Say which column is the prompt and which the completion." };
  const fault = mappingFault(mapping, columns);
  if (fault) return { stop: "failed", code: "missing_field", message: `The column mapping does not fit: ${fault}.` };
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
  };
}

const noCounts = (): PlainRow => ({ system: 0, user: 0, assistant: 0, characters: 0 });

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

/** Decides container and format from the first bytes. */
function plan(task: ValidateTask, head: Buffer, whole: boolean, report: Report, problems: Problems): Decision {
  const container = detectContainer(head, task.filename);
  if (typeof container !== "string") return { stop: "failed", ...container };
  report.container = container;
  if (container === "csv") return csvPlan(task, head, whole, report, problems);
  const format = detectFormat(head, container, whole);
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
    finish(into) {
      into.format = rows.format?.name ?? null;
      into.row_type = rows.format?.type ?? "chat";
      into.ignored_fields = { ...rows.ignored };
    },
  };
}

/** Hands out the whole file, from `offset`, in chunks that are valid during the call. */
function readThrough(
  fd: number,
  offset: number,
  onChunk: (chunk: Buffer) => void,
  onProgress: (bytesRead: number) => void,
) {
  const buffer = Buffer.allocUnsafe(CHUNK);
  for (let at = offset; ; ) {
    const got = readSync(fd, buffer, 0, CHUNK, at);
    if (got === 0) return;
    onChunk(got === CHUNK ? buffer : buffer.subarray(0, got));
    at += got;
    onProgress(at);
  }
}

function readHead(fd: number): { head: Buffer; whole: boolean; bom: boolean } {
  const buffer = Buffer.alloc(HEAD);
  const got = readSync(fd, buffer, 0, HEAD, 0);
  const bom = got >= 3 && buffer.subarray(0, 3).equals(BOM);
  return { head: buffer.subarray(bom ? 3 : 0, got), whole: got < HEAD, bom };
}

/** First byte above space in a range; records may have blanks around them. */
function trimmed(bytes: Buffer, start: number, end: number): [number, number] {
  let from = start;
  let to = end;
  while (from < to && (bytes[from] ?? 0) <= 32) from++;
  while (to > from && (bytes[to - 1] ?? 0) <= 32) to--;
  return [from, to];
}

function pass(
  task: ValidateTask,
  fd: number,
  offset: number,
  decided: Plan,
  report: Report,
  problems: Problems,
  onProgress: (n: number) => void,
) {
  const statistics = createStatistics();
  const seen = createHashSet();
  const writer = createRowWriter(task.outDir, task.seed, task.holdoutFraction, task.diskReserve);
  const scratch = { bytes: Buffer.allocUnsafe(1 << 16) };
  const { container } = decided;
  let writing = true;
  let header = decided.header;
  let crlf = 0;
  let records = 0;
  let valid: Valid = { bytes: null, from: 0, to: 0 };

  function keep(checked: Checked, bytes: Buffer, start: number, end: number) {
    statistics.add(checked.row);
    // Bytes of the file are kept as they are when the row is canonical already; in an array a row may go over several
    // lines.
    if (checked.same && container === "jsonl") {
      store(bytes, start, end);
      return;
    }
    const text = JSON.stringify(checked.row);
    if (text.length * 3 > scratch.bytes.length) scratch.bytes = Buffer.allocUnsafe(text.length * 3);
    store(scratch.bytes, 0, scratch.bytes.write(text, 0, "utf8"));
  }

  function store(bytes: Buffer, start: number, end: number) {
    const hash = hashRow(bytes.subarray(start, end));
    if (seen.seen(hash.lo, hash.hi))
      problems.add("duplicate", "", bytes.toString("utf8", start, Math.min(end, start + 200)));
    report.rows++;
    if (writing) writer.addBytes(bytes, start, end, hash);
  }

  /** Tries the shortcuts. One that takes no row of a file is asked only now and then. */
  function takenShort(bytes: Buffer, from: number, to: number): boolean {
    for (const shortcut of decided.shortcuts) {
      if (shortcut.misses >= MISSES && records % MISSES !== 0) continue;
      const row = shortcut.take(bytes, from, to);
      if (row) {
        shortcut.misses = 0;
        statistics.addPlain(decided.counts);
        store(row.bytes, row.from, row.to);
        return true;
      }
      shortcut.misses++;
    }
    return false;
  }

  function bad() {
    report.bad_rows++;
    // A version with a bad row never becomes ready, so its rows need no disk; the check goes on to the end all the
    // same.
    if (!task.skipBad) writing = false;
  }

  const sink: RecordSink = {
    record(bytes, start, end, line) {
      records++;
      const [from, to] = trimmed(bytes, start, end);
      if (from === to) {
        report.blank_lines++;
        return;
      }
      if (header) {
        header = false;
        return;
      }
      problems.at(line);
      // Spaces around a record of CSV belong to its cells.
      const [first, last] = container === "csv" ? [start, end] : [from, to];
      if (isValid(valid, bytes, first, last) && takenShort(bytes, first, last)) return;
      const checked = decided.check(bytes, first, last, valid);
      if (checked) keep(checked, bytes, from, to);
      else bad();
    },
    tooLong(line, bytes) {
      problems.at(line);
      problems.add("line_too_long", "", "", `${bytes} bytes; at most ${task.maxLineBytes} are accepted`);
      bad();
    },
    broken(line, detail) {
      problems.at(line);
      problems.add(container === "csv" ? "unclosed_quote" : "broken_array", "", "", detail);
      bad();
    },
  };
  const onCrlf = () => {
    crlf++;
  };
  const scanner =
    container === "csv"
      ? scanCsv(task.maxLineBytes, decided.delimiter, sink, onCrlf)
      : container === "json_array"
        ? scanJsonArray(task.maxLineBytes, sink)
        : scanLines(task.maxLineBytes, sink, onCrlf);
  try {
    const onChunk = (chunk: Buffer) => {
      valid = validLines(chunk);
      scanner.push(chunk);
    };
    readThrough(fd, offset, onChunk, onProgress);
    scanner.end();
  } catch (error) {
    writer.drop();
    throw error;
  }
  decided.finish(report);
  Object.assign(report, statistics.result());
  report.duplicates = { rows: problems.count("duplicate"), complete: seen.complete };
  if (crlf > 0) {
    report.encoding.line_endings = crlf >= records - 1 ? "crlf" : "mixed";
    problems.at(1);
    problems.add("crlf");
  }
  return writer;
}

function settle(
  task: ValidateTask,
  writer: ReturnType<typeof createRowWriter>,
  report: Report,
  problems: Problems,
  onProgress: () => void,
): ValidateOutcome {
  problems.at(0);
  if (report.bad_rows > 0 && task.skipBad && report.rows > 0) {
    report.bad_rows_left_out = true;
    problems.add("bad_rows_left_out", "", "", `${report.bad_rows} rows`);
  }
  if (report.rows === 0) problems.add(report.bad_rows > 0 ? "no_rows" : "empty_file");
  else if (report.rows < 10) problems.add("few_rows", "", "", `${report.rows} rows`);
  report.problems = problems.list();
  if (report.rows === 0 || (report.bad_rows > 0 && !task.skipBad)) {
    writer.drop();
    return { status: "failed", hash: null, error: failureText(report), report };
  }
  const done = writer.finish(onProgress);
  report.split.train_rows = done.trainRows;
  report.split.holdout_rows = done.holdoutRows;
  return { status: "ready", hash: done.hash, error: null, report };
}

/**
 * Validates one file and writes its canonical rows into `task.outDir` (train.jsonl, holdout.jsonl and their indexes).
 * @param onProgress called with bytes read after every mebibyte
 * @throws only on failures of the disk; everything wrong with the data is in the outcome
 */
export function validateFile(task: ValidateTask, onProgress: (bytesRead: number) => void = () => {}): ValidateOutcome {
  const started = performance.now();
  const fd = openSync(task.source, "r");
  try {
    const report = emptyReport(task, fstatSync(fd).size);
    const problems = createProblems();
    const { head, whole, bom } = readHead(fd);
    report.encoding.bom = bom;
    problems.at(1);
    if (bom) problems.add("bom");
    const decided = plan(task, head, whole, report, problems);
    if ("stop" in decided) {
      if (decided.code) problems.add(decided.code, "", "", decided.message);
      report.problems = problems.list();
      return { status: decided.stop, hash: null, error: decided.message, report };
    }
    rmSync(task.outDir, { recursive: true, force: true });
    mkdirSync(task.outDir, { recursive: true, mode: 0o700 });
    const writer = pass(task, fd, bom ? BOM.length : 0, decided, report, problems, onProgress);
    const outcome = settle(task, writer, report, problems, () => onProgress(report.bytes));
    if (outcome.status !== "ready") rmSync(task.outDir, { recursive: true, force: true });
    report.took_ms = Math.round(performance.now() - started);
    return outcome;
  } finally {
    closeSync(fd);
  }
}
