/**
 * CSV rows with a column mapping: proposes a mapping from the header, checks a given one, and converts cells to rows.
 */
import { isBlank } from "../rows/chat.ts";
import type { Problems } from "../rows/problems.ts";
import type { CsvPreview } from "../rows/report.ts";
import type { ChatRow, Checked } from "../rows/types.ts";
import { guessDelimiter, scanCsv, splitCells } from "../scan/csv.ts";
import { pairRow } from "./format.ts";

/** The column name of each field; `system` is optional. */
export interface CsvMapping {
  prompt: string;
  completion: string;
  system?: string;
}

const LIKELY: Record<keyof CsvMapping, string[]> = {
  prompt: [
    "prompt",
    "question",
    "instruction",
    "input",
    "text",
    "query",
    "user",
    "message",
    "utterance",
    "request",
    "source",
  ],
  completion: [
    "completion",
    "answer",
    "output",
    "response",
    "assistant",
    "reply",
    "label",
    "category",
    "intent",
    "class",
    "target",
  ],
  system: ["system", "system_prompt", "context_prompt"],
};

const plain = (name: string) =>
  name
    .trim()
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "_");

/**
 * The most likely mapping by column names. Columns that are left over become the prompt and the completion, in this
 * order.
 */
function proposeMapping(columns: string[]): Partial<CsvMapping> {
  const found: Partial<CsvMapping> = {};
  for (const field of ["prompt", "completion", "system"] as const) {
    const name = LIKELY[field].find((likely) => columns.some((column) => plain(column) === likely));
    const column = columns.find((candidate) => plain(candidate) === name);
    if (column !== undefined) found[field] = column;
  }
  const rest = columns.filter((column) => !Object.values(found).includes(column));
  if (!found.prompt) found.prompt = rest.shift();
  if (!found.completion) found.completion = rest.shift();
  return Object.fromEntries(Object.entries(found).filter(([, column]) => column !== undefined));
}

/** True when no mapping is needed, because columns are named prompt and completion. */
export function isObvious(columns: string[]): boolean {
  return columns.includes("prompt") && columns.includes("completion");
}

/** Why `mapping` does not fit `columns`, or null when it does. */
export function mappingFault(mapping: Record<string, string>, columns: string[]): string | null {
  for (const [field, column] of Object.entries(mapping)) {
    if (!Object.hasOwn(LIKELY, field))
      return `"${field}" is not a field; the fields are prompt, completion and (optional) system`;
    if (!columns.includes(column)) return `there is no column "${column}"; the columns are ${columns.join(", ")}`;
  }
  for (const field of ["prompt", "completion"]) if (!mapping[field]) return `"${field}" needs a column`;
  if (mapping.prompt === mapping.completion) return "prompt and completion cannot be the same column";
  return null;
}

/** Creates a function that converts cells, in the order of `columns`, to a row. */
export function csvConverter(
  columns: string[],
  mapping: CsvMapping,
): (cells: string[], problems: Problems) => Checked<ChatRow> | null {
  const prompt = columns.indexOf(mapping.prompt);
  const completion = columns.indexOf(mapping.completion);
  const system = mapping.system === undefined ? -1 : columns.indexOf(mapping.system);
  return (cells, problems) => {
    if (cells.length !== columns.length) {
      problems.add("wrong_columns", "", cells.join(" | "), `${cells.length} instead of ${columns.length}`);
      return null;
    }
    return pairRow(
      system < 0 || isBlank(cells[system] ?? null) ? null : (cells[system] ?? null),
      { text: cells[prompt] ?? "", path: mapping.prompt },
      { text: cells[completion] ?? "", path: mapping.completion },
      problems,
    );
  };
}

/** Reads the header of a CSV file and the first records after it. */
export function csvPreview(head: Buffer, whole: boolean, filename: string): CsvPreview {
  const stop = head.indexOf(10);
  const firstLine = head.toString("utf8", 0, stop < 0 ? head.length : stop);
  const delimiter = /\.tsv$/i.test(filename) ? "\t" : guessDelimiter(firstLine);
  const records: string[][] = [];
  const scanner = scanCsv(head.length, delimiter, {
    record: (bytes, start, end) => {
      if (records.length < 6 && end > start) records.push(splitCells(bytes.toString("utf8", start, end), delimiter));
    },
    tooLong() {},
    broken() {},
  });
  scanner.push(head);
  if (whole) scanner.end();
  const columns = (records[0] ?? []).slice(0, 200).map((name) => name.trim());
  return {
    columns,
    delimiter,
    proposed: proposeMapping(columns),
    first_rows: records.slice(1).map((cells) => cells.slice(0, 200).map((cell) => cell.slice(0, 200))),
  };
}
