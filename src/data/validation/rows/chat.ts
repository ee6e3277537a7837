/** Turns any chat-shaped row into the canonical chat row, and reports every fault by its field path. */

import { memberText } from "../../../lib/text/exact-json.ts";
import { fromJsonText, openaiTurns } from "../mapping/turns.ts";
import { FLAG_NAMES, weightOf } from "./flags.ts";
import type { Problems } from "./problems.ts";
import { REASONING, reasoningOf } from "./reasoning.ts";
import { checkTools, readToolCalls, type ToolCall, toolCallFromFunction } from "./tools.ts";
import type { ChatRow, Checked, Message, Role } from "./types.ts";

export type JsonObject = Record<string, unknown>;

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const MAX_MESSAGES = 2048;

const ROLES: Record<string, Role> = {
  system: "system",
  developer: "system",
  user: "user",
  assistant: "assistant",
  tool: "tool",
  function: "tool",
};
const roleOf = (value: unknown): Role | undefined =>
  typeof value === "string" && Object.hasOwn(ROLES, value) ? ROLES[value] : undefined;

const KNOWN_MESSAGE_FIELDS = new Set([
  "role",
  "content",
  ...FLAG_NAMES,
  "tool_calls",
  "tool_call_id",
  "name",
  "refusal",
  "function_call",
]);

const REASONING_FIELDS: ReadonlySet<string> = new Set(REASONING);

/** True for a text without words: the one rule of emptiness for every field of every format. */
export const isBlank = (text: string | null): boolean => text === null || text.trim() === "";

/** True for a message without a content field. A content of null is empty, not missing. */
const isMissing = (given: unknown, text: string | null) => given === undefined && text === null;

/** Ids of tool calls without a result so far, in order. */
export type Open = string[];

/**
 * Text of `content`: a string, or a list of text parts joined by line breaks. Null when it is absent, or when it is
 * wrong and was reported.
 */
function textOf(source: JsonObject, path: string, problems: Problems): string | null {
  const { content } = source;
  if (content === undefined || content === null) return null;
  let text: string;
  if (typeof content === "string") text = content;
  else if (typeof content === "number" || typeof content === "boolean") {
    problems.add("number_as_text", path, content);
    text = memberText(source, "content");
  } else if (Array.isArray(content)) {
    const parts: string[] = [];
    for (const [index, part] of content.entries()) {
      const type = isObject(part) ? part.type : undefined;
      const value = isObject(part) ? (part.text ?? part.value ?? part.refusal) : undefined;
      if ((type === "text" || type === "refusal") && typeof value === "string") parts.push(value);
      else if (typeof type === "string" && type !== "text")
        problems.add("unsupported_content", `${path}[${index}].type`, type);
      else problems.add("wrong_type", `${path}[${index}]`, part, "expected {type: 'text', text: …}");
    }
    text = parts.join("\n");
  } else {
    problems.add("wrong_type", path, content, "expected text, or a list of text parts");
    return null;
  }
  if (!text.isWellFormed()) problems.add("lone_surrogate", path, text);
  return text;
}

function assistantTurn(
  source: JsonObject,
  turn: Message,
  text: string | null,
  path: string,
  problems: Problems,
  open: Open,
) {
  let content = text;
  if (isBlank(content) && typeof source.refusal === "string") content = source.refusal;
  const reasoning = reasoningOf(source, path, problems);
  if (reasoning !== null) turn.reasoning_content = reasoning;
  let calls: ToolCall[] | null = null;
  if (source.tool_calls !== undefined && source.tool_calls !== null)
    calls = readToolCalls(source.tool_calls, `${path}.tool_calls`, problems);
  else if (source.function_call !== undefined && source.function_call !== null) {
    const call = toolCallFromFunction(source.function_call, `${path}.function_call`, open.length, problems);
    calls = call ? [call] : [];
  }
  if (calls && calls.length > 0) {
    turn.tool_calls = calls;
    open.push(...calls.map((call) => call.id));
  }
  if (isMissing(source.content, content) && calls === null && reasoning === null)
    problems.add("missing_content", path, source);
  else if (problems.rowErrors() === 0 && isBlank(content) && !calls?.length && reasoning === null)
    problems.add("empty_content", `${path}.content`, content);
  turn.content = content ?? "";
}

function toolTurn(source: JsonObject, turn: Message, path: string, problems: Problems, open: Open) {
  let id = typeof source.tool_call_id === "string" ? source.tool_call_id : undefined;
  // A legacy function result has no id. It belongs to the oldest call without a result.
  if (id === undefined) id = open[0];
  const place = id === undefined ? -1 : open.indexOf(id);
  if (place < 0) problems.add("tool_without_call", `${path}.tool_call_id`, source.tool_call_id ?? "");
  else open.splice(place, 1);
  if (id !== undefined) turn.tool_call_id = id;
}

/** True for images, audio or video beside the content, without which the text says something else. */
const isMedia = (key: string, value: unknown): boolean =>
  /^(image|audio|video)s?(_urls?)?$/.test(key) && (!Array.isArray(value) || value.length > 0);

