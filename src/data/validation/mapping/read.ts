/** Reads a row by its mapping, and makes the canonical row of the mapping's type. */
import { withSourceOf } from "../../../lib/text/exact-json.ts";
import { pairRow } from "../formats/format.ts";
import { checkMessages, finishRow, type JsonObject, readMessages } from "../rows/chat.ts";
import { unweighted } from "../rows/pairs.ts";
import type { Problems } from "../rows/problems.ts";
import type { ChatRow, Checked } from "../rows/types.ts";
import { type Mapping, typeOf } from "./model.ts";
import { readPreference } from "./read-preference.ts";
import { optional, promptText, promptTurns, readHistory } from "./read-prompt.ts";
import { fromJsonText } from "./turns.ts";
import { asText, isBlank, isMissing, turnsOf, valueAt } from "./values.ts";

const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** True when prompt and answer are texts, and not turns as JSON text. */
const isPairOfTexts = (row: JsonObject, { prompt, completion }: Mapping): boolean =>
  [prompt, completion].every((field) => {
    const value = valueAt(row, field);
    return typeof value !== "object" && value !== undefined && fromJsonText(value) === value;
  });

/** Adds the reasoning to the last assistant turn. */
function withReasoning(turns: unknown[], reasoning: string | null): unknown[] {
  const at = turns.findLastIndex((turn) => isObject(turn) && turn.role === "assistant");
  if (reasoning === null || at < 0) return turns;
  return turns.with(at, { ...(turns[at] as JsonObject), reasoning_content: reasoning });
}

/** All turns of a conversation with its answer. Null after reporting an error. */
export function conversation(row: JsonObject, mapping: Mapping, problems: Problems) {
  const prompt = promptTurns(row, mapping, problems);
  if (!prompt) return null;
  let { turns, path } = prompt;
  if (mapping.completion) {
    const given = valueAt(row, mapping.completion);
    if (isMissing(given)) {
      problems.add("missing_field", mapping.completion, row, `every row needs "${mapping.completion}"`);
      return null;
    }
    const answer = turnsOf(given, "assistant", mapping.completion, problems, { row });
    if (!answer) return null;
    turns = [...turns, ...answer.turns];
    path = mapping.completion;
  }
  const reasoning = optional(row, mapping.reasoning, problems);
  return problems.rowErrors() > 0 ? null : { turns: withReasoning(turns, reasoning), path };
}

/** The text of a required field; null after reporting that it is missing. */
function required(row: JsonObject, field: string, problems: Problems): string | null {
  const value = valueAt(row, field);
  if (!isMissing(value)) return asText(value, field, problems, row);
  problems.add("missing_field", field, row, `every row needs "${field}"`);
  return null;
}

/** The row of one question and one answer that are texts, with what comes before them. */
export function readPair(row: JsonObject, mapping: Mapping, problems: Problems): Checked<ChatRow> | null {
  const { prompt = "prompt", completion = "completion", tools = "tools" } = mapping;
  const system = optional(row, mapping.system, problems);
  const user = { text: promptText(row, mapping, problems), path: prompt };
  const assistant = { text: required(row, completion, problems), path: completion };
  const history = readHistory(row, mapping.history, problems);
  const earlier = history && readMessages(history, mapping.history ?? "history", problems);
  const made = earlier && pairRow(system, user, assistant, problems);
  made?.row.messages.splice(-2, 0, ...(earlier?.messages ?? []));
  const given = mapping.tools ? valueAt(row, tools) : undefined;
  return finishRow(made && { messages: made.row.messages, same: false }, given, tools, problems);
}

function readChat(row: JsonObject, mapping: Mapping, problems: Problems): Checked<ChatRow> | null {
  const { tools } = mapping;
  if (!mapping.messages && !mapping.reasoning && isPairOfTexts(row, mapping)) return readPair(row, mapping, problems);
  const found = conversation(row, mapping, problems);
  const checked = found && checkMessages(found.turns, found.path, problems);
  const finished = finishRow(checked, valueAt(row, tools), tools ?? "tools", problems);
  return finished && { row: finished.row, same: false };
}

