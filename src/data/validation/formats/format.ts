/**
 * The interface of a row format: how its rows are recognized and converted to canonical rows. Each format has its own
 * file in this folder.
 */
import type { RowType } from "../../../contract/spec.ts";
import type { TextLayout } from "../fast-path/text-row.ts";
import { isBlank, type JsonObject } from "../rows/chat.ts";
import type { Problems } from "../rows/problems.ts";
import type { ChatRow, Checked, Row } from "../rows/types.ts";

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
    problems.add("missing_field", field, row, `every row needs "${field}"`);
    return null;
  }
  if (typeof value !== "string") {
    problems.add("wrong_type", field, value, "expected text");
    return null;
  }
  if (!value.isWellFormed()) problems.add("lone_surrogate", field, value);
  return value;
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