/** One message of any accepted dialect as a canonical turn, or null when it is not a valid message. */
function readMessage(source: unknown, path: string, problems: Problems, open: Open): Message | null {
  if (!isObject(source)) {
    problems.add("wrong_type", path, source, "expected a message object");
    return null;
  }
  if (source.role === undefined) {
    problems.add("missing_field", `${path}.role`, source, "every message needs a role");
    return null;
  }
  const role = roleOf(source.role);
  if (!role) {
    problems.add("unknown_role", `${path}.role`, source.role);
    return null;
  }
  for (const key of Object.keys(source))
    if (!KNOWN_MESSAGE_FIELDS.has(key) && !(role === "assistant" && REASONING_FIELDS.has(key)) && source[key] !== null)
      problems.add(isMedia(key, source[key]) ? "unsupported_content" : "ignored_field", `${path}.${key}`, source[key]);
  const text = textOf(source, `${path}.content`, problems);
  const turn: Message = { role, content: text ?? "" };
  const weight = weightOf(source, role, path, problems);
  if (weight !== undefined) turn.weight = weight;
  if (typeof source.name === "string") turn.name = source.name;
  else if (source.name !== undefined && source.name !== null)
    problems.add("wrong_type", `${path}.name`, source.name, "expected text");
  if (role === "assistant") assistantTurn(source, turn, text, path, problems, open);
  else {
    if (role === "tool") toolTurn(source, turn, path, problems, open);
    if (isMissing(source.content, text)) problems.add("missing_content", path, source);
    else if (isBlank(text) && problems.rowErrors() === 0) problems.add("empty_content", `${path}.content`, text);
  }
  return turn;
}

/** True for a message with only `role` and valid text. Nearly all messages are like this, so the check is cheap. */
function isPlain(message: unknown): message is Message {
  if (!isObject(message)) return false;
  let keys = 0;
  for (const _ in message) keys++;
  const { role, content } = message;
  return (
    keys === 2 &&
    (role === "assistant" || role === "user" || role === "system") &&
    typeof content === "string" &&
    content.trim() !== "" &&
    content.isWellFormed()
  );
}

export interface Turns {
  messages: Message[];
  same: boolean;
}

/**
 * Reads a list of messages in any accepted dialect. The caller checks the conversation as a whole.
 * @param path field path of the list in the file, for problems
 * @param open tool calls of earlier turns without a result; the calls of these turns are added
 * @returns the canonical turns, or null when the row has errors
 */
export function readMessages(given: unknown, path: string, problems: Problems, open: Open = []): Turns | null {
  const list = fromJsonText(given);
  if (!Array.isArray(list)) {
    problems.add(list === undefined ? "missing_field" : "wrong_type", path, list, "expected a list of messages");
    return null;
  }
  if (list.length > MAX_MESSAGES) {
    problems.add("too_many_messages", path, `${list.length} messages`);
    return null;
  }
  const messages: Message[] = [];
  let same = list === given;
  if (!same) problems.add("turns_read", path, given, "a list as text");
  for (let index = 0; index < list.length; index++) {
    const source: unknown = list[index];
    if (isPlain(source)) {
      messages.push(source);
      continue;
    }
    same = false;
    for (const each of isObject(source) ? openaiTurns(source) : [source]) {
      if (each !== source) problems.add("turns_read", `${path}[${index}]`, source);
      const turn = readMessage(each, `${path}[${index}]`, problems, open);
      if (turn) messages.push(turn);
    }
  }
  return problems.rowErrors() > 0 ? null : { messages, same };
}

/** Checks the messages of a chat row: valid, and with an assistant turn to train on. Null when there are errors. */
export function checkMessages(given: unknown, path: string, problems: Problems): Turns | null {
  const list = fromJsonText(given);
  if (Array.isArray(list) && list.length === 0) {
    problems.add("no_messages", path, list);
    return null;
  }
  const turns = readMessages(given, path, problems);
  if (!turns) return null;
  const { messages } = turns;
  let assistants = 0;
  let trained = 0;
  for (const turn of messages)
    if (turn.role === "assistant") {
      assistants++;
      if (turn.weight !== 0) trained++;
    }
  if (assistants === 0) problems.add("no_assistant", path, messages.at(-1)?.content);
  else if (trained === 0) problems.add("nothing_to_train", path);
  if (problems.rowErrors() > 0) return null;
  const end = messages.findLastIndex(({ role }) => role === "assistant") + 1;
  if (end === messages.length) return turns;
  problems.add("ends_without_assistant", `${path}[${end}]`, messages[end]?.content);
  return { messages: messages.slice(0, end), same: false };
}

/** The canonical row of checked messages and raw tool definitions, or null when the tools are not valid. */
export function finishRow(
  checked: Turns | null,
  tools: unknown,
  path: string,
  problems: Problems,
): Checked<ChatRow> | null {
  const list = tools === undefined || tools === null ? undefined : checkTools(tools, path, problems);
  if (!checked || problems.rowErrors() > 0) return null;
  const row: ChatRow = { messages: checked.messages };
  if (list && list.length > 0) row.tools = list;
  return { row, same: checked.same && tools === undefined };
}
