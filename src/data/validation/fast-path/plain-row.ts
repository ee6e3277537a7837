/**
 * Recognizes the most common row from its bytes: `{"messages": [{"role": "…", "content": "…"}, …]}` without other
 * fields or faults. Such a row is already canonical, so it is not parsed, which nearly doubles the validation speed.
 * All other rows go to the full check. A test compares the results of both.
 */

import { ascii, endOfText, maybeBlank, QUOTE, startsWith, type TextFacts } from "./text-bytes.ts";

/** The counts of one row for the report. The object is reused for every row. */
export interface PlainRow {
  system: number;
  user: number;
  assistant: number;
  /** Characters of all contents in UTF-16 units, as `String.length` counts; of two answers, those of the longer one. */
  characters: number;
  /** Turns that the model never reads together with the others: the second answer of a preference row. */
  alternatives: number;
}

const MAX_MESSAGES = 2048;
const COMMA = 44;
const SPACE = 32;

const OPEN = ascii('{"messages":');
const ROLE = ascii('{"role":');
const CONTENT = ascii('"content":');
const TEXT = ascii('{"text":');
const ASSISTANT = ascii('assistant"');
const USER = ascii('user"');
const SYSTEM = ascii('system"');

const facts: TextFacts = { units: 0, exact: true };

/**
 * @param bytes valid UTF-8; the record is `start` to `end`, without surrounding spaces
 * @returns false when the row needs the full check, which may still accept it
 */
export function readPlain(bytes: Uint8Array, start: number, end: number, row: PlainRow): boolean {
  row.system = row.user = row.assistant = row.characters = 0;
  if (!startsWith(bytes, start, OPEN)) return false;
  let at = start + OPEN.length;
  if (bytes[at] === SPACE) at++;
  if (bytes[at++] !== 91) return false;
  let last = 0;
  for (let messages = 1; messages <= MAX_MESSAGES; messages++) {
    if (!startsWith(bytes, at, ROLE)) return false;
    at += ROLE.length;
    if (bytes[at] === SPACE) at++;
    if (bytes[at++] !== QUOTE) return false;
    last = bytes[at] ?? 0;
    if (last === 97 && startsWith(bytes, at, ASSISTANT)) {
      row.assistant++;
      at += ASSISTANT.length;
    } else if (last === 117 && startsWith(bytes, at, USER)) {
      row.user++;
      at += USER.length;
    } else if (last === 115 && startsWith(bytes, at, SYSTEM)) {
      row.system++;
      at += SYSTEM.length;
    } else return false;
    if (bytes[at++] !== COMMA) return false;
    if (bytes[at] === SPACE) at++;
    if (!startsWith(bytes, at, CONTENT)) return false;
    at += CONTENT.length;
    if (bytes[at] === SPACE) at++;
    if (bytes[at++] !== QUOTE) return false;
    const text = at;
    at = endOfText(bytes, at, end, facts);
    if (at < 0 || maybeBlank(bytes, text, at)) return false;
    row.characters += facts.units;
    at++;
    if (bytes[at++] !== 125) return false;
    if (bytes[at] !== COMMA) break;
    at++;
    if (bytes[at] === SPACE) at++;
  }
  return bytes[at] === 93 && bytes[at + 1] === 125 && at + 2 === end && last === 97;
}

/**
 * The same for a plain text row: `{"text": "…"}`.
 * @returns false when the row needs the full check, which may still accept it
 */
export function readPlainText(bytes: Uint8Array, start: number, end: number, row: PlainRow): boolean {
  row.system = row.user = row.assistant = row.characters = 0;
  if (!startsWith(bytes, start, TEXT)) return false;
  let at = start + TEXT.length;
  if (bytes[at] === SPACE) at++;
  if (bytes[at++] !== QUOTE) return false;
  const close = endOfText(bytes, at, end, facts);
  if (close < 0 || maybeBlank(bytes, at, close)) return false;
  row.characters = facts.units;
  return bytes[close + 1] === 125 && close + 2 === end;
}
