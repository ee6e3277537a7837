/** Reads single values of a row by the mapping: fields by path, texts, and the turns of a prompt or an answer. */
import { memberText } from "../../../lib/text/exact-json.ts";
import type { JsonObject } from "../rows/chat.ts";
import type { Problems } from "../rows/problems.ts";
import { plainText } from "./parts.ts";
import { fromJsonText, isTurn } from "./turns.ts";

const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The value of a field, or of a path such as `data.text` when no field has that name. */
export function valueAt(row: JsonObject, path: string | undefined): unknown {
  if (path === undefined) return undefined;
  if (Object.hasOwn(row, path)) return row[path];
  let at: unknown = row;
  for (const name of path.split(".")) {
    if (!isObject(at) || !Object.hasOwn(at, name)) return undefined;
    at = at[name];
  }
  return at;
}

export const isMissing = (value: unknown): boolean => value === undefined || value === null;
export const isBlank = (value: unknown): boolean =>
  isMissing(value) || (typeof value === "string" && value.trim() === "");

/**
 * A value as text, or null after reporting that it is none. Numbers and Booleans are read as text.
 * @param row the row of the value, for the digits of a number as the file has them
 */
export function asText(value: unknown, path: string, problems: Problems, row: JsonObject = {}): string | null {
  let text = plainText(value);
  if (typeof value === "number" || typeof value === "boolean") {
    text = Object.hasOwn(row, path) ? memberText(row, path) : String(value);
    problems.add("number_as_text", path, value);
  }
  if (text === undefined) {
    problems.add("wrong_type", path, value, "expected text");
    return null;
  }
  if (!text.isWellFormed()) problems.add("lone_surrogate", path, text);
  return text;
}

/** A text in the form of Anthropic's transcripts: `\n\nHuman: …\n\nAssistant: …`. */
const TRANSCRIPT = /^\s*(?:Human|H): /;
function transcriptTurns(text: string): JsonObject[] | null {
  if (!TRANSCRIPT.test(text) || !/\n\n(?:Assistant|A): ?/.test(text)) return null;
  const pieces = `\n\n${text.trimStart()}`.split(/\n\n(Human|H|Assistant|A):/).slice(1);
  const turns: JsonObject[] = [];
  for (let at = 0; at < pieces.length; at += 2)
    turns.push({ role: pieces[at]?.startsWith("H") ? "user" : "assistant", content: (pieces[at + 1] ?? "").trim() });
  return turns;
}

/** True for a list of texts, which could be several answers. */
const isSeveral = (value: unknown): value is string[] =>
  Array.isArray(value) && value.length > 1 && value.every((each) => typeof each === "string");

/** What a text may stand for beside itself. */
export interface Reading {
  /** Lists and objects as JSON text. */
  json?: boolean;
  /** A whole conversation as a transcript. */
  transcript?: boolean;
  /** The row of the value, for the digits of numbers. */
  row?: JsonObject;
}

/** The turns of a value. */
export interface ReadTurns {
  turns: unknown[];
  /** The value is a single turn or a text, so its path has no index. */
  isOne: boolean;
  /** The value is a text, which became one turn. */
  isText: boolean;
}

/** The turns of a list of them, a single turn, or an object of an API that has them (`messages`, `choices`). */
function turnsIn(value: unknown): ReadTurns | null {
  const one = (turn: unknown): ReadTurns => ({ turns: [turn], isOne: true, isText: false });
  const list = (turns: unknown[]): ReadTurns => ({ turns, isOne: false, isText: false });
  if (Array.isArray(value)) {
    const isList = value.every(isObject) && value.some((each) => isTurn(each) || !("text" in each));
    return isList ? list(value) : null;
  }
  if (!isObject(value)) return null;
  if (Array.isArray(value.messages)) return list(value.messages);
  const [choice] = Array.isArray(value.choices) ? (value.choices as unknown[]) : [];
  if (isObject(choice) && isObject(choice.message)) return one(choice.message);
  return plainText(value) === undefined || isTurn(value) ? one(value) : null;
}

/**
 * The turns of a prompt or an answer: a text becomes one turn of `role`.
 * @returns null after reporting that the value has none
 */
export function turnsOf(
  given: unknown,
  role: "user" | "assistant",
  path: string,
  problems: Problems,
  { json = true, transcript = false, row = {} }: Reading = {},
): ReadTurns | null {
  const found = turnsIn(json ? fromJsonText(given) : given);
  if (found) return found;
  if (isSeveral(given)) {
    problems.add("wrong_type", path, given, `expected one text, not a list of ${given.length}`);
    return null;
  }
  const text = asText(given, path, problems, row);
  if (text === null) return null;
  const turns = transcript ? transcriptTurns(text) : null;
  if (turns) return { turns, isOne: false, isText: false };
  return { turns: [{ role, content: text }], isOne: true, isText: true };
}
