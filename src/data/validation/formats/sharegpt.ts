/**
 * ShareGPT rows: `conversations` with `{from, value}` turns, including `function_call` and `observation`, and optional
 * `system` and `tools`.
 */
import { memberText } from "../../../lib/text/exact-json.ts";
import { speakerOf } from "../mapping/roles.ts";
import { fromJsonText, isTurn } from "../mapping/turns.ts";
import { checkMessages, finishRow, isBlank, isObject, type JsonObject } from "../rows/chat.ts";
import { FLAG_NAMES, flagsOf } from "../rows/flags.ts";
import type { Problems } from "../rows/problems.ts";
import { REASONING } from "../rows/reasoning.ts";
import { parseJson, toolCallFromFunction } from "../rows/tools.ts";
import type { ChatFormat } from "./format.ts";

const KNOWN: ReadonlySet<string> = new Set(["from", "value", ...FLAG_NAMES, ...REASONING]);

/** The number of tool calls so far, and the ids of those without a result. */
export interface Calls {
  made: number;
  open: string[];
}

/** One turn in OpenAI's format, or null after reporting an error. */
export function readTurn(source: unknown, path: string, calls: Calls, problems: Problems): unknown {
  if (!isObject(source)) {
    problems.add("wrong_type", path, source, "expected {from, value}");
    return null;
  }
  const { from } = source;
  let { value } = source;
  const role = speakerOf(from);
  // Turns with other names of the fields are read like those of a chat row.
  if ((from === undefined && source.role !== undefined) || (role && value === undefined && isTurn(source))) {
    problems.add("turns_read", path, source);
    return source;
  }
  if (!role) {
    problems.add(from === undefined ? "missing_field" : "unknown_role", `${path}.from`, from ?? source);
    return null;
  }
  if (typeof value === "number" || typeof value === "boolean") {
    problems.add("number_as_text", `${path}.value`, value);
    value = memberText(source, "value");
  }
  if (typeof value !== "string") {
    problems.add(value === undefined ? "missing_field" : "wrong_type", `${path}.value`, value, "expected text");
    return null;
  }
  for (const key of Object.keys(source))
    if (!KNOWN.has(key) && source[key] !== null) problems.add("ignored_field", `${path}.${key}`, source[key]);
  const extra = flagsOf(source);
  for (const name of REASONING) if (name in source) extra[name] = source[name];
  if (role === "tool") return { role, content: value, tool_call_id: calls.open.shift() };
  if (role !== "call") return { role, content: value, ...extra };
  const parsed = parseJson(value);
  const list = Array.isArray(parsed) ? parsed : [parsed];
  const made = [];
  for (const item of list) {
    const call = toolCallFromFunction(item, `${path}.value`, calls.made, problems);
    if (!call) return null;
    calls.made++;
    calls.open.push(call.id);
    made.push(call);
  }
  return { role: "assistant", content: null, tool_calls: made, ...extra };
}

/** The turns of `system` and `conversations` in OpenAI's format, or null after reporting an error. */
export function readConversations(row: JsonObject, calls: Calls, problems: Problems): unknown[] | null {
  const { system } = row;
  const conversations = fromJsonText(row.conversations);
  if (!Array.isArray(conversations)) {
    problems.add("wrong_type", "conversations", conversations, "expected a list of {from, value}");
    return null;
  }
  const turns = conversations.map((turn, index) => readTurn(turn, `conversations[${index}]`, calls, problems));
  if (typeof system === "string" && !isBlank(system)) turns.unshift({ role: "system", content: system });
  else if (system !== undefined && system !== null && typeof system !== "string")
    problems.add("wrong_type", "system", system, "expected text");
  return problems.rowErrors() > 0 ? null : turns;
}

export const sharegptFormat: ChatFormat = {
  name: "sharegpt",
  type: "chat",
  title: "ShareGPT JSON or JSONL",
  example: '{"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}',
  fields: new Set(["conversations", "system", "tools", "id"]),
  layout: {
    system: "system",
    turns: {
      field: "conversations",
      role: "from",
      text: "value",
      roles: { human: "user", user: "user", gpt: "assistant", assistant: "assistant", system: "system" },
    },
    silent: ["id"],
  },
  matches: (row) => "conversations" in row,
  convert(row, problems) {
    const turns = readConversations(row, { made: 0, open: [] }, problems);
    if (!turns) return null;
    const finished = finishRow(checkMessages(turns, "conversations", problems), row.tools, "tools", problems);
    return finished && { row: finished.row, same: false };
  },
};
