/**
 * Validates an uploaded file in one pass: scan, parse, check, convert, count, hash and write. Runs in a worker; its
 * memory use does not depend on the file size.
 */
import { closeSync, mkdirSync, openSync, readSync, rmSync, statSync } from "node:fs";
import { encodingGuess } from "../containers/charset.ts";
import { openSource } from "../containers/open.ts";
import { clearWork } from "../containers/opening.ts";
import { plainSource, type Source } from "../containers/source.ts";
import { Unreadable } from "../containers/unreadable.ts";
import { createProblems, failureText, type ProblemCode, type Problems } from "../rows/problems.ts";
import type { Report } from "../rows/report.ts";
import { createStatistics } from "../rows/statistics.ts";
import { scanCsv } from "../scan/csv.ts";
import { scanJsonArray } from "../scan/json-array.ts";
import { type Scanner, scanLines } from "../scan/lines.ts";
import { scanParagraphs } from "../scan/paragraphs.ts";
import { createFaults } from "./faults.ts";
import { type Head, type Plan, planFor } from "./plan.ts";
import { createRecords } from "./records.ts";
import type { Reading } from "./row-check.ts";
import type { ValidateOutcome, ValidateTask } from "./task.ts";

const CHUNK = 1 << 20;
const HEAD = 1 << 18;
const LF = 10;
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
    duplicates: { rows: 0, near: 0, removed: 0, pairs: [], complete: true },
    ignored_fields: {},
    split: { seed: task.seed, holdout_fraction: task.holdoutFraction, train_rows: 0, holdout_rows: 0 },
    problems: [],
    csv: null,
    took_ms: 0,
  };
}

/** Reads a range of the file. A chunk is valid only during the call of `onChunk`. */
function readThrough(
  fd: number,
  range: { from: number; to: number },
  onChunk: (chunk: Buffer) => void,
  onProgress: (bytesRead: number) => void,
) {
  const buffer = Buffer.allocUnsafe(CHUNK);
  for (let at = range.from; at < range.to; ) {
    const got = readSync(fd, buffer, 0, Math.min(CHUNK, range.to - at), at);
    if (got === 0) return;
    onChunk(got === CHUNK ? buffer : buffer.subarray(0, got));
    at += got;
    onProgress(at);
  }
}

/** The start of the rows. Lines that end with CR end with LF in it. */
function readHead(fd: number, { from, to, lineBreak }: Source): Head & { bom: boolean } {
  const buffer = Buffer.alloc(Math.min(HEAD, to - from));
  const got = readSync(fd, buffer, 0, buffer.length, from);
  const bom = got >= 3 && buffer.subarray(0, 3).equals(BOM);
  if (lineBreak !== LF)
    for (let at = buffer.indexOf(lineBreak); at >= 0; at = buffer.indexOf(lineBreak, at)) buffer[at] = LF;
  return { head: buffer.subarray(bom ? 3 : 0, got), whole: got === to - from, bom };
}

type Records = ReturnType<typeof createRecords>;

function scannerFor(task: ValidateTask, source: Source, plan: Plan, records: Records): Scanner {
  const { sink, onCrlf, onTrailingComma } = records;
  const { container, delimiter } = plan;
  const { lineBreak } = source;
  if (container === "csv") return scanCsv(task.maxLineBytes, delimiter, sink, onCrlf, lineBreak);
  if (container === "json_array" || container === "json_sequence")
    return scanJsonArray(task.maxLineBytes, sink, {
      sequence: container === "json_sequence",
      onTrailingComma,
      lineBreak,
    });
  const scan = container === "paragraphs" ? scanParagraphs : scanLines;
  return scan(task.maxLineBytes, sink, onCrlf, lineBreak);
}

/** Passes the rows through the records. Deletes the temporary file on an error. */
function pass(
  task: ValidateTask,
  from: { fd: number; source: Source; bom: boolean },
  plan: Plan,
  records: Records,
  onProgress: (bytesRead: number) => void,
) {
  const { fd, source, bom } = from;
  const scanner = scannerFor(task, source, plan, records);
  try {
    const onChunk = (chunk: Buffer) => {
      records.begin(chunk);
      scanner.push(chunk);
    };
    readThrough(fd, { from: source.from + (bom ? BOM.length : 0), to: source.to }, onChunk, onProgress);
    scanner.end();
  } catch (error) {
    records.writer.drop();
    throw error;
  }
  records.finish();
}

/** Decides the outcome after the last record, and completes the files of a ready version. */
function settle(
  task: ValidateTask,
  { writer, labels }: Records,
  report: Report,
  problems: Problems,
  onProgress: () => void,
): ValidateOutcome {
  problems.at(0);
  const doubtful = task.skipBad === true && report.rows > 0 && report.bad_rows > report.rows;
  if (doubtful) problems.add("most_rows_bad", "", "", `${report.bad_rows} of ${report.bad_rows + report.rows} rows`);
  else if (report.bad_rows > 0 && task.skipBad && report.rows > 0) {
    report.bad_rows_left_out = true;
    problems.add("bad_rows_left_out", "", "", `${report.bad_rows} rows`);
  }
  if (report.rows === 0) problems.add(report.bad_rows > 0 ? "no_rows" : "empty_file");
  else if (report.rows < 10) problems.add("few_rows", "", "", `${report.rows} rows`);
  report.problems = problems.list();
  if (report.rows === 0 || doubtful || (report.bad_rows > 0 && !task.skipBad)) {
    writer.drop();
    return { status: "failed", hash: null, error: failureText(report), report };
  }
  const done = writer.finish(labels.counts(), onProgress);
  report.split.train_rows = done.trainRows;
  report.split.holdout_rows = done.holdoutRows;
  if (done.holdoutRows > 0) {
    report.split.by = done.splitBy;
    if (done.splitBy === "row") problems.add("prompts_shared");
    report.problems = problems.list();
  }
  return { status: "ready", hash: done.hash, error: null, report };
}

