/**
 * Converts rows of texts (Alpaca, prompt and completion, ShareGPT, chat with extra fields) as bytes: the texts are
 * copied unchanged and nothing is parsed. Unusual rows go to the full check. A test compares the results of both.
 */
import type { PlainRow } from "./plain-row.ts";
import { createRowBytes, type PlainRole, type RowRange } from "./row-bytes.ts";
import { ascii, BACKSLASH, createTextScan, maybeBlank, QUOTE, startsWith } from "./text-bytes.ts";

/** How the fields of a row map to turns. */
export interface TextLayout {
  /** The system text; may be absent or empty. */
  system?: string;
  /**
   * One question and one answer, or two with `rejected`. User texts are joined by a line break; all but the first are
   * optional.
   */
  pair?: { user: string[]; assistant: string; rejected?: string };
  /** A list of turns with exactly these two fields, in this order. */
  turns?: { field: string; role: string; text: string; roles: Record<string, PlainRole> };
  /** Fields that are dropped without a warning. */
  silent?: string[];
  /** Skip rows without extra fields: the full check stores their bytes unchanged. */
  onlyWithExtra?: boolean;
}

const MAX_TURNS = 2048;
const MAX_EXTRA = 20;
/** Longer rows are rare and go to the full check. */
export const MAX_ROW = 1 << 20;
const COMMA = 44;
const COLON = 58;
const OPEN_ARRAY = 91;
const CLOSE_ARRAY = 93;
const OPEN_OBJECT = 123;
const CLOSE_OBJECT = 125;
/** The first byte of null. */
const NULL = 110;

/** The bytes of numbers and literals. */
const SCALAR = new Set(ascii("0123456789+-.Eabcdefghijklmnopqrstuvwxyz"));

/** Byte ranges and lengths of the texts of a row. */
interface Spans {
  from: number[];
  to: number[];
  units: number[];
}

function skipSpace(bytes: Uint8Array, start: number): number {
  let at = start;
  for (;;) {
    const byte = bytes[at];
    if (byte !== 32 && byte !== 10 && byte !== 13 && byte !== 9) return at;
    at++;
  }
}

/** Index after a number, true, false or null, or -1. */
function afterScalar(bytes: Buffer, start: number, end: number): number {
  let at = start;
  while (at < end && SCALAR.has(bytes[at] ?? 0)) at++;
  try {
    JSON.parse(bytes.toString("latin1", start, at));
    return at;
  } catch {
    return -1;
  }
}

/** Index of the name between `from` and the quote at `to` in `names`, or -1. */
function nameAt(bytes: Uint8Array, from: number, to: number, names: readonly Uint8Array[]): number {
  for (let n = 0; n < names.length; n++) {
    const name = names[n] as Uint8Array;
    if (name.length === to - from && startsWith(bytes, from, name)) return n;
  }
  return -1;
}

/** Index of the closing quote of the name at `start`, or -1. Names with escapes are not handled here. */
function endOfName(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && bytes[at] !== QUOTE) {
    if (bytes[at] === BACKSLASH || (bytes[at] ?? 0) < 32) return -1;
    at++;
  }
  return at < end ? at : -1;
}

/** A field that is not part of a turn, and the range of its value in the last row that has it. */
interface ExtraField {
  name: Uint8Array;
  key: string;
  isSilent: boolean;
  from: number;
  to: number;
}

/** The texts and roles of a list of turns. */
interface Turns extends Spans {
  role: PlainRole[];
  count: number;
}

/** Stores the text that begins after the quote at `at` in `slot`. Returns the index after it, or -1. */
type TakeText = (bytes: Uint8Array, at: number, end: number, spans: Spans, slot: number) => number;

