/**
 * Preference rows in the ShareGPT format: `conversations` is the prompt; `chosen` and `rejected` are one turn
 * `{from, value}` or a list of turns.
 */
import { isObject, type Open, readMessages } from "../rows/chat.ts";
import { type Part, pairRow } from "../rows/pairs.ts";
import type { Problems } from "../rows/problems.ts";
import type { RowFormat } from "./format.ts";
import { type Calls, readConversations, readTurn } from "./sharegpt.ts";

function readAnswer(value: unknown, path: string, calls: Calls, open: Open, problems: Problems): Part {
  if (value === undefined || value === null) {
    problems.add("missing_field", path, value, `every row needs "${path}"`);
    return { turns: null, path };
  }
  const list = Array.isArray(value) ? value : [value];
  const own = { made: calls.made, open: [...calls.open] };
  const turns = list.map((turn, index) => readTurn(turn, isObject(value) ? path : `${path}[${index}]`, own, problems));
  const read = problems.rowErrors() > 0 ? null : readMessages(turns, path, problems, [...open]);
  return { turns: read, path, isOne: isObject(value) };
}

export const sharegptPreferenceFormat: RowFormat = {
  name: "sharegpt_preference",
  type: "preference",
  title: "ShareGPT preference JSON or JSONL",
  example:
    '{"conversations": [{"from": "human", "value": "…"}], "chosen": {"from": "gpt", "value": "…"}, "rejected": {"from": "gpt", "value": "…"}}',
  fields: new Set(["conversations", "chosen", "rejected", "system", "tools", "id"]),
  matches: (row) => "conversations" in row && ("chosen" in row || "rejected" in row),
  convert(row, problems) {
    const calls: Calls = { made: 0, open: [] };
    const open: Open = [];
    const list = readConversations(row, calls, problems);
    const turns = list && readMessages(list, "conversations", problems, open);
    const own = Array.isArray(row.conversations) ? row.conversations.length : 0;
    const prompt: Part = { turns, path: "conversations", from: own - (list?.length ?? own) };
    const chosen = readAnswer(row.chosen, "chosen", calls, open, problems);
    const rejected = readAnswer(row.rejected, "rejected", calls, open, problems);
    return pairRow({ prompt, chosen, rejected }, row.tools, "tools", problems);
  },
};
