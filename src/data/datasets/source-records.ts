/** Reads the records of an uploaded file as they are, each with the number that validation names it by. */
import { open } from "node:fs/promises";
import type { Report } from "../validation/rows/report.ts";
import { scanCsv } from "../validation/scan/csv.ts";
import { scanJsonArray } from "../validation/scan/json-array.ts";
import { type RecordSink, scanLines } from "../validation/scan/lines.ts";

const CHUNK = 1 << 18;
const MAX_RECORD = 1 << 30;
const BOM = Buffer.from([0xef, 0xbb, 0xbf]);

/** A record without its line break or comma; `number` is its line, as in the report. */
interface SourceRecord {
  number: number;
  bytes: Buffer;
}

/** Files whose records can be replaced one by one. */
export type Container = "jsonl" | "csv" | "json_array";

/** How the file is read; null when its rows are not records of a text file. */
export function containerOf(report: Report | null): Container | null {
  const container = report?.container;
  const { unpacked_bytes: converted = null, part = null } = report?.source ?? {};
  if (converted !== null || part !== null || report?.encoding.line_endings === "cr") return null;
  return container === "jsonl" || container === "csv" || container === "json_array" ? container : null;
}

/** The records in order, blank ones included. @param delimiter of CSV cells */
export async function* recordsOf(path: string, container: Container, delimiter: string): AsyncGenerator<SourceRecord> {
  let found: SourceRecord[] = [];
  let number = 0;
  const sink: RecordSink = {
    record(bytes, start, end, line) {
      number = Math.max(line, number + 1);
      found.push({ number, bytes: Buffer.from(bytes.subarray(start, end)) });
    },
    tooLong() {},
    broken() {},
  };
  const scanner =
    container === "csv"
      ? scanCsv(MAX_RECORD, delimiter, sink)
      : container === "json_array"
        ? scanJsonArray(MAX_RECORD, sink)
        : scanLines(MAX_RECORD, sink);
  const file = await open(path, "r");
  try {
    const chunk = Buffer.allocUnsafe(CHUNK);
    for (let first = true; ; first = false) {
      const { bytesRead } = await file.read(chunk, 0, CHUNK);
      if (bytesRead === 0) break;
      const from = first && chunk.subarray(0, BOM.length).equals(BOM) ? BOM.length : 0;
      scanner.push(chunk.subarray(from, bytesRead));
      yield* found;
      found = [];
    }
    scanner.end();
    yield* found;
  } finally {
    await file.close();
  }
}

const LINE_BREAK = Buffer.from("\n");
const COMMA_BREAK = Buffer.from(",\n");

/**
 * The bytes of a file with one record replaced; the other records and their lines stay as they are.
 * @param text null leaves the row out
 */
export async function* withRecord(
  path: string,
  container: Container,
  delimiter: string,
  edit: { number: number; text: string | null },
): AsyncGenerator<Uint8Array> {
  const inArray = container === "json_array";
  const separator = inArray ? COMMA_BREAK : LINE_BREAK;
  let first = true;
  if (inArray) yield Buffer.from("[\n");
  for await (const { number, bytes } of recordsOf(path, container, delimiter)) {
    const edited = number === edit.number;
    if (edited && edit.text === null && inArray) continue;
    if (!first) yield separator;
    first = false;
    yield edited ? Buffer.from(edit.text ?? "") : bytes;
  }
  yield Buffer.from(inArray ? "\n]\n" : "\n");
}
