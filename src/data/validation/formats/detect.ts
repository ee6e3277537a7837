/** Detects the container and the row format of an uploaded file from its first bytes, or the reason to reject it. */
import type { RowType } from "../../../contract/spec.ts";
import { isMeaningful } from "../mapping/fields.ts";
import { isObject, type JsonObject } from "../rows/chat.ts";
import { createProblems, type ProblemCode } from "../rows/problems.ts";
import { parseJson } from "../rows/tools.ts";
import { guessDelimiter, scanCsv } from "../scan/csv.ts";
import { scanJsonArray } from "../scan/json-array.ts";
import { type RecordSink, scanLines } from "../scan/lines.ts";
import { alpacaFormat } from "./alpaca.ts";
import { chatFormat } from "./chat.ts";
import { completionFormat } from "./completion.ts";
import type { RowFormat } from "./format.ts";
import { preferenceFormat } from "./preference.ts";
import { openaiPreferenceFormat } from "./preference-openai.ts";
import { sharegptPreferenceFormat } from "./preference-sharegpt.ts";
import { promptFormat } from "./prompt.ts";
import { sharegptFormat } from "./sharegpt.ts";
import { textFormat } from "./text.ts";
import { unpairedFormat } from "./unpaired.ts";

/**
 * All formats in the order of detection. Conversations with a second answer or a label come before plain conversations.
 */
export const FORMATS: RowFormat[] = [
  openaiPreferenceFormat,
  sharegptPreferenceFormat,
  preferenceFormat,
  unpairedFormat,
  promptFormat,
  chatFormat,
  completionFormat,
  sharegptFormat,
  alpacaFormat,
  textFormat,
];

/** Fields that change the type of a row. */
const TYPE_FIELDS: ReadonlySet<string> = new Set([
  "chosen",
  "rejected",
  "chosen_messages",
  "rejected_messages",
  "label",
  "kto_tag",
  "preferred_output",
  "non_preferred_output",
  "preferred_completion",
  "non_preferred_completion",
]);

class CheckedFields extends Set<string> {
  override has(name: string): boolean {
    return super.has(name) || isMeaningful(name);
  }
}

/** Fields that need the full check: those of the format, and others that change what a row means. */
export const checkedFields = (format: RowFormat): ReadonlySet<string> =>
  new CheckedFields(format.fields.union(TYPE_FIELDS));

const listOf = (type: RowType) =>
  FORMATS.filter((format) => format.type === type)
    .map((format) => `${format.title} (${format.example})`)
    .join("; ");

/** The list of accepted formats as one sentence. */
const ACCEPTED = `Accepted: ${listOf("chat")}; CSV with a header line. For other methods: ${listOf("preference")}; ${listOf("unpaired")}; ${listOf("prompt")}; ${listOf("text")}.`;

export type Container = "jsonl" | "json_array" | "json_sequence" | "csv" | "text_lines" | "paragraphs";

interface Refusal {
  code: ProblemCode;
  message: string;
}

/** The container of a file that begins with `head` (without byte order mark), or the reason to reject it. */
export function detectContainer(head: Buffer, filename: string): Container | Refusal {
  const start = head.findIndex((byte) => byte > 32);
  if (start < 0) return { code: "empty_file", message: "The file is empty." };
  if (/\.(csv|tsv)$/i.test(filename)) return "csv";
  const first = String.fromCharCode(head[start] ?? 0);
  if (first === "[") return "json_array";
  if (first === "{" || /\.(jsonl|ndjson|json)$/i.test(filename)) return "jsonl";
  const stop = head.indexOf(10);
  const header = head.toString("utf8", 0, stop < 0 ? head.length : stop);
  if (header.split(guessDelimiter(header)).length > 1) return "csv";
  return { code: "unknown_format", message: `The format was not recognized. ${ACCEPTED}` };
}

/** The format that a row most likely has. */
export const formatOf = (row: JsonObject): RowFormat | null => FORMATS.find((format) => format.matches(row)) ?? null;

/** The first records of `head` as text, without an incomplete last one. */
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
  else if (container === "json_sequence") scanJsonArray(head.length, sink, { sequence: true }).push(head);
  else scanLines(head.length, sink).push(head);
  return records;
}

/** Types whose rows look like chat rows when their own field is missing: the label, or the field for the grader. */
const LIKE_CHAT: ReadonlySet<RowType> = new Set(["unpaired", "prompt"]);

/**
 * The format that reads a row in a file of `format`; null when the row has none.
 * @param format the format of the file; null while it is not known
 * @returns `other`: the row has another type than the file. A labeled row without its label is a faulty row, not a chat
 *   row.
 */
export function readerOf(row: JsonObject, format: RowFormat | null): { by: RowFormat | null; other: boolean } {
  if (format?.mapping) return { by: format, other: false };
  const found = formatOf(row);
  if (!format || !found) return { by: format ?? found, other: false };
  if (found.type === format.type) return { by: format.matches(row) ? format : found, other: false };
  const other = !(LIKE_CHAT.has(format.type) && found.type === "chat");
  return { by: other ? found : format, other };
}

/** Whether a row is a good one in a file of `format`. */
function isGood(row: JsonObject, format: RowFormat): boolean {
  const { by, other } = readerOf(row, format);
  return !other && by?.convert(row, createProblems()) !== null;
}

/** The format in which most rows are good, the first one of several; the most frequent one when no row is good. */
export function elect(rows: JsonObject[]): RowFormat | null {
  const votes = new Map<RowFormat, number>();
  for (const row of rows) {
    const format = formatOf(row);
    if (format) votes.set(format, (votes.get(format) ?? 0) + 1);
  }
  let best: { format: RowFormat; good: number } | null = null;
  for (const [format] of [...votes].sort((a, b) => b[1] - a[1])) {
    const good = rows.filter((row) => isGood(row, format)).length;
    if (!best || good > best.good) best = { format, good };
  }
  return best?.format ?? null;
}

/** The objects among the first records, to decide how rows are read. */
export function firstObjects(head: Buffer, container: Container, whole: boolean): JsonObject[] {
  // A line break at the end of the file is optional.
  const records = firstRecords(whole ? Buffer.concat([head, Buffer.from("\n")]) : head, container, ",");
  return records.map(parseJson).filter(isObject);
}
