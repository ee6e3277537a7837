/**
 * What a row format is: how it is recognized and how one row of it becomes a canonical row. One file a format lies
 * beside this one.
 */
import type { RowType } from "../../../contract/spec.ts";
import type { TextLayout } from "../fast-path/text-row.ts";
import type { JsonObject } from "../rows/chat.ts";
import type { Problems } from "../rows/problems.ts";
import type { ChatRow, Checked, Row } from "../rows/types.ts";

export interface RowFormat<R extends Row = Row> {
  name: string;
  /** What its rows are. */
  type: RowType;
  /** For people: what it is called and how a row looks. */
  title: string;
  example: string;
  /** Row fields it knows; others are reported as ignored. */
  fields: ReadonlySet<string>;
  /** How its commonest rows are told by their bytes; see text-row.ts. Without it all rows are parsed. */
  layout?: TextLayout;
  /** True when the row looks meant for this format, even if it is faulty. */
  matches(row: JsonObject): boolean;
  /** The canonical row, or null after noting why not. */
  convert(row: JsonObject, problems: Problems): Checked<R> | null;
}

export interface ChatFormat extends RowFormat<ChatRow> {
  type: "chat";
  layout: TextLayout;
}

/** The text of a required field; null after noting that it is missing or no text. */
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

/** The text of a field that may be absent, null or empty: then null. */
export function optionalText(row: JsonObject, field: string, problems: Problems): string | null {
  const value = row[field];
  return value === undefined || value === null || value === "" ? null : requireText(row, field, problems);
}

/** A row made of texts: optional system text, a question, an answer. Empty ones are noted. */
export function pairRow(
  system: string | null,
  user: { text: string | null; path: string },
  assistant: { text: string | null; path: string },
  problems: Problems,
  earlier: { user: string; assistant: string }[] = [],
): Checked<ChatRow> | null {
  if (user.text === null || assistant.text === null || problems.rowErrors() > 0) return null;
  if (user.text === "") problems.add("empty_content", user.path);
  if (assistant.text === "") problems.add("empty_content", assistant.path);
  const messages: ChatRow["messages"] = [];
  if (system !== null) messages.push({ role: "system", content: system });
  for (const turn of earlier)
    messages.push({ role: "user", content: turn.user }, { role: "assistant", content: turn.assistant });
  messages.push({ role: "user", content: user.text }, { role: "assistant", content: assistant.text });
  return { row: { messages }, same: false };
}
