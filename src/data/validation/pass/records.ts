/** Processes the records of a file: checks each one, counts it, looks for duplicates, and writes the good rows. */
import { writeExact } from "../../../lib/text/exact-json.ts";
import { createMisreadWatch } from "../containers/misread-watch.ts";
import type { RowRange } from "../fast-path/row-bytes.ts";
import { createPrivateSearch } from "../rows/private-data.ts";
import type { Problems } from "../rows/problems.ts";
import type { Report } from "../rows/report.ts";
import type { RowText } from "../rows/row-text.ts";
import { createStatistics } from "../rows/statistics.ts";
import type { Checked } from "../rows/types.ts";
import type { RecordSink } from "../scan/lines.ts";
import { createComparison } from "./comparison.ts";
import type { createFaults } from "./faults.ts";
import { createHoldout } from "./holdout.ts";
import { createLatePrompts } from "./late-prompts.ts";
import type { Plan } from "./plan.ts";
import { isValid, type Valid, validLines } from "./row-check.ts";
import { createRowWriter } from "./row-writer.ts";
import type { ValidateTask } from "./task.ts";

/** After this many rows without success, a shortcut is tried only for one row in this many. */
const MISSES = 64;

/** Pairs of duplicate rows in the report. */
const MAX_PAIRS = 100;
const QUOTE = 34;
const BOM = [0xef, 0xbb, 0xbf];

const NOTHING = Buffer.alloc(0);

type Faults = ReturnType<typeof createFaults>;

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
  const late = createLatePrompts(task.outDir, task.diskReserve);
  const comparison = createComparison(report.bytes, late);
  const writer = createRowWriter(task.outDir, task, createHoldout(task.seed, comparison.sets, late));
  const pairs: NonNullable<Report["duplicates"]["pairs"]> = [];
  let exact = 0;
  let near = 0;
  let removed = 0;
  let scratch = Buffer.allocUnsafe(1 << 16);
  let writing = true;

  /** Reports a duplicate of an earlier row. @returns false when it is left out */
  function noteDuplicate(line: number, first: number, kind: "exact" | "near", sample: string): boolean {
    if (kind === "near") near++;
    else exact++;
    if (pairs.length < MAX_PAIRS) pairs.push({ line, first_line: first, kind });
    const leave = task.removeDuplicates === "near" || task.removeDuplicates === kind;
    if (leave) {
      removed++;
      problems.keepErrors();
    }
    const code = leave ? "duplicate_removed" : kind === "near" ? "near_duplicate" : "duplicate";
    problems.add(code, "", sample, kind === "near" ? `like line ${first}` : `same as line ${first}`);
    return !leave;
  }

  const secrets = createPrivateSearch((kind, sample) => problems.add(kind, "", sample));

  /**
   * Writes a row, unless it is a duplicate to leave out.
   * @param text its texts, when they are known
   * @param signs false when it has no e-mail address and no key
   * @returns whether it was kept
   */
  function store(
    bytes: Buffer,
    start: number,
    end: number,
    line: number,
    text: RowText | null = null,
    signs = true,
  ): boolean {
    const found = comparison.look(bytes, start, end, line, text);
    const first = found.same || found.alike;
    if (first > 0) {
      const sample = bytes.toString("utf8", start, Math.min(end, start + 200));
      if (!noteDuplicate(line, first, found.same ? "exact" : "near", sample)) return false;
    }
    comparison.countLabel(bytes);
    secrets.look(bytes, start, end, signs);
    report.rows++;
    if (writing) writer.addBytes(bytes, start, end, line, found);
    return true;
  }

  return {
    writer,
    labels: comparison.labels,
    begin: secrets.begin,
    /** Adds a row that a shortcut took from the range `from` to `to` of the chunk. */
    addTaken(row: RowRange, from: number, to: number, line: number) {
      const signs = secrets.hasSign(from, to);
      if (store(row.bytes, row.from, row.to, line, row.text, signs)) statistics.addPlain(plan.counts);
    },
    /** Adds a checked row; `start` to `end` are its bytes in the file. */
    addChecked(checked: Checked, bytes: Buffer, start: number, end: number, line: number) {
      // A canonical row is stored unchanged, except from an array, where it can have several lines.
      if (checked.same && plan.container === "jsonl") {
        if (store(bytes, start, end, line)) statistics.add(checked.row);
        return;
      }
      const text = checked.marked ? writeExact(checked.row) : JSON.stringify(checked.row);
      if (text.length * 3 > scratch.length) scratch = Buffer.allocUnsafe(text.length * 3);
      if (store(scratch, 0, scratch.write(text, 0, "utf8"), line)) statistics.add(checked.row);
    },
    addBad() {
      report.bad_rows++;
      // A version with bad rows does not become ready, so its rows are not written. The check continues to the end.
      if (task.skipBad) problems.keepErrors();
      else writing = false;
    },
    finish() {
      Object.assign(report, statistics.result());
      report.duplicates = { rows: exact, near, removed, pairs, complete: comparison.complete };
      const labels = comparison.labels.list();
      if (labels) report.label_counts = labels;
    },
  };
}

