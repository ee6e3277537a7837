/** Assembles canonical rows from byte ranges of a file, without decoding them. */
import type { PlainRow } from "./plain-row.ts";
import { ascii, QUOTE, UNITS } from "./text-bytes.ts";

/** The roles of a row without tools. */
export type PlainRole = "system" | "user" | "assistant";

const OPEN = ascii('{"messages":[');
const TURN: Record<PlainRole, Uint8Array> = {
  system: ascii('{"role":"system","content":"'),
  user: ascii('{"role":"user","content":"'),
  assistant: ascii('{"role":"assistant","content":"'),
};
const END_OF_TURN = ascii('"},');
/** The ASCII characters as `JSON.stringify` writes them. */
const ESCAPED = Array.from({ length: 128 }, (_, code) => ascii(JSON.stringify(String.fromCharCode(code)).slice(1, -1)));
const LIST = { chosen: ascii('],"chosen":['), rejected: ascii('],"rejected":[') };
const LINE_BREAK = ascii("\\n");

/** A row as a range of bytes. */
export interface RowRange {
  bytes: Buffer;
  from: number;
  to: number;
}

/** A row under construction. When finished, it is valid until the next `begin`. */
interface RowBytes extends RowRange {
  /** @param maxBytes most bytes of all texts together */
  begin(maxBytes: number, turns: number): void;
  /** Opens a turn; its texts follow. */
  turn(role: PlainRole): void;
  /** Adds a text that is already escaped and has `units` characters. */
  text(source: Uint8Array, from: number, to: number, units: number): void;
  /** Adds a text that is not escaped. In a quoted CSV cell, quotes are doubled. */
  cell(source: Uint8Array, from: number, to: number, quoted: boolean): void;
  /** Ends the current list of turns and opens the one with this name. */
  list(name: "chosen" | "rejected"): void;
  lineBreak(): void;
  endTurn(): void;
  end(): void;
}

/** @param counts receives the counts of each row */
export function createRowBytes(counts: PlainRow): RowBytes {
  const row: RowBytes = {
    bytes: Buffer.allocUnsafe(1 << 16),
    from: 0,
    to: 0,
    begin(maxBytes, turns) {
      const need = maxBytes + (turns + 1) * 64;
      if (need > row.bytes.length) row.bytes = Buffer.allocUnsafe(need * 2);
      row.bytes.set(OPEN);
      row.to = OPEN.length;
      counts.system = counts.user = counts.assistant = counts.characters = counts.alternatives = 0;
    },
    turn(role) {
      counts[role]++;
      row.bytes.set(TURN[role], row.to);
      row.to += TURN[role].length;
    },
    text(source, from, to, units) {
      counts.characters += units;
      row.bytes.set(source.subarray(from, to), row.to);
      row.to += to - from;
    },
    cell(source, from, to, quoted) {
      const { bytes } = row;
      let used = row.to;
      let characters = 0;
      let at = from;
      while (at < to) {
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
      // Overwrites the comma after the last turn.
      row.bytes.set(LIST[name], row.to - 1);
      row.to += LIST[name].length - 1;
    },
    lineBreak() {
      counts.characters++;
      row.bytes.set(LINE_BREAK, row.to);
      row.to += LINE_BREAK.length;
    },
    endTurn() {
      row.bytes.set(END_OF_TURN, row.to);
      row.to += END_OF_TURN.length;
    },
    end() {
      // Overwrites the comma after the last turn.
      row.bytes[row.to - 1] = 93;
      row.bytes[row.to++] = 125;
    },
  };
  return row;
}
