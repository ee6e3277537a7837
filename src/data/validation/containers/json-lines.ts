/**
 * Writes rows of a decoded table as JSON lines. A text can be given as its UTF-8 bytes, which are escaped without
 * decoding them: most of a dataset is text.
 */
import { beforeStop, createFours, ESCAPED, QUOTE, stopsOf } from "../fast-path/text-bytes.ts";
import { Json } from "./cells.ts";
import type { Output } from "./output.ts";

/** Bytes from which rows are passed on. The output writes such a block without copying it. */
const BLOCK = (1 << 20) + 1;
/** Most bytes of one escaped byte (a control character). */
const MAX_ESCAPED = 6;
/** Texts below this length are copied byte by byte. */
const SHORT = 16;
const COMMA = 44;
const COLON = 58;

/** A value of a table. */
export type Cell =
  | null
  | undefined
  | boolean
  | number
  | bigint
  | string
  | Json
  | Uint8Array
  | Cell[]
  | { [name: string]: Cell };

/** Call `row` for each row, and `flush` after the last one. Fields that are undefined are left out. */
export function createJsonLines(into: Output) {
  const outputOf = createFours();
  /** A view of the buffer that the last text is in. Many texts share one. */
  let input: DataView<ArrayBufferLike> = new DataView(new ArrayBuffer(0));
  const names = new Map<string, Buffer>();
  let block = Buffer.allocUnsafe(BLOCK);
  let used = 0;

  function reserve(bytes: number) {
    if (used + bytes <= block.length) return;
    const bigger = Buffer.allocUnsafe(Math.max(block.length * 2, used + bytes));
    block.copy(bigger, 0, 0, used);
    block = bigger;
  }

  function put(byte: number) {
    reserve(1);
    block[used++] = byte;
  }

  function putText(json: string) {
    reserve(json.length * 3);
    used += block.write(json, used, "utf8");
  }

  /** Adds a text between quotes. */
  function putBytes(text: Uint8Array) {
    reserve(text.length * MAX_ESCAPED + 2);
    const out = block;
    const output = outputOf(out);
    const { buffer, byteOffset, length } = text;
    const lastFour = length < SHORT ? -1 : length - 4;
    if (lastFour >= 0 && input.buffer !== buffer) input = new DataView(buffer);
    const view = input;
    let to = used;
    out[to++] = QUOTE;
    for (let at = 0; at < length; ) {
      let stops = 0;
      for (; at <= lastFour; at += 4, to += 4) {
        const four = view.getInt32(byteOffset + at, true);
        output.setInt32(to, four, true);
        stops = stopsOf(four);
        if (stops !== 0) break;
      }
      if (stops !== 0) {
        const before = beforeStop(stops);
        at += before;
        to += before;
      }
      if (at >= length) break;
      const byte = text[at++] ?? 0;
      const escaped = byte < 128 ? ESCAPED[byte] : undefined;
      if (escaped) for (let i = 0; i < escaped.length; i++) out[to++] = escaped[i] ?? 0;
      else out[to++] = byte;
    }
    out[to++] = QUOTE;
    used = to;
  }

  function nameOf(name: string): Buffer {
    let known = names.get(name);
    if (!known) {
      known = Buffer.from(JSON.stringify(name));
      if (names.size < 1000) names.set(name, known);
    }
    return known;
  }

  function putList(list: Cell[]) {
    put(91);
    for (let i = 0; i < list.length; i++) {
      if (i > 0) put(COMMA);
      putCell(list[i] ?? null);
    }
    put(93);
  }

  function putField(name: string, cell: Cell, first: boolean) {
    const json = nameOf(name);
    reserve(json.length + 2);
    if (!first) block[used++] = COMMA;
    for (let i = 0; i < json.length; i++) block[used++] = json[i] ?? 0;
    block[used++] = COLON;
    putCell(cell);
  }

  function putObject(object: { [name: string]: Cell }) {
    put(123);
    let first = true;
    for (const name in object) {
      if (object[name] === undefined) continue;
      putField(name, object[name], first);
      first = false;
    }
    put(125);
  }

  function putCell(cell: Cell) {
    if (cell instanceof Uint8Array) putBytes(cell);
    else if (cell === null || cell === undefined) putText("null");
    else if (typeof cell === "bigint") putText(String(cell));
    else if (typeof cell !== "object") putText(JSON.stringify(cell));
    else if (cell instanceof Json) putText(cell.text);
    else if (Array.isArray(cell)) putList(cell);
    else putObject(cell);
  }

  function flush() {
    into.add(block.subarray(0, used));
    used = 0;
  }

  return {
    /** Adds one row; `cells` has a value for each of `columns`. */
    row(columns: readonly string[], cellOf: (column: number) => Cell): void {
      put(123);
      let first = true;
      for (let column = 0; column < columns.length; column++) {
        const cell = cellOf(column);
        if (cell === undefined) continue;
        putField(columns[column] ?? "", cell, first);
        first = false;
      }
      put(125);
      put(10);
      if (used >= BLOCK) flush();
    },
    flush,
  };
}
