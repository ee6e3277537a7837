/**
 * Validates an uploaded file in one pass: scan, parse, check, convert, count, hash and write. Runs in a worker; its
 * memory use does not depend on the file size.
 */
import { closeSync, fstatSync, mkdirSync, openSync, readSync, rmSync } from "node:fs";
import { createProblems, failureText, type Problems } from "../rows/problems.ts";
import type { Report } from "../rows/report.ts";
import { createStatistics } from "../rows/statistics.ts";
import { scanCsv } from "../scan/csv.ts";
import { scanJsonArray } from "../scan/json-array.ts";
import { type Scanner, scanLines } from "../scan/lines.ts";
import { type Head, type Plan, planFor } from "./plan.ts";
import { createRecords } from "./records.ts";
import type { Reading } from "./row-check.ts";
import type { ValidateOutcome, ValidateTask } from "./task.ts";

const CHUNK = 1 << 20;
const HEAD = 1 << 18;
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

/** Reads the file from `offset` to its end. A chunk is valid only during the call of `onChunk`. */
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

function readHead(fd: number): Head & { bom: boolean } {
  const buffer = Buffer.alloc(HEAD);
  const got = readSync(fd, buffer, 0, HEAD, 0);
  const bom = got >= 3 && buffer.subarray(0, 3).equals(BOM);
  return { head: buffer.subarray(bom ? 3 : 0, got), whole: got < HEAD, bom };
}

type Records = ReturnType<typeof createRecords>;

function scannerFor(task: ValidateTask, plan: Plan, { sink, onCrlf }: Records): Scanner {
  if (plan.container === "csv") return scanCsv(task.maxLineBytes, plan.delimiter, sink, onCrlf);
  if (plan.container === "json_array") return scanJsonArray(task.maxLineBytes, sink);
  return scanLines(task.maxLineBytes, sink, onCrlf);
}

/** Passes the whole file from `offset` through the records. Deletes the temporary file on an error. */
function pass(
  task: ValidateTask,
  source: { fd: number; offset: number },
  plan: Plan,
  records: Records,
  onProgress: (bytesRead: number) => void,
) {
  const scanner = scannerFor(task, plan, records);
  try {
    const onChunk = (chunk: Buffer) => {
      records.begin(chunk);
      scanner.push(chunk);
    };
    readThrough(source.fd, source.offset, onChunk, onProgress);
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

/** Reads the file once, with what is `learned` from all rows when it has been read before. */
function readOnce(
  task: ValidateTask,
  source: { fd: number; bytes: number },
  learned: Reading | null,
  onProgress: (bytesRead: number) => void,
): ValidateOutcome | Reading {
  const report = emptyReport(task, source.bytes);
  const problems = createProblems();
  const { bom, ...start } = readHead(source.fd);
  report.encoding.bom = bom;
  problems.at(1);
  if (bom) problems.add("bom");
  const plan = planFor(task, start, report, problems, learned);
  if ("stop" in plan) {
    if (plan.code) problems.add(plan.code, "", "", plan.message);
    report.problems = problems.list();
    return { status: plan.stop, hash: null, error: plan.message, report };
  }
  rmSync(task.outDir, { recursive: true, force: true });
  mkdirSync(task.outDir, { recursive: true, mode: 0o700 });
  const records = createRecords(task, plan, report, problems);
  pass(task, { fd: source.fd, offset: bom ? BOM.length : 0 }, plan, records, onProgress);
  const lesson = learned ? null : plan.lesson(report.rows);
  if (lesson) {
    records.writer.drop();
    return lesson;
  }
  return settle(task, records, report, problems, () => onProgress(report.bytes));
}

/**
 * Validates one file and writes its canonical rows into `task.outDir` (train.jsonl, holdout.jsonl and their indexes).
 * The first rows suggest how to read the file. When all rows show another row type, or that null in tool calls is
 * padding, the file is read again.
 * @param onProgress called with the bytes read after each MiB
 * @throws only for disk errors; all problems of the data are in the outcome
 */
export function validateFile(task: ValidateTask, onProgress: (bytesRead: number) => void = () => {}): ValidateOutcome {
  const started = performance.now();
  const fd = openSync(task.source, "r");
  try {
    const source = { fd, bytes: fstatSync(fd).size };
    const first = readOnce(task, source, null, onProgress);
    const outcome = "status" in first ? first : (readOnce(task, source, first, onProgress) as ValidateOutcome);
    if (outcome.status !== "ready") rmSync(task.outDir, { recursive: true, force: true });
    outcome.report.took_ms = Math.round(performance.now() - started);
    return outcome;
  } finally {
    closeSync(fd);
  }
}