/** Reads `[{role, text}, …]` from the bracket at `start`. Returns the index after it, or -1. */
function createTurnReader({ role, text, roles }: NonNullable<TextLayout["turns"]>, turns: Turns, takeText: TakeText) {
  const [roleName, textName] = [ascii(role), ascii(text)];
  const roleNames = Object.keys(roles).map(ascii);
  const roleOf = Object.values(roles);

  /** Start of the value of the field `name`, which must be the next key; or -1. */
  function startOfValue(bytes: Uint8Array, start: number, end: number, name: Uint8Array): number {
    const key = skipSpace(bytes, start) + 1;
    if (bytes[key - 1] !== QUOTE || !startsWith(bytes, key, name) || bytes[key + name.length] !== QUOTE) return -1;
    const colon = skipSpace(bytes, key + name.length + 1);
    return bytes[colon] === COLON && colon < end ? skipSpace(bytes, colon + 1) : -1;
  }

  function readTurn(bytes: Uint8Array, start: number, end: number, slot: number): number {
    if (bytes[start] !== OPEN_OBJECT) return -1;
    let at = startOfValue(bytes, start + 1, end, roleName);
    if (at < 0 || bytes[at] !== QUOTE) return -1;
    const close = endOfName(bytes, at + 1, end);
    const found = close < 0 ? undefined : roleOf[nameAt(bytes, at + 1, close, roleNames)];
    if (!found) return -1;
    turns.role[slot] = found;
    at = skipSpace(bytes, close + 1);
    if (bytes[at] !== COMMA) return -1;
    at = startOfValue(bytes, at + 1, end, textName);
    at = at < 0 ? -1 : takeText(bytes, at, end, turns, slot);
    if (at < 0 || maybeBlank(bytes, turns.from[slot] ?? 0, turns.to[slot] ?? 0)) return -1;
    at = skipSpace(bytes, at);
    return bytes[at] === CLOSE_OBJECT ? at + 1 : -1;
  }

  return (bytes: Uint8Array, start: number, end: number): number => {
    let at = start + 1;
    for (turns.count = 0; turns.count < MAX_TURNS; ) {
      at = readTurn(bytes, skipSpace(bytes, at), end, turns.count);
      if (at < 0) return -1;
      turns.count++;
      at = skipSpace(bytes, at);
      if (bytes[at] === CLOSE_ARRAY) return at + 1;
      if (bytes[at++] !== COMMA) return -1;
    }
    return -1;
  };
}

/**
 * Creates a reader for rows in `layout`.
 * @param known every field of the format; a row with one that the layout does not name goes to the full check
 * @param onExtra called for each field that is not part of the format and is not null
 * @returns the canonical row, valid until the next call, with its counts in `counts`; null when the row needs the full
 *   check
 */
