/**
 * Splits a stream of bytes with one JSON array, or with JSON objects one after the other, into its elements, with
 * constant memory for files of any size.
 */
import { createCarry, createLineCount, indexNear, type RecordSink, type Scanner } from "./lines.ts";

const LF = 10;
const QUOTE = 34;
const COMMA = 44;
const OPEN_ARRAY = 91;
const BACKSLASH = 92;
const CLOSE_ARRAY = 93;
const OPEN_OBJECT = 123;
const CLOSE_OBJECT = 125;

const isSpace = (byte: number) => byte === 32 || byte === LF || byte === 13 || byte === 9;

interface JsonScan {
  /** Objects one after the other, with or without commas between them, instead of one array. */
  sequence?: boolean;
  /** Called for a comma before the closing bracket, which is skipped. */
  onTrailingComma?: (line: number) => void;
  lineBreak?: number;
}

/** Finds elements by brackets and quotes only. The content of elements is checked when they are parsed. */
export function scanJsonArray(maxBytes: number, sink: RecordSink, options: JsonScan = {}): Scanner {
  const { sequence = false, onTrailingComma = () => {} } = options;
  const carry = createCarry(maxBytes);
  let state: "before" | "between" | "element" | "after" = sequence ? "between" : "before";
  const lines = createLineCount(options.lineBreak);
  let startLine = 1;
  let depth = 0;
  let inString = false;
  let escaped = false;
  let elements = 0;
  let afterComma = false;
  let complained = false;

  /** @param at index in the chunk */
  function complain(at: number, detail: string) {
    if (!complained) sink.broken(lines.at(at), detail);
    complained = true;
  }

  /** Passes the element that ends before `end` of `chunk` to the sink. */
  function finish(chunk: Buffer, start: number, end: number) {
    elements++;
    if (carry.length === 0) {
      let stop = end;
      while (stop > start && isSpace(chunk[stop - 1] ?? 0)) stop--;
      if (end - start > maxBytes) sink.tooLong(startLine, end - start);
      else sink.record(chunk, start, stop, startLine);
      return;
    }
    carry.add(chunk, start, end);
    const kept = carry.take();
    if (kept) {
      let stop = kept.length;
      while (stop > 0 && isSpace(kept.buffer[stop - 1] ?? 0)) stop--;
      sink.record(kept.buffer, 0, stop, startLine);
    } else sink.tooLong(startLine, carry.length);
    carry.clear();
  }

  /** Index after the closing quote, or -1 when the string continues in the next chunk. */
  function skipString(chunk: Buffer, from: number): number {
    let at = escaped ? from + 1 : from;
    escaped = false;
    for (;;) {
      const quote = indexNear(chunk, QUOTE, at);
      let before = quote;
      while (before > at && chunk[before - 1] === BACKSLASH) before--;
      const isEscaped = (quote - before) % 2 === 1;
      if (quote >= chunk.length) {
        escaped = isEscaped;
        return -1;
      }
      at = quote + 1;
      if (!isEscaped) return at;
    }
  }

  return {
    push(chunk) {
      let start = 0;
      let at = 0;
      lines.begin(chunk);
      while (at < chunk.length) {
        if (inString) {
          const after = skipString(chunk, at);
          if (after < 0) break;
          inString = false;
          at = after;
          continue;
        }
        const byte = chunk[at] ?? 0;
        if (state === "element") {
          if (byte === QUOTE) inString = true;
          else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) depth++;
          else if (depth > 0 && (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY)) {
            depth--;
            if (sequence && depth === 0) {
              finish(chunk, start, at + 1);
              state = "between";
            }
          } else if (depth === 0 && (byte === COMMA || byte === CLOSE_ARRAY)) {
            finish(chunk, start, at);
            afterComma = byte === COMMA;
            state = byte === COMMA ? "between" : "after";
          }
        } else if (!isSpace(byte)) {
          if (state === "before") {
            if (byte === OPEN_ARRAY) state = "between";
            else complain(at, "expected [ at the beginning");
          } else if (state === "after") complain(at, "unexpected text after the closing ]");
          else if (sequence && byte !== OPEN_OBJECT) {
            if (byte !== COMMA) complain(at, "expected { at the beginning of an object");
          } else if (byte === COMMA) complain(at, "a comma without an element before it");
          else if (byte === CLOSE_ARRAY) {
            if (afterComma) onTrailingComma(lines.at(at));
            state = "after";
          } else {
            state = "element";
            start = at;
            startLine = lines.at(at);
            depth = byte === OPEN_OBJECT || byte === OPEN_ARRAY ? 1 : 0;
            inString = byte === QUOTE;
          }
        }
        at++;
      }
      lines.at(chunk.length);
      if (state === "element") carry.add(chunk, start, chunk.length);
    },
    end() {
      if (state === "element") complain(0, `the element that starts on line ${startLine} is not closed`);
      else if (sequence) return;
      else if (state !== "after") complain(0, elements ? "the closing ] is missing" : "the array is incomplete");
    },
  };
}
