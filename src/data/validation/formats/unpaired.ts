/**
 * Labeled preference data (unpaired, for KTO): a row of any chat format, or prompt and completion as messages, with a
 * `label` that rates the last answer as good or bad.
 */
import { finishRow, type JsonObject, type Open, readMessages } from "../rows/chat.ts";
import { unweighted } from "../rows/pairs.ts";
import type { Problems } from "../rows/problems.ts";
import type { ChatRow } from "../rows/types.ts";
import { alpacaFormat } from "./alpaca.ts";
import { chatFormat } from "./chat.ts";
import { completionFormat } from "./completion.ts";
import type { RowFormat } from "./format.ts";
import { readSide } from "./preference.ts";
import { sharegptFormat } from "./sharegpt.ts";

const CHATS = [chatFormat, completionFormat, sharegptFormat, alpacaFormat];

/** The conversation of prompt and completion when at least one is a list of messages. */
function fromMessages(row: JsonObject, problems: Problems): ChatRow | null {
  const open: Open = [];
  const prompt = readSide(row.prompt, "user", "prompt", problems, open);
  const answer = readSide(row.completion, "assistant", "completion", problems, open);
  const turns =
    prompt.turns && answer.turns
      ? { messages: [...prompt.turns.messages, ...answer.turns.messages], same: false }
      : null;
  return finishRow(turns, row.tools, "tools", problems)?.row ?? null;
}

/** The conversation of a row, and the field that has its turns. */
function conversationOf(row: JsonObject, problems: Problems): { chat: ChatRow | null; path: string } {
  if (Array.isArray(row.prompt) || Array.isArray(row.completion))
    return { chat: fromMessages(row, problems), path: "completion" };
  if ("messages" in row) {
    const turns = readMessages(row.messages, "messages", problems);
    const finished = finishRow(turns, row.tools ?? row.functions, "tools", problems);
    return { chat: finished?.row ?? null, path: "messages" };
  }
  const format = CHATS.find((each) => each.matches(row)) ?? completionFormat;
  const path = format === sharegptFormat ? "conversations" : format === alpacaFormat ? "output" : "completion";
  return { chat: format.convert(row, problems)?.row ?? null, path };
}

export const unpairedFormat: RowFormat = {
  name: "unpaired",
  type: "unpaired",
  title: "labeled preference JSONL",
  example: '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}], "label": true}',
  fields: new Set(["label", "kto_tag", ...CHATS.flatMap((format) => [...format.fields])]),
  // Other labels can have another meaning, such as a class: they are mapped.
  matches: (row) =>
    ("kto_tag" in row || typeof row.label === "boolean") &&
    (CHATS.some((format) => format.matches(row)) || ("prompt" in row && "completion" in row)),
  convert(row, problems) {
    const name = "kto_tag" in row ? "kto_tag" : "label";
    const label = row[name];
    if (typeof label !== "boolean")
      problems.add(label === undefined ? "missing_field" : "bad_label", name, label, "expected true or false");
    const { chat, path } = conversationOf(row, problems);
    if (!chat || typeof label !== "boolean") return null;
    const last = chat.messages.at(-1);
    if (last?.role !== "assistant") problems.add("nothing_marked", path, last?.content);
    else if (last.content.trim() === "" && !last.tool_calls) problems.add("no_answer", path, last);
    else if (chat.messages.length === 1) problems.add("no_prompt", path, last.content);
    if (problems.rowErrors() > 0) return null;
    const prompt = unweighted(chat.messages.slice(0, -1), { turns: null, path }, problems, false);
    const answer = unweighted(chat.messages.slice(-1), { turns: null, path }, problems, true);
    const messages = [...prompt, ...answer];
    return { row: { messages, ...(chat.tools ? { tools: chat.tools } : {}), label }, same: false };
  },
};
