/** Finds out what an uploaded file is from its first bytes: the container, the row format, or why it is refused. */
import { isObject, type JsonObject } from "../chat.ts";
import type { ProblemCode } from "../problems.ts";
import { guessDelimiter, scanCsv } from "../scan/csv.ts";
import { scanJsonArray } from "../scan/json-array.ts";
import { type RecordSink, scanLines } from "../scan/lines.ts";
import { parseJson } from "../tools.ts";
import { alpacaFormat } from "./alpaca.ts";
import { chatFormat } from "./chat.ts";
import { completionFormat } from "./completion.ts";
import type { RowFormat } from "./format.ts";
import { sharegptFormat } from "./sharegpt.ts";

export const FORMATS: RowFormat[] = [chatFormat, completionFormat, sharegptFormat, alpacaFormat];

/** One sentence naming everything that is accepted. */
export const ACCEPTED = `Accepted: ${FORMATS.map((format) => `${format.title} (${format.example})`).join("; ")}; CSV with a header line.`;

export type Container = "jsonl" | "json_array" | "csv";

export interface Refusal {
  code: ProblemCode;
  message: string;
}

/** First bytes of things people upload by mistake. */
const MAGIC: [number[], string][] = [
  [[0x1f, 0x8b], "a gzip archive; unpack it first"],
  [[0x50, 0x4b, 0x03, 0x04], "a ZIP archive or an Excel workbook; unpack it, or save the sheet as CSV"],
  [[0x50, 0x41, 0x52, 0x31], "a Parquet file; convert it to JSONL"],
  [[0x25, 0x50, 0x44, 0x46], "a PDF"],
  [[0xff, 0xfe], "UTF-16 text; save it as UTF-8"],
  [[0xfe, 0xff], "UTF-16 text; save it as UTF-8"],
  [[0x28, 0xb5, 0x2f, 0xfd], "a Zstandard archive; unpack it first"],
];

/** The container of a file that begins with `head` (without byte order mark), or why there is none. */
export function detectContainer(head: Buffer, filename: string): Container | Refusal {
  const magic = MAGIC.find(([bytes]) => bytes.every((byte, index) => head[index] === byte));
  if (magic) return { code: "unknown_format", message: `This is ${magic[1]}. ${ACCEPTED}` };
  const start = head.findIndex((byte) => byte > 32);
  if (start < 0) return { code: "empty_file", message: "The file is empty." };
  if (/\.(csv|tsv)$/i.test(filename)) return "csv";
  const first = String.fromCharCode(head[start] ?? 0);
  if (first === "[") return "json_array";
  if (first === "{" || /\.(jsonl|ndjson|json)$/i.test(filename)) return "jsonl";
  const stop = head.indexOf(10);
  const header = head.toString("utf8", 0, stop < 0 ? head.length : stop);
  if (header.split(guessDelimiter(header)).length > 1) return "csv";
  return { code: "unknown_format", message: `The format was not recognised. ${ACCEPTED}` };
}

/** Preference and plain text rows look much like ours; training on them would teach the wrong thing, so they are told apart first. */
export function foreignRow(row: JsonObject): ProblemCode | null {
  if (
    "chosen" in row ||
    "rejected" in row ||
    "preferred_output" in row ||
    "chosen_messages" in row ||
    "preferred_completion" in row
  )
    return "preference_data";
  if (("messages" in row || "completion" in row) && typeof row.label === "boolean") return "preference_data";
  if (
    typeof row.text === "string" &&
    Object.keys(row).every((key) => ["text", "id", "meta", "url", "timestamp"].includes(key))
  )
    return "plain_text";
  return null;
}

export const formatOf = (row: JsonObject): RowFormat | null => FORMATS.find((format) => format.matches(row)) ?? null;

/** The first records of `head` as text; an unfinished last one is left out. */
function firstRecords(head: Buffer, container: Container, delimiter: string): string[] {
  const records: string[] = [];
  const sink: RecordSink = {
    record: (bytes, start, end) => {
      if (records.length < 50 && end > start) records.push(bytes.toString("utf8", start, end));
    },
    tooLong() {},
    broken() {},
  };
  if (container === "csv") scanCsv(head.length, delimiter, sink).push(head);
  else if (container === "json_array") scanJsonArray(head.length, sink).push(head);
  else scanLines(head.length, sink).push(head);
  return records;
}

/**
 * The format most of the first rows are in.
 * @returns the format, a refusal, or null when no row could be read (the pass will then say what is wrong with each)
 */
export function detectFormat(head: Buffer, container: Container, whole: boolean): RowFormat | Refusal | null {
  // A file without a last line break is complete all the same.
  const records = firstRecords(whole ? Buffer.concat([head, Buffer.from("\n")]) : head, container, ",");
  const votes = new Map<RowFormat, number>();
  let unknown: JsonObject | null = null;
  for (const record of records) {
    const row = parseJson(record);
    if (!isObject(row)) continue;
    const foreign = foreignRow(row);
    if (foreign)
      return {
        code: foreign,
        message: `${foreign === "preference_data" ? "These are preference rows" : "These are plain text rows"}, which supervised fine-tuning cannot use. ${ACCEPTED}`,
      };
    const format = formatOf(row);
    if (format) votes.set(format, (votes.get(format) ?? 0) + 1);
    else unknown ??= row;
  }
  const [best] = [...votes].sort((a, b) => b[1] - a[1]);
  if (best) return best[0];
  if (!unknown) return null;
  const keys = Object.keys(unknown).slice(0, 10).join(", ");
  return {
    code: "unknown_format",
    message: `Rows with the fields ${keys || "(none)"} are in no known format. ${ACCEPTED}`,
  };
}
