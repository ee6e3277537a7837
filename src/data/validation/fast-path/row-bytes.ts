/** Assembles canonical rows from byte ranges of a file, without decoding them. */
import { addRange, clearText, createRowText, endWithAnswer, PART, type RowText } from "../rows/row-text.ts";
import type { PlainRow } from "./plain-row.ts";
import { ascii, beforeStop, createFours, ESCAPED, QUOTE, stopsOf, UNITS, unitsOf, unitsOfFirst } from "./text-bytes.ts";

/** The roles of a row without tools. */
export type PlainRole = "system" | "user" | "assistant";

const OPEN = ascii('{"messages":[');
const TURN: Record<PlainRole, Uint8Array> = {
  system: ascii('{"role":"system","content":"'),
  user: ascii('{"role":"user","content":"'),
  assistant: ascii('{"role":"assistant","content":"'),
};
const END_OF_TURN = ascii('"},');
const LIST = { chosen: ascii(',"chosen":['), rejected: ascii(',"rejected":[') };
const LINE_BREAK = ascii("\\n");

/** A row as a range of bytes, with the ranges of its texts in the same bytes. */
export interface RowRange {
  bytes: Buffer;
  from: number;
  to: number;
  text: RowText;
}

/** A row under construction. When finished, it is valid until the next `begin`. */
interface RowBytes extends RowRange {
  /** @param maxBytes most bytes of all texts together */
  begin(maxBytes: number, turns: number): void;
  /** Opens a turn; its texts follow. */
  turn(role: PlainRole): void;
  /** Adds a text that is already escaped and has `units` characters. */
  copied(source: Buffer, from: number, to: number, units: number): void;
  /** Adds a text that is not escaped. In a quoted CSV cell, quotes are doubled. */
  cell(source: Buffer, from: number, to: number, quoted: boolean): void;
  /** Ends the current list of turns and opens the one with this name. */
  list(name: "chosen" | "rejected"): void;
  lineBreak(): void;
  endTurn(): void;
  /** Ends the row, which has an assistant turn at the end of each list. */
  end(): void;
}

/** @param counts receives the counts of each row */
export function createRowBytes(counts: PlainRow): RowBytes {
  const inputOf = createFours();
  const outputOf = createFours();
  const text = createRowText();
  /** Where the list of an answer starts; -1 in the messages. */
  let listFrom = -1;

  /** For short texts: a native copy would take longer. */
  function put(short: Uint8Array) {
    const { bytes } = row;
    let at = row.to;
    for (let i = 0; i < short.length; i++) bytes[at++] = short[i] as number;
    row.to = at;
  }
  /** Overwrites the comma after the last turn with the end of the list, without moving on. */
  function closeList() {
    row.bytes[row.to - 1] = 93;
    if (listFrom >= 0) addRange(text, PART.rest, listFrom, row.to);
  }

  const row: RowBytes = {
    bytes: Buffer.allocUnsafe(1 << 16),
    from: 0,
    to: 0,
    text,
    begin(maxBytes, turns) {
      const need = maxBytes + (turns + 1) * 64;
      if (need > row.bytes.length) row.bytes = Buffer.allocUnsafe(need * 2);
      row.to = 0;
      listFrom = -1;
      put(OPEN);
      clearText(text);
      counts.system = counts.user = counts.assistant = counts.characters = counts.alternatives = 0;
    },
    turn(role) {
      counts[role]++;
      put(TURN[role]);
      if (listFrom < 0) addRange(text, role === "system" ? PART.system : PART.prompt, row.to, row.to);
    },
    copied(source, from, to, units) {
      counts.characters += units;
      row.to += source.copy(row.bytes, row.to, from, to);
    },
    cell(source, from, to, quoted) {
      const { bytes } = row;
      const input = inputOf(source);
      const output = outputOf(bytes);
      let used = row.to;
      let characters = 0;
      let at = from;
      while (at < to) {
        for (; at <= to - 4; at += 4, used += 4) {
          const four = input.getInt32(at, true);
          output.setInt32(used, four, true);
          const stops = stopsOf(four);
          if (stops !== 0) {
            const before = beforeStop(stops);
            characters += unitsOfFirst(four, before);
            at += before;
            used += before;
            break;
          }
          characters += unitsOf(four);
        }
        let byte = source[at] ?? 0;
        let units = UNITS[byte] ?? 8;
        while (units < 8 && at < to) {
          bytes[used++] = byte;
          characters += units;
          byte = source[++at] ?? 0;
          units = UNITS[byte] ?? 8;
        }
        if (at >= to) break;
        characters++;
        at += quoted && byte === QUOTE ? 2 : 1;
        const escaped = ESCAPED[byte] as Uint8Array;
        for (let i = 0; i < escaped.length; i++) bytes[used++] = escaped[i] as number;
      }
      counts.characters += characters;
      row.to = used;
    },
    list(name) {
      closeList();
      put(LIST[name]);
      listFrom = row.to - 1;
    },
    lineBreak() {
      counts.characters++;
      put(LINE_BREAK);
    },
    endTurn() {
      if (listFrom < 0) text.to[text.count - 1] = row.to;
      put(END_OF_TURN);
    },
    end() {
      closeList();
      if (listFrom < 0) endWithAnswer(text);
      row.bytes[row.to++] = 125;
    },
  };
  return row;
}