export function createTextRows(
  layout: TextLayout,
  known: ReadonlySet<string>,
  counts: PlainRow,
  onExtra: (key: string, value: () => unknown) => void,
): (bytes: Buffer, start: number, end: number) => RowRange | null {
  const { system, pair, turns: list } = layout;
  // A key cannot contain a control character, so this name never matches.
  const second = pair?.rejected === undefined ? [] : [pair.rejected];
  const texts = [system ?? "\0", ...(pair ? [...pair.user, pair.assistant, ...second] : [])];
  const answer = texts.length - 1 - second.length;
  const rejected = answer + 1;
  const names = [...texts, ...(list ? [list.field] : [])].map(ascii);
  const spans: Spans = { from: [], to: [], units: [] };
  const turns: Turns = { role: [], count: 0, from: [], to: [], units: [] };
  const scan = createTextScan();
  const readTurns = list ? createTurnReader(list, turns, takeText) : null;
  const row = createRowBytes(counts);
  /** The first extra fields of the file, and those of the last row. */
  const fields: ExtraField[] = [];
  const extra: ExtraField[] = [];

  function takeText(bytes: Uint8Array, quote: number, end: number, into: Spans, slot: number): number {
    if (bytes[quote] !== QUOTE) return -1;
    const close = scan.endOfText(bytes, quote + 1, end);
    if (close < 0 || !scan.exact) return -1;
    into.from[slot] = quote + 1;
    into.to[slot] = close;
    into.units[slot] = scan.units;
    return close + 1;
  }

  /** The extra field whose name is between `from` and `to`; null when the format has a field of this name. */
  function extraAt(bytes: Buffer, from: number, to: number): ExtraField | null {
    for (const field of fields)
      if (field.name.length === to - from && startsWith(bytes, from, field.name)) return field;
    const key = bytes.toString("utf8", from, to);
    const isSilent = layout.silent?.includes(key) ?? false;
    if (known.has(key) && !isSilent) return null;
    const field = { name: Uint8Array.from(bytes.subarray(from, to)), key, isSilent, from: 0, to: 0 };
    if (fields.length < MAX_EXTRA) fields.push(field);
    return field;
  }

  /** Reads the value of an extra field. Returns the index after it, or -1. */
  function takeExtra(bytes: Buffer, keyFrom: number, keyTo: number, at: number, end: number): number {
    const field = extra.length < MAX_EXTRA ? extraAt(bytes, keyFrom, keyTo) : null;
    if (!field || extra.some(({ key }) => key === field.key)) return -1;
    const close = bytes[at] === QUOTE ? scan.endOfText(bytes, at + 1, end) + 1 : afterScalar(bytes, at, end);
    if (close <= 0) return -1;
    field.from = at;
    field.to = close;
    extra.push(field);
    return close;
  }

  /** Finds the fields of the object at `start`. False when the row is unusual. */
  function find(bytes: Buffer, start: number, end: number): boolean {
    spans.units.fill(-1);
    turns.count = 0;
    extra.length = 0;
    if (bytes[start] !== OPEN_OBJECT) return false;
    let at = start + 1;
    for (;;) {
      at = skipSpace(bytes, at);
      if (bytes[at] !== QUOTE) return false;
      const from = at + 1;
      const close = endOfName(bytes, from, end);
      if (close < 0) return false;
      at = skipSpace(bytes, close + 1);
      if (bytes[at] !== COLON) return false;
      at = skipSpace(bytes, at + 1);
      const slot = nameAt(bytes, from, close, names);
      if (slot < 0) at = takeExtra(bytes, from, close, at, end);
      else if (slot < texts.length) {
        // A duplicate key: the full check reports it.
        if ((spans.units[slot] ?? -1) >= 0) return false;
        at = takeText(bytes, at, end, spans, slot);
      } else at = turns.count === 0 && bytes[at] === OPEN_ARRAY && readTurns ? readTurns(bytes, at, end) : -1;
      if (at < 0) return false;
      at = skipSpace(bytes, at);
      if (bytes[at] === CLOSE_OBJECT) return at + 1 === end;
      if (bytes[at++] !== COMMA) return false;
    }
  }

  const isGiven = (slot: number) => (spans.units[slot] ?? -1) > 0;

  /** True when a text is there and has no words, which the full check judges. */
  function hasBlank(bytes: Buffer): boolean {
    for (let slot = 0; slot < texts.length; slot++)
      if (isGiven(slot) && maybeBlank(bytes, spans.from[slot] ?? 0, spans.to[slot] ?? 0)) return true;
    return false;
  }
  const put = (bytes: Buffer, from: Spans, slot: number) =>
    row.copied(bytes, from.from[slot] ?? 0, from.to[slot] ?? 0, from.units[slot] ?? 0);

  /** True when the answers differ; everything else goes to the full check. */
  function isPair(bytes: Buffer): boolean {
    if (!isGiven(rejected)) return false;
    const [a, b] = [answer, rejected].map((slot) => bytes.subarray(spans.from[slot], spans.to[slot]));
    return a !== undefined && b !== undefined && !a.equals(b);
  }

  return (bytes, start, end) => {
    if (end - start > MAX_ROW || !find(bytes, start, end) || (layout.onlyWithExtra && extra.length === 0)) return null;
    // Missing or empty texts and a missing answer at the end are problems, which the full check reports.
    if (pair ? !isGiven(1) || !isGiven(answer) : turns.role[turns.count - 1] !== "assistant") return null;
    if (hasBlank(bytes) || (second.length > 0 && !isPair(bytes))) return null;
    row.begin(end - start, turns.count + 5);
    if (isGiven(0)) {
      row.turn("system");
      put(bytes, spans, 0);
      row.endTurn();
    }
    if (pair) {
      row.turn("user");
      put(bytes, spans, 1);
      for (let slot = 2; slot < answer; slot++)
        if (isGiven(slot)) {
          row.lineBreak();
          put(bytes, spans, slot);
        }
      row.endTurn();
      if (second.length > 0) row.list("chosen");
      row.turn("assistant");
      put(bytes, spans, answer);
      row.endTurn();
      if (second.length > 0) {
        row.list("rejected");
        row.turn("assistant");
        put(bytes, spans, rejected);
        row.endTurn();
        counts.alternatives = 1;
        counts.characters -= Math.min(spans.units[answer] ?? 0, spans.units[rejected] ?? 0);
      }
    }
    for (let turn = 0; turn < turns.count; turn++) {
      row.turn(turns.role[turn] as PlainRole);
      put(bytes, turns, turn);
      row.endTurn();
    }
    row.end();
    for (const { key, isSilent, from, to } of extra)
      if (!isSilent && bytes[from] !== NULL) onExtra(key, () => JSON.parse(bytes.toString("utf8", from, to)));
    return row;
  };
}
