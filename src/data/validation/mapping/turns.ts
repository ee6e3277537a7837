/**
 * One turn of any chat format as messages of OpenAI's format: other names of fields and roles, blocks, flat tool calls,
 * and JSON inside texts. Turns that OpenAI's format knows are passed on unchanged.
 */
import { parseExact, writeExact } from "../../../lib/text/exact-json.ts";
import { jsonOfPython } from "../../../lib/text/python-literal.ts";
import { plainText, readContents } from "./parts.ts";
import { isOpenaiRole, speakerOf } from "./roles.ts";

type JsonObject = Record<string, unknown>;
const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const ROLE_FIELDS = ["role", "from", "speaker", "author", "sender", "participant"];
const TEXT_FIELDS = ["content", "value", "text", "message", "utterance", "parts", "body", "tool_results"];

const parsed = (text: string): unknown => {
  try {
    return parseExact(text);
  } catch {
    return undefined;
  }
};

/** A list or object that is written as JSON text, or a list of objects as Python prints it; other values unchanged. */
export function fromJsonText(value: unknown): unknown {
  if (typeof value !== "string" || !/^\s*[[{]/.test(value)) return value;
  const found = parsed(value);
  if (typeof found === "object" && found !== null) return found;
  const python = jsonOfPython(value);
  const list = python === null ? undefined : parsed(python);
  return Array.isArray(list) && list.length > 0 && list.every(isObject) ? list : value;
}

/** Speakers that LangChain names as the type of a message. */
const TYPES = new Set(["human", "ai", "system", "user", "assistant", "tool"]);
const isTyped = (turn: JsonObject): boolean => typeof turn.type === "string" && TYPES.has(turn.type);

/** A message of LangChain without the object around its content: `{type, data: {content}}`. */
const unwrapped = (turn: JsonObject): JsonObject =>
  isTyped(turn) && isObject(turn.data) ? { ...turn.data, type: turn.type } : turn;

/** The field that has the speaker, and the one that has what is said. */
function fieldsOf(turn: JsonObject): { role: string | undefined; text: string | undefined } {
  const named = ROLE_FIELDS.find((name) => turn[name] !== undefined && turn[name] !== null);
  const role = named ?? (isTyped(turn) ? "type" : undefined);
  return { role, text: TEXT_FIELDS.find((name) => name !== role && turn[name] !== undefined) };
}

const nameOf = (speaker: unknown) => (isObject(speaker) ? (speaker.role ?? speaker.name) : speaker);

/** Both sides of an exchange that is one object: `{"human": "…", "assistant": "…"}`. Null for other objects. */
function exchangeOf(turn: JsonObject): { user: string; assistant: string } | null {
  let user: unknown;
  let assistant: unknown;
  for (const key of Object.keys(turn)) {
    const speaker = speakerOf(key);
    if (speaker === "user") user = turn[key];
    else if (speaker === "assistant") assistant = turn[key];
    else return null;
  }
  return typeof user === "string" && typeof assistant === "string" ? { user, assistant } : null;
}

/** True for an object that says who speaks, and something. */
export function isTurn(value: unknown): value is JsonObject {
  if (!isObject(value)) return false;
  if (exchangeOf(value)) return true;
  const turn = unwrapped(value);
  const { role, text } = fieldsOf(turn);
  if (!role || speakerOf(nameOf(turn[role])) === undefined) return false;
  return text !== undefined || ["tool_calls", "function_call", "refusal"].some((name) => name in turn);
}

/** True for a list of turns, also as JSON text. */
export function isTurns(value: unknown): boolean {
  const list = fromJsonText(value);
  return Array.isArray(list) && list.length > 0 && list.every(isTurn);
}

/** Tool calls in OpenAI's form: `{name, arguments}` without `function`, and lists as JSON text. */
function callsOf(given: unknown): unknown {
  const list = fromJsonText(given);
  if (!Array.isArray(list)) return list;
  if (list === given && list.every((call: unknown) => !isObject(call) || isObject(call.function))) return given;
  return list.map((call: unknown) => {
    if (!isObject(call) || isObject(call.function) || typeof call.name !== "string") return call;
    const { name, arguments: args, args: short, input, parameters, id } = call;
    return { id, type: "function", function: { name, arguments: args ?? short ?? input ?? parameters ?? {} } };
  });
}

/** Items of OpenAI's Responses API that are not messages. */
function itemTurns(item: JsonObject): JsonObject[] | null {
  if (item.type === "function_call")
    return [
      {
        role: "assistant",
        content: null,
        tool_calls: [{ id: item.call_id, type: "function", function: { name: item.name, arguments: item.arguments } }],
      },
    ];
  if (item.type === "function_call_output")
    return [{ role: "tool", tool_call_id: item.call_id, content: plainText(item.output) ?? writeExact(item.output) }];
  if (item.type === "reasoning") {
    const text = plainText(item.summary ?? item.content ?? []) ?? "";
    return text === "" ? [] : [{ role: "assistant", content: "", reasoning_content: text }];
  }
  return null;
}

/** Fields that say nothing beyond the turn: of messages that were copied from logs and exports. */
const SILENT = new Set(["id", "type", "status", "create_time", "created_at", "timestamp", "annotations", "index"]);

/** A turn whose text has several parts, in the order: results of tools, what is said with its calls. */
function withParts(role: string, rest: JsonObject, content: unknown): JsonObject[] | null {
  const contents = role === "tool" ? null : readContents(content);
  if (!contents) return null;
  const { parts, calls, results, reasoning } = contents;
  const turn: JsonObject = { role, ...rest, content: parts.length > 0 ? parts : null };
  if (calls.length > 0) turn.tool_calls = calls;
  if (reasoning.length > 0) turn.reasoning_content = reasoning.join("\n");
  const says = parts.length > 0 || calls.length > 0 || reasoning.length > 0 || results.length === 0;
  return says ? [...results, turn] : results;
}

/**
 * The turn as messages of OpenAI's format: one, or several when it has results of tools among its blocks.
 * @returns the turn itself when it is in that format, or when its speaker is unknown, which the check reports
 */
export function openaiTurns(given: JsonObject): JsonObject[] {
  const item = given.role === undefined ? itemTurns(given) : null;
  if (item) return item;
  const turn = unwrapped(given);
  const { role: roleField, text: textField } = fieldsOf(turn);
  const name = roleField === undefined ? undefined : nameOf(turn[roleField]);
  const speaker = speakerOf(name);
  const exchange = roleField ? null : exchangeOf(turn);
  if (exchange)
    return [
      { role: "user", content: exchange.user },
      { role: "assistant", content: exchange.assistant },
    ];
  if (!roleField || !speaker) return [given];
  const isOpenai = roleField === "role" && isOpenaiRole(name) && (textField === undefined || textField === "content");
  const role = isOpenaiRole(name) ? String(name) : speaker === "call" ? "assistant" : speaker;
  const rest: JsonObject = {};
  for (const key of Object.keys(turn))
    if (key !== roleField && key !== textField && (isOpenai || !SILENT.has(key))) rest[key] = turn[key];
  if (rest.tool_calls !== undefined && rest.tool_calls !== null) rest.tool_calls = callsOf(rest.tool_calls);
  const content = textField === undefined ? null : turn[textField];
  if (speaker === "call") return [{ ...rest, role, content: null, tool_calls: callsOf(asList(fromJsonText(content))) }];
  const split = withParts(role, rest, content);
  if (split) return split;
  const isText = typeof content === "string" || content === null || content === undefined;
  if (role === "tool" && !isText && !isTextParts(content))
    return [{ role, ...rest, content: plainText(content) ?? writeExact(content) }];
  if (isOpenai && rest.tool_calls === turn.tool_calls) return [turn];
  return [{ role, ...rest, content }];
}

const asList = (value: unknown) => (isObject(value) ? [value] : value);
const isTextParts = (value: unknown) => Array.isArray(value) && value.every((part) => isObject(part) && "type" in part);
