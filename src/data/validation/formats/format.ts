/**
 * The interface of a row format: how its rows are recognized and converted to canonical rows. Each format has its own
 * file in this folder.
 */
import type { RowType } from "../../../contract/spec.ts";
import type { TextLayout } from "../fast-path/text-row.ts";
import { renameOf } from "../mapping/fields.ts";
import type { Mapping } from "../mapping/model.ts";
import { asText } from "../mapping/values.ts";
import { isBlank, type JsonObject } from "../rows/chat.ts";
import type { Problems } from "../rows/problems.ts";
import type { ChatRow, Checked, Row } from "../rows/types.ts";

/** Rows that name their parent, collected until the end of the file. */
export interface Threads {
  /** Takes a row. False after reporting an error. */
  add(row: JsonObject, problems: Problems): boolean;
  /** The conversations, or null for each that has errors, which were reported with its line. */
  finish(problems: Problems): Generator<Checked | null>;
}

export interface RowFormat<R extends Row = Row> {
  name: string;
  type: RowType;
  /** The name and an example row, for display. */
  title: string;
  example: string;
  /** The row fields of the format; others are reported as ignored. */
  fields: ReadonlySet<string>;
  /** The layout of common rows for the byte fast path in text-row.ts. Without it, all rows are parsed. */
  layout?: TextLayout;
  /** The mapping that makes the rows, for files whose fields were recognized or mapped. */
  mapping?: Mapping;
  /** The row with the fields that `fields` and `convert` know, for nested exports. */
  flatten?(row: JsonObject, problems: Problems): JsonObject;
  /** Collects rows that become conversations at the end of the file; `convert` then only adds them. */
  threads?: Threads;
  /** True when the row most likely has this format, even if it is faulty. */
  matches(row: JsonObject): boolean;
  /** The canonical row, or null after reporting an error. */
  convert(row: JsonObject, problems: Problems): Checked<R> | null;
}

export interface ChatFormat extends RowFormat<ChatRow> {
  type: "chat";
  layout: TextLayout;
}

/** The text of a required field, or null after reporting that it is missing or not a string. */
export function requireText(row: JsonObject, field: string, problems: Problems): string | null {
  const value = row[field];
  if (value === undefined || value === null) {
    const other = renameOf(field, row);
    problems.add("missing_field", field, row, `every row needs "${field}"${other ? `; rename "${other}" to it` : ""}`);
    return null;
  }
  return asText(value, field, problems, row);
}

/** The text of an optional field; null when it is absent, null or blank. */
export function optionalText(row: JsonObject, field: string, problems: Problems): string | null {
  const value = row[field];
  const isAbsent = value === undefined || value === null || (typeof value === "string" && isBlank(value));
  return isAbsent ? null : requireText(row, field, problems);
}

/** A row of an optional system text, a question and an answer. Empty texts are reported. */
export function pairRow(
  system: string | null,
  user: { text: string | null; path: string },
  assistant: { text: string | null; path: string },
  problems: Problems,
  earlier: { user: string; assistant: string }[] = [],
): Checked<ChatRow> | null {
  if (user.text === null || assistant.text === null || problems.rowErrors() > 0) return null;
  for (const { text, path } of [user, assistant]) if (isBlank(text)) problems.add("empty_content", path, text);
  const messages: ChatRow["messages"] = [];
  if (system !== null) messages.push({ role: "system", content: system });
  for (const turn of earlier)
    messages.push({ role: "user", content: turn.user }, { role: "assistant", content: turn.assistant });
  messages.push({ role: "user", content: user.text }, { role: "assistant", content: assistant.text });
  return { row: { messages }, same: false };
}