/** Creates the sink for the records of a file. Call `begin` with each chunk before it is scanned. */
export function createRecords(task: ValidateTask, plan: Plan, report: Report, faults: Faults, linesBefore = 0) {
  const { problems } = faults;
  const rows = createRowStore(task, plan, report, problems);
  let header = plan.header;
  let crlf = 0;
  let records = 0;
  /** The line of the row, by which it is named everywhere. */
  let number = 0;
  let valid: Valid = { bytes: null, from: 0, to: 0 };
  const misread = createMisreadWatch(report, problems);

  /** Tries the shortcuts. */
  function takenShort(bytes: Buffer, from: number, to: number, number: number): boolean {
    for (const shortcut of plan.shortcuts) {
      if (shortcut.misses >= MISSES && records % MISSES !== 0) continue;
      const row = shortcut.take(bytes, from, to);
      if (row) {
        shortcut.misses = 0;
        rows.addTaken(row, from, to, number);
        return true;
      }
      shortcut.misses++;
    }
    return false;
  }

  const sink: RecordSink = {
    record(bytes, start, end, line) {
      records++;
      let from = start;
      let to = end;
      while (from < to && (bytes[from] ?? 0) <= 32) from++;
      while (to > from && (bytes[to - 1] ?? 0) <= 32) to--;
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
      // Elements of an array can be on one line. The numbers of rows always increase.
      number = Math.max(line + linesBefore, number + 1);
      problems.at(number);
      if (bytes[from] === BOM[0] && bytes[from + 1] === BOM[1] && bytes[from + 2] === BOM[2]) {
        problems.add("bom_inside");
        from += BOM.length;
        start = from;
      }
      misread.look(bytes, from, to);
      // Spaces around a CSV record belong to its cells.
      const first = plan.container === "csv" ? start : from;
      const last = plan.container === "csv" ? end : to;
      if (isValid(valid, bytes, first, last) && takenShort(bytes, first, last, number)) return;
      const checked = plan.check(bytes, first, last, valid);
      if (checked?.later) return;
      if (checked) {
        rows.addChecked(checked, bytes, from, to, number);
        return;
      }
      faults.add(bytes, from, to);
      rows.addBad();
    },
    tooLong(line, bytes) {
      problems.at(line + linesBefore);
      problems.add("line_too_long", "", "", `${bytes} bytes; the limit is ${task.maxLineBytes}`);
      faults.add(NOTHING, 0, 0);
      rows.addBad();
    },
    broken(line, detail) {
      problems.at(line + linesBefore);
      problems.add(plan.container === "csv" ? "unclosed_quote" : "broken_array", "", "", detail);
      faults.add(NOTHING, 0, 0);
      rows.addBad();
    },
  };

  return {
    sink,
    writer: rows.writer,
    labels: rows.labels,
    begin(chunk: Buffer) {
      misread.begin(chunk);
      rows.begin(chunk);
      valid = validLines(chunk);
    },
    onCrlf() {
      crlf++;
    },
    onTrailingComma(line: number) {
      problems.at(line + linesBefore);
      problems.add("trailing_comma");
    },
    /** Completes the report after the last record. */
    finish() {
      for (const checked of plan.threads?.finish(problems) ?? [])
        if (checked) rows.addChecked(checked, NOTHING, 0, 0, problems.line());
        else rows.addBad();
      plan.finish(report);
      rows.finish();
      if (crlf === 0) return;
      report.encoding.line_endings = crlf >= records - 1 ? "crlf" : "mixed";
      problems.at(1);
      problems.add("crlf");
    },
  };
}