/** A failure before the first row. */
function stopped(report: Report, problems: Problems, stop: { code: ProblemCode | null; message: string }) {
  if (stop.code) problems.add(stop.code, "", "", stop.message);
  report.problems = problems.list();
  return { hash: null, error: stop.message, report };
}

/** Reports what was done to open the file, and offers a conversion when the text is not UTF-8. */
function noteSource(source: Source, head: Buffer, report: Report, problems: Problems) {
  problems.at(0);
  report.source = source.about;
  if (source.lineBreak !== LF) report.encoding.line_endings = "cr";
  for (const { code, detail, sample } of source.notes) {
    problems.add(code, "", sample ?? "", detail);
    if (code === "encoding_converted") report.encoding.converted_from = detail.replace("from ", "");
  }
  const proposed = encodingGuess(head);
  if (proposed) {
    report.encoding.proposed = proposed;
    problems.add("other_encoding", "", proposed.sample, `as ${proposed.encoding}: ${proposed.sample}`);
  }
  problems.at(1);
}

/** Reads the file once, with what is `learned` from all rows when it has been read before. */
function readOnce(
  task: ValidateTask,
  from: { fd: number; source: Source },
  learned: Reading | null,
  onProgress: (bytesRead: number) => void,
): ValidateOutcome | Reading {
  const { fd, source } = from;
  const report = emptyReport(task, statSync(task.source).size);
  const faults = createFaults(task.faults, createProblems());
  const { problems } = faults;
  const { bom, ...start } = readHead(fd, source);
  report.encoding.bom = bom;
  noteSource(source, start.head, report, problems);
  if (bom) problems.add("bom");
  const plan = planFor(task, { source, start }, report, problems, learned);
  if ("stop" in plan) return { status: plan.stop, ...stopped(report, problems, plan) };
  rmSync(task.outDir, { recursive: true, force: true });
  mkdirSync(task.outDir, { recursive: true, mode: 0o700 });
  const records = createRecords(task, plan, report, faults, source.line);
  pass(task, { fd, source, bom }, plan, records, onProgress);
  faults.close();
  const lesson = learned ? null : plan.lesson(report.rows);
  if (lesson) {
    records.writer.drop();
    return lesson;
  }
  const outcome = settle(task, records, report, problems, () => onProgress(report.bytes));
  const { proposed } = report.encoding;
  if (outcome.status === "failed" && proposed)
    outcome.error = `The text is not UTF-8. As ${proposed.encoding} it reads "${proposed.sample}". Accept this conversion (\`encoding\`), or save the file as UTF-8.`;
  return outcome;
}

/**
 * Validates one text and writes its canonical rows into `task.outDir` (train.jsonl, holdout.jsonl and their indexes).
 * The first rows suggest how to read the file. When all rows show another row type, or that null in tool calls is
 * padding, the file is read again.
 * @param onProgress called with the bytes read after each MiB
 * @param source what the file was opened as; by default it is read as it is
 * @throws only for disk errors; all problems of the data are in the outcome
 */
export function validateFile(
  task: ValidateTask,
  onProgress: (bytesRead: number) => void = () => {},
  source: Source = plainSource(task.source, task.filename, statSync(task.source).size),
): ValidateOutcome {
  const started = performance.now();
  const fd = openSync(source.path, "r");
  try {
    const from = { fd, source };
    const first = readOnce(task, from, null, onProgress);
    const outcome = "status" in first ? first : (readOnce(task, from, first, onProgress) as ValidateOutcome);
    if (outcome.status !== "ready") rmSync(task.outDir, { recursive: true, force: true });
    outcome.report.took_ms = Math.round(performance.now() - started);
    return outcome;
  } finally {
    closeSync(fd);
  }
}

/**
 * Opens a file of any kind and validates what it holds.
 * @param onProgress called with bytes of the uploaded file
 * @throws only for disk errors; all problems of the data are in the outcome
 */
export async function validateAny(
  task: ValidateTask,
  onProgress: (bytesRead: number) => void = () => {},
): Promise<ValidateOutcome> {
  const started = performance.now();
  const { size } = statSync(task.source);
  try {
    const source = await openSource(task, onProgress);
    const inPlace = source.path === task.source;
    // Unpacking was the first half of the work.
    const progress = inPlace
      ? onProgress
      : (read: number) => onProgress(Math.min(size, size / 2 + (read / Math.max(1, source.to)) * (size / 2)));
    const outcome = validateFile(task, progress, source);
    outcome.report.took_ms = Math.round(performance.now() - started);
    return outcome;
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    const problems = createProblems();
    problems.at(0);
    const report = emptyReport(task, size);
    if (error.about) report.source = error.about;
    return { status: "failed", ...stopped(report, problems, error) };
  } finally {
    clearWork(task.outDir);
  }
}