/** The label as a Boolean, or null after reporting that it has another meaning. */
function readLabel(row: JsonObject, mapping: Mapping, problems: Problems): boolean | null {
  const { label: field = "label", good, bad } = mapping;
  const value = valueAt(row, field);
  if (isBlank(value)) {
    problems.add("missing_field", field, row, "expected true or false");
    return null;
  }
  const text = String(value).trim();
  if (good) {
    if (good.includes(text)) return true;
    if (!bad || bad.includes(text)) return false;
    problems.add("bad_label", field, value, `neither good (${good.join(", ")}) nor bad (${bad.join(", ")})`);
    return null;
  }
  if (/^true$/i.test(text)) return true;
  if (/^false$/i.test(text)) return false;
  problems.add("bad_label", field, value, "expected true or false");
  return null;
}

function readUnpaired(row: JsonObject, mapping: Mapping, problems: Problems): Checked | null {
  const label = readLabel(row, mapping, problems);
  const found = conversation(row, mapping, problems);
  const turns = found && readMessages(found.turns, found.path, problems);
  const tools = mapping.tools ?? "tools";
  const chat = finishRow(turns, valueAt(row, mapping.tools), tools, problems)?.row;
  if (!found || !chat || label === null) return null;
  const { path } = found;
  const last = chat.messages.at(-1);
  if (last?.role !== "assistant") problems.add("nothing_marked", path, last?.content);
  else if (last.content.trim() === "" && !last.tool_calls) problems.add("no_answer", path, last);
  else if (chat.messages.length === 1) problems.add("no_prompt", path, last.content);
  if (problems.rowErrors() > 0) return null;
  const prompt = unweighted(chat.messages.slice(0, -1), { turns: null, path }, problems, false);
  const answer = unweighted(chat.messages.slice(-1), { turns: null, path }, problems, true);
  const messages = [...prompt, ...answer];
  return { row: { messages, ...(chat.tools ? { tools: chat.tools } : {}), label }, same: false };
}

function readPrompt(row: JsonObject, mapping: Mapping, problems: Problems): Checked | null {
  const found = promptTurns(row, mapping, problems);
  const turns = found && readMessages(found.turns, found.path, problems);
  const finished = finishRow(turns, valueAt(row, mapping.tools), mapping.tools ?? "tools", problems);
  if (!found || !finished) return null;
  const { messages, tools } = finished.row;
  const last = messages.at(-1);
  if (last?.role === "assistant") problems.add("prompt_answered", found.path, last.content);
  else if (!messages.some(({ role }) => role === "user")) problems.add("no_question", found.path, found.turns);
  if (problems.rowErrors() > 0) return null;
  const prompt = unweighted(messages, { turns: null, path: found.path }, problems, false);
  const item = withSourceOf(
    Object.fromEntries((mapping.item ?? []).map((name) => [name, valueAt(row, name) ?? null])),
    row,
  );
  return { row: { messages: prompt, ...(tools ? { tools } : {}), item }, same: false };
}

function readText(row: JsonObject, mapping: Mapping, problems: Problems): Checked | null {
  const { text: field = "text" } = mapping;
  const text = asText(valueAt(row, field) ?? "", field, problems, row);
  if (text !== null && text.trim() === "") problems.add("empty_text", field, text);
  return text === null || problems.rowErrors() > 0 ? null : { row: { text }, same: false };
}

/** The canonical row, or null after reporting an error. */
export function readMapped(row: JsonObject, mapping: Mapping, problems: Problems): Checked | null {
  switch (typeOf(mapping)) {
    case "preference":
      return readPreference(row, mapping, problems);
    case "unpaired":
      return readUnpaired(row, mapping, problems);
    case "prompt":
      return readPrompt(row, mapping, problems);
    case "text":
      return readText(row, mapping, problems);
    default:
      return readChat(row, mapping, problems);
  }
}
