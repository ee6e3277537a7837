/** Processes the records of a file: checks each one, counts it, looks for duplicates, and writes the good rows. */
import { writeExact } from "../../../lib/text/exact-json.ts";
import { createHashSet } from "../rows/duplicates.ts";
import type { Problems } from "../rows/problems.ts";
import type { Report } from "../rows/report.ts";
import { createStatistics } from "../rows/statistics.ts";
import type { Checked } from "../rows/types.ts";
import type { RecordSink } from "../scan/lines.ts";
import type { Plan } from "./plan.ts";
import { isValid, type Valid, validLines } from "./row-check.ts";
import { createRowWriter, hashRow } from "./row-writer.ts";
import type { ValidateTask } from "./task.ts";

const QUOTE = 34;

/** After this many rows without success, a shortcut is tried only for one row in this many. */
const MISSES = 64;

/** The range without blanks at both ends. */
function trimmed(bytes: Buffer, start: number, end: number): [number, number] {
  let from = start;
  let to = end;
  while (from < to && (bytes[from] ?? 0) <= 32) from++;
  while (to > from && (bytes[to - 1] ?? 0) <= 32) to--;
  return [from, to];
}

/** True for a CSV record of which no cell has a value. */
function isEmptyRecord(bytes: Buffer, from: number, to: number, delimiter: string): boolean {
  const comma = delimiter.charCodeAt(0);
  for (let at = from; at < to; at++) {
    const byte = bytes[at] ?? 0;
    if (byte > 32 && byte !== comma && byte !== QUOTE) return false;
  }
  return true;
}

/** Counts, hashes and writes good rows; counts bad ones. */
function createRowStore(task: ValidateTask, plan: Plan, report: Report, problems: Problems) {
  const statistics = createStatistics();
  const seen = createHashSet();
  const writer = createRowWriter(task.outDir, task.seed, task.holdoutFraction, task.diskReserve);
  let scratch = Buffer.allocUnsafe(1 << 16);
  let writing = true;

  function store(bytes: Buffer, start: number, end: number) {
    const hash = hashRow(bytes.subarray(start, end));
    if (seen.seen(hash.lo, hash.hi))
      problems.add("duplicate", "", bytes.toString("utf8", start, Math.min(end, start + 200)));
    report.rows++;
    if (writing) writer.addBytes(bytes, start, end, hash);
  }

  return {
    writer,
    /** Adds a row that a shortcut took. */
    addTaken(bytes: Buffer, start: number, end: number) {
      statistics.addPlain(plan.counts);
      store(bytes, start, end);
    },
    /** Adds a checked row; `start` to `end` are its bytes in the file. */
    addChecked(checked: Checked, bytes: Buffer, start: number, end: number) {
      statistics.add(checked.row);
      // A canonical row is stored unchanged, except from an array, where it can have several lines.
      if (checked.same && plan.container === "jsonl") {
        store(bytes, start, end);
        return;
      }
      const text = checked.marked ? writeExact(checked.row) : JSON.stringify(checked.row);
      if (text.length * 3 > scratch.length) scratch = Buffer.allocUnsafe(text.length * 3);
      store(scratch, 0, scratch.write(text, 0, "utf8"));
    },
    addBad() {
      report.bad_rows++;
      // A version with bad rows does not become ready, so its rows are not written. The check continues to the end.
      if (!task.skipBad) writing = false;
    },
    finish() {
      Object.assign(report, statistics.result());
      report.duplicates = { rows: problems.count("duplicate"), complete: seen.complete };
    },
  };
}

/** Creates the sink for the records of a file. Call `begin` with each chunk before it is scanned. */
export function createRecords(task: ValidateTask, plan: Plan, report: Report, problems: Problems) {
  const rows = createRowStore(task, plan, report, problems);
  let header = plan.header;
  let crlf = 0;
  let records = 0;
  let valid: Valid = { bytes: null, from: 0, to: 0 };

  /** Tries the shortcuts. */
  function takenShort(bytes: Buffer, from: number, to: number): boolean {
    for (const shortcut of plan.shortcuts) {
      if (shortcut.misses >= MISSES && records % MISSES !== 0) continue;
      const row = shortcut.take(bytes, from, to);
      if (row) {
        shortcut.misses = 0;
        rows.addTaken(row.bytes, row.from, row.to);
        return true;
      }
      shortcut.misses++;
    }
    return false;
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
      if (plan.container === "csv" && isEmptyRecord(bytes, from, to, plan.delimiter)) {
        report.blank_lines++;
        return;
      }
      problems.at(line);
      // Spaces around a CSV record belong to its cells.
      const [first, last] = plan.container === "csv" ? [start, end] : [from, to];
      if (isValid(valid, bytes, first, last) && takenShort(bytes, first, last)) return;
      const checked = plan.check(bytes, first, last, valid);
      if (checked) rows.addChecked(checked, bytes, from, to);
      else rows.addBad();
    },
    tooLong(line, bytes) {
      problems.at(line);
      problems.add("line_too_long", "", "", `${bytes} bytes; the limit is ${task.maxLineBytes}`);
      rows.addBad();
    },
    broken(line, detail) {
      problems.at(line);
      problems.add(plan.container === "csv" ? "unclosed_quote" : "broken_array", "", "", detail);
      rows.addBad();
    },
  };

  return {
    sink,
    writer: rows.writer,
    begin(chunk: Buffer) {
      valid = validLines(chunk);
    },
    onCrlf() {
      crlf++;
    },
    /** Completes the report after the last record. */
    finish() {
      plan.finish(report);
      rows.finish();
      if (crlf === 0) return;
      report.encoding.line_endings = crlf >= records - 1 ? "crlf" : "mixed";
      problems.at(1);
      problems.add("crlf");
    },
  };
}
