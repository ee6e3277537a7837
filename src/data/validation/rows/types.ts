/** The five types of canonical rows, with their names and a search over their texts. */
import type { RowType } from "../../../contract/spec.ts";
import type { Tool, ToolCall } from "./tools.ts";

export type Role = "system" | "user" | "assistant" | "tool";

/** One turn. A `weight` of 0 keeps an assistant turn of a chat row out of the loss; the default is 1. */
export interface Message {
  role: Role;
  content: string;
  weight?: 0 | 1;
  /** What an assistant thought before it answered; rendered by chat templates that know it. */
  reasoning_content?: string;
  tool_calls?: ToolCall[];
  tool_call_id?: string;
  name?: string;
}

export interface ChatRow {
  messages: Message[];
  tools?: Tool[];
}

/** `messages` are the prompt; `chosen` and `rejected` are two alternative answers of assistant and tool turns. */
export interface PreferenceRow extends ChatRow {
  chosen: Message[];
  rejected: Message[];
}

/** A conversation that ends with an assistant turn; `label` rates that turn as good or bad. */
interface UnpairedRow extends ChatRow {
  label: boolean;
}

/** A conversation that the model answers in training, and the fields that graders use. */
interface PromptRow extends ChatRow {
  item: Record<string, unknown>;
}

interface TextRow {
  text: string;
}

export type Row = ChatRow | PreferenceRow | UnpairedRow | PromptRow | TextRow;

/** A row of a version. */
export type NumberedRow = Row & { id: number };

/** `same`: the row in the file is already canonical, so its bytes can be stored unchanged. */
export interface Checked<R extends Row = Row> {
  row: R;
  same: boolean;
  /** The row has numbers or keys whose text is kept: write it with `writeExact`. */
  marked?: boolean;
  /** The row belongs to a thread, which becomes a row at the end of the file. */
  later?: boolean;
}

export const isPair = (row: Row): row is PreferenceRow => "chosen" in row;
export const isText = (row: Row): row is TextRow => "text" in row;

/** The names of row types in sentences, after "a" or before "rows". */
export const ROW_NAMES: Record<RowType, string> = {
  chat: "chat",
  preference: "preference",
  unpaired: "labeled preference",
  text: "plain text",
  prompt: "prompt",
};

/** The texts of a row that a search looks through. */
export function* textsOf(row: Row): Generator<string> {
  if (isText(row)) {
    yield row.text;
    return;
  }
  for (const turn of isPair(row) ? [...row.messages, ...row.chosen, ...row.rejected] : row.messages) {
    yield turn.content;
    if (turn.reasoning_content) yield turn.reasoning_content;
  }
}
