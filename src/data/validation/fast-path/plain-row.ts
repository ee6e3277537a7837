/**
 * Recognizes the most common row from its bytes: `{"messages": [{"role": "…", "content": "…"}, …]}` without other
 * fields or faults. Such a row is already canonical, so it is not parsed, which nearly doubles the validation speed.
 * All other rows go to the full check. A test compares the results of both.
 */

import { addRange, clearText, endWithAnswer, PART, type RowText } from "../rows/row-text.ts";
import { ascii, createTextScan, maybeBlank, QUOTE, startsWith } from "./text-bytes.ts";

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

/**
 * Creates readers of rows of valid UTF-8. A record is `start` to `end`, without surrounding spaces. The readers return
 * false when the row needs the full check, which may still accept it.
 * @param row receives the counts of a row, and `text` its ranges
 */
export function createPlainRows(row: PlainRow, text: RowText) {
  const scan = createTextScan();

  function clear() {
    row.system = row.user = row.assistant = row.characters = row.alternatives = 0;
    clearText(text);
  }

  /** Adds the text that begins at `at`, after its opening quote. Returns the index after the closing one, or -1. */
  function take(bytes: Uint8Array, at: number, end: number, part: number): number {
    const close = scan.endOfText(bytes, at, end);
    if (close < 0 || maybeBlank(bytes, at, close)) return -1;
    row.characters += scan.units;
    addRange(text, part, at, close);
    return close + 1;
  }

  return {
    chat(bytes: Uint8Array, start: number, end: number): boolean {
      clear();
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
        at = take(bytes, at, end, last === 115 ? PART.system : PART.prompt);
        if (at < 0 || bytes[at++] !== 125) return false;
        if (bytes[at] !== COMMA) break;
        at++;
        if (bytes[at] === SPACE) at++;
      }
      if (last !== 97 || bytes[at] !== 93 || bytes[at + 1] !== 125 || at + 2 !== end) return false;
      endWithAnswer(text);
      return true;
    },
    /** The same for a plain text row: `{"text": "…"}`. */
    text(bytes: Uint8Array, start: number, end: number): boolean {
      clear();
      if (!startsWith(bytes, start, TEXT)) return false;
      let at = start + TEXT.length;
      if (bytes[at] === SPACE) at++;
      if (bytes[at++] !== QUOTE) return false;
      at = take(bytes, at, end, PART.prompt);
      text.isDocument = true;
      return at > 0 && bytes[at] === 125 && at + 1 === end;
    },
  };
}
