/** Reads what comes before the answer of a row by its mapping: system text, history, and the prompt or the messages. */
import type { JsonObject } from "../rows/chat.ts";
import type { Problems } from "../rows/problems.ts";
import type { Mapping } from "./model.ts";
import { fromJsonText, isTurn, isTurns } from "./turns.ts";
import { asText, isBlank, isMissing, type ReadTurns, turnsOf, valueAt } from "./values.ts";

const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The text of an optional field; null when it is empty. */
export function optional(row: JsonObject, field: string | undefined, problems: Problems): string | null {
  const value = valueAt(row, field);
  return field === undefined || isBlank(value) ? null : asText(value, field, problems, row);
}

/** Earlier turns: pairs of question and answer, or turns. Null after reporting an error. */
export function readHistory(row: JsonObject, field: string | undefined, problems: Problems): JsonObject[] | null {
  const history = fromJsonText(valueAt(row, field));
  if (field === undefined || isBlank(history)) return [];
  if (!Array.isArray(history)) {
    problems.add("wrong_type", field, history, "expected a list of [question, answer]");
    return null;
  }
  const turns: JsonObject[] = [];
  for (const [index, each] of history.entries()) {
    const at = `${field}[${index}]`;
    const given: unknown[] = Array.isArray(each) ? each : isObject(each) && !isTurn(each) ? Object.values(each) : [];
    const pair = given.map((part) => part ?? "");
    const [user, assistant] = pair;
    if (isTurn(each)) turns.push(each);
    else if (typeof user !== "string" || typeof assistant !== "string" || pair.length !== 2)
      problems.add("wrong_type", at, each, "expected [question, answer]");
    else if (!user.isWellFormed() || !assistant.isWellFormed()) problems.add("lone_surrogate", at, each);
    else if (!isBlank(user) || !isBlank(assistant))
      turns.push({ role: "user", content: user }, { role: "assistant", content: assistant });
  }
  return problems.rowErrors() > 0 ? null : turns;
}

/** The prompt with its context, as one text. */
export function promptText(row: JsonObject, mapping: Mapping, problems: Problems): string | null {
  const { prompt = "prompt" } = mapping;
  const value = valueAt(row, prompt);
  if (isMissing(value)) {
    problems.add("missing_field", prompt, row, `every row needs "${prompt}"`);
    return null;
  }
  const text = asText(value, prompt, problems, row);
  const context = optional(row, mapping.context, problems);
  if (text === null || context === null) return text;
  return isBlank(text) ? context : `${text}\n${context}`;
}

/** The turns before the answer: system, history, and the prompt or the messages. Null after reporting an error. */
export function promptTurns(
  row: JsonObject,
  mapping: Mapping,
  problems: Problems,
  json = true,
): (ReadTurns & { path: string; before: number }) | null {
  const path = mapping.messages ?? mapping.prompt ?? "prompt";
  const given = valueAt(row, path);
  if (isMissing(given)) {
    problems.add("missing_field", path, row, `every row needs "${path}"`);
    return null;
  }
  const isText = typeof given === "string" && !(json && isTurns(given));
  const main = isText && mapping.context && !mapping.messages ? promptText(row, mapping, problems) : given;
  const read = main === null ? null : turnsOf(main, "user", path, problems, { json, row });
  const history = readHistory(row, mapping.history, problems);
  const system = optional(row, mapping.system, problems);
  if (!read || !history || problems.rowErrors() > 0) return null;
  const before: unknown[] = system === null ? [] : [{ role: "system", content: system }];
  before.push(...history);
  return { ...read, turns: [...before, ...read.turns], path, before: before.length };
}
