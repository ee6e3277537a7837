/**
 * Preference rows in the TRL format, common on the Hugging Face Hub: `prompt`, `chosen` and `rejected` as texts or
 * messages, or two complete conversations.
 */
import { isBlank, isObject, type JsonObject, type Open, readMessages } from "../rows/chat.ts";
import { type Part, pairRow, splitConversations } from "../rows/pairs.ts";
import type { Problems } from "../rows/problems.ts";
import type { Message } from "../rows/types.ts";
import { optionalText, type RowFormat } from "./format.ts";

/** Field names of the prompt; the first one present is used. */
const PROMPTS = ["prompt", "messages", "question", "instruction"] as const;

/** Reads a text (one turn of `role`), a message or a list of messages; `turns` is null after reporting an error. */
export function readSide(
  value: unknown,
  role: "user" | "assistant",
  path: string,
  problems: Problems,
  open: Open = [],
): Part {
  if (typeof value === "string") {
    if (!value.isWellFormed()) problems.add("lone_surrogate", path, value);
    return { turns: { messages: [{ role, content: value }], same: false }, path, isOne: true };
  }
  if (value === undefined || value === null) {
    problems.add("missing_field", path, value, `every row needs "${path}"`);
    return { turns: null, path };
  }
  return { turns: readMessages(isObject(value) ? [value] : value, path, problems, open), path };
}

/** True for a complete conversation, which does not begin with the answer. */
const isConversation = (value: unknown): boolean =>
  Array.isArray(value) && isObject(value[0]) && value[0].role !== "assistant" && value[0].role !== "tool";

/**
 * The prompt, with `input` appended to `instruction` and `system` in front. Without a prompt field, it has no turns.
 */
function readPrompt(row: JsonObject, problems: Problems, open: Open): Part {
  const name = PROMPTS.find((each) => row[each] !== undefined && row[each] !== null);
  const system = optionalText(row, "system", problems);
  const before: Message[] = system === null ? [] : [{ role: "system", content: system }];
  if (!name) return { turns: { messages: [], same: false }, path: "prompt" };
  let value = row[name];
  const input = name === "instruction" ? optionalText(row, "input", problems) : null;
  if (input !== null && typeof value === "string") value = isBlank(value) ? input : `${value}\n${input}`;
  const part = readSide(value, "user", name, problems, open);
  if (part.turns && part.turns.messages.length > 0) part.turns.messages.unshift(...before);
  return { ...part, from: -before.length };
}

/** Reads two complete conversations. An extra prompt field is ignored, with a warning if it is not their beginning. */
function readConversationPair(row: JsonObject, names: [string, string], problems: Problems) {
  const [chosen, rejected] = names.map((name) => readSide(row[name], "assistant", name, problems)) as [Part, Part];
  const { shared, ...parts } = splitConversations(chosen, rejected);
  const texts = new Set(shared.map((turn) => turn.content));
  for (const name of PROMPTS)
    if (typeof row[name] === "string" && problems.rowErrors() === 0 && !texts.has(row[name]))
      problems.add("ignored_field", name, row[name], "the conversations do not begin with it");
  return pairRow(parts, row.tools, "tools", problems);
}

export const preferenceFormat: RowFormat = {
  name: "preference",
  type: "preference",
  title: "TRL preference JSONL",
  example: '{"prompt": "…", "chosen": "…", "rejected": "…"}',
  fields: new Set([
    ...PROMPTS,
    "input",
    "system",
    "tools",
    "chosen",
    "rejected",
    "chosen_messages",
    "rejected_messages",
  ]),
  layout: { system: "system", pair: { user: ["prompt"], assistant: "chosen", rejected: "rejected" } },
  matches: (row) =>
    !("conversations" in row) &&
    ["chosen", "rejected", "chosen_messages", "rejected_messages"].some((key) => key in row),
  convert(row, problems) {
    if ("chosen_messages" in row || "rejected_messages" in row)
      return readConversationPair(row, ["chosen_messages", "rejected_messages"], problems);
    if (isConversation(row.chosen) || isConversation(row.rejected))
      return readConversationPair(row, ["chosen", "rejected"], problems);
    const open: Open = [];
    const prompt = readPrompt(row, problems, open);
    const chosen = readSide(row.chosen, "assistant", "chosen", problems, [...open]);
    const rejected = readSide(row.rejected, "assistant", "rejected", problems, [...open]);
    return pairRow({ prompt, chosen, rejected }, row.tools, "tools", problems);
  },
};
