/**
 * Preference rows in the TRL format, common on the Hugging Face Hub: `prompt`, `chosen` and `rejected` as texts or
 * messages, or two complete conversations.
 */
import type { Mapping } from "../mapping/model.ts";
import { readPreference } from "../mapping/read-preference.ts";
import { isObject, type JsonObject, type Open, readMessages } from "../rows/chat.ts";
import type { Part } from "../rows/pairs.ts";
import type { Problems } from "../rows/problems.ts";
import type { RowFormat } from "./format.ts";

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

/** The mapping of a row, by the fields that it has. */
function mappingOf(row: JsonObject): Mapping {
  const prompt = PROMPTS.find((each) => row[each] !== undefined && row[each] !== null);
  const isWhole = "chosen_messages" in row || "rejected_messages" in row;
  return {
    prompt,
    context: prompt === "instruction" ? "input" : undefined,
    system: "system",
    tools: "tools",
    chosen: isWhole ? "chosen_messages" : "chosen",
    rejected: isWhole ? "rejected_messages" : "rejected",
  };
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
  convert: (row, problems) => readPreference(row, mappingOf(row), problems, false),
};
