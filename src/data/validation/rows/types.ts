/** The five kinds of canonical rows, what they are called, and what all of them have in common: turns and texts. */
import type { RowType } from "../../../contract/spec.ts";
import type { Tool, ToolCall } from "./tools.ts";

export type Role = "system" | "user" | "assistant" | "tool";

/** One turn. `weight` 0 keeps an assistant turn of a chat row out of the loss; absent means 1. */
export interface Message {
  role: Role;
  content: string;
  weight?: 0 | 1;
  tool_calls?: ToolCall[];
  tool_call_id?: string;
  name?: string;
}

export interface ChatRow {
  messages: Message[];
  tools?: Tool[];
}

/** `messages` ask, and two alternatives of assistant and tool turns answer. */
export interface PreferenceRow extends ChatRow {
  chosen: Message[];
  rejected: Message[];
}

/** A conversation whose last turn, an assistant's, is good or bad. */
interface UnpairedRow extends ChatRow {
  label: boolean;
}

/** A conversation to be answered, and what graders know of it beside. */
interface PromptRow extends ChatRow {
  item: Record<string, unknown>;
}

interface TextRow {
  text: string;
}

export type Row = ChatRow | PreferenceRow | UnpairedRow | PromptRow | TextRow;

/** `same`: the row as it stands in the file is already canonical, so its bytes may be kept. */
export interface Checked<R extends Row = Row> {
  row: R;
  same: boolean;
}

export const isPair = (row: Row): row is PreferenceRow => "chosen" in row;
export const isText = (row: Row): row is TextRow => "text" in row;

/** What rows are called in sentences, after "a" or before "rows". */
export const ROW_NAMES: Record<RowType, string> = {
  chat: "chat",
  preference: "preference",
  unpaired: "marked answer",
  text: "plain text",
  prompt: "prompt",
};

/** Every text of a row a reader would search in. */
export function* textsOf(row: Row): Generator<string> {
  if (isText(row)) {
    yield row.text;
    return;
  }
  for (const turn of row.messages) yield turn.content;
  if (isPair(row)) for (const turn of [...row.chosen, ...row.rejected]) yield turn.content;
}
