/**
 * Prompt rows in the format of OpenAI's reinforcement fine-tuning: `messages` that end with a user message, and extra
 * fields for graders.
 */
import { keysOf, withSourceOf } from "../../../lib/text/exact-json.ts";
import { finishRow, isBlank, isObject, type JsonObject, readMessages } from "../rows/chat.ts";
import { unweighted } from "../rows/pairs.ts";
import { chatFormat } from "./chat.ts";
import type { RowFormat } from "./format.ts";

/** Fields of the conversation; all others are for graders. */
const OWN = chatFormat.fields;
const ENDS = new Set(["user", "tool", "function"]);

const others = (row: JsonObject) => keysOf(row).filter((key) => !OWN.has(key));

/** Names of fields that say where a row comes from. No grader can use them. */
const ORIGIN =
  /^(_*id|idx|index|no|key|uu?id|hash|.*[_-](id|uuid|hash|at|ts|url)|[a-z]+I[dD]|source|src|url|link|file|file_?name|path|title|dates?|time|timestamp|created|updated|version|lang|language|locale|split|subset|dataset|model|author|user|meta|metadata|tags)$/;

/** Whether a row has a field that a grader could use. */
const isGradable = (row: JsonObject): boolean =>
  others(row).some((name) => {
    const value = row[name];
    return !ORIGIN.test(name) && value !== null && !(typeof value === "string" && isBlank(value));
  });

/** The fields for graders. A row in the stored form already has them in `item`. */
function itemOf(row: JsonObject): Record<string, unknown> {
  const names = others(row);
  if (names.length === 1 && names[0] === "item" && isObject(row.item)) return row.item;
  return withSourceOf(Object.fromEntries(names.map((name) => [name, row[name]])), row);
}

/** Accepts every field name, because graders can use any field. */
class AnyField extends Set<string> {
  override has(): boolean {
    return true;
  }
}

export const promptFormat: RowFormat = {
  name: "prompt",
  type: "prompt",
  title: "prompts JSONL",
  example: '{"messages": [{"role": "user", "content": "…"}], "answer": "…"}',
  fields: new AnyField(),
  matches(row) {
    if (!Array.isArray(row.messages) || !isGradable(row)) return false;
    // A conversation with an answer is one of chat, unless the other rows of the file are prompts.
    if (row.messages.some((turn) => isObject(turn) && turn.role === "assistant")) return false;
    const last: unknown = row.messages.at(-1);
    return isObject(last) && typeof last.role === "string" && ENDS.has(last.role);
  },
  convert(row, problems) {
    const turns = readMessages(row.messages, "messages", problems);
    if (turns?.messages.length === 0) problems.add("no_messages", "messages", row.messages);
    const finished = finishRow(turns, row.tools ?? row.functions, "tools", problems);
    if (!finished) return null;
    const { messages, tools } = finished.row;
    if (messages.at(-1)?.role === "assistant") problems.add("prompt_answered", "messages", messages.at(-1)?.content);
    else if (!messages.some(({ role }) => role === "user")) problems.add("no_question", "messages", row.messages);
    else if (!isGradable(row)) problems.add("nothing_to_grade", "", row);
    if (problems.rowErrors() > 0) return null;
    const prompt = unweighted(messages, { turns: null, path: "messages" }, problems, false);
    return { row: { messages: prompt, ...(tools ? { tools } : {}), item: itemOf(row) }, same: false };
  },
};
