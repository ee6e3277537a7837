/**
 * Turns the bytes of one record into a checked row: encoding, JSON, duplicate keys, unknown fields, then the rules of
 * the format.
 */
import { isUtf8 } from "node:buffer";
import { isMarked, markExact } from "../../../lib/text/exact-json.ts";
import { readerOf } from "../formats/detect.ts";
import type { RowFormat } from "../formats/format.ts";
import { isMeaningful } from "../mapping/fields.ts";
import { isBlank } from "../mapping/values.ts";
import { isObject, type JsonObject } from "../rows/chat.ts";
import { createPadding } from "../rows/padding.ts";
import { createProblems, type Problems } from "../rows/problems.ts";
import { type Checked, ROW_NAMES } from "../rows/types.ts";
import { countKeys, findFault, isTooComplex, MAX_DEPTH, MAX_VALUES } from "./json-check.ts";

/** How a file is read, once all of its rows are known. */
export interface Reading {
  format: RowFormat | null;
  /** Null in arguments of tools without a definition is padding. */
  padded: boolean;
}

/** Records above this size in bytes are checked for complexity before they are parsed. */
const LARGE = 1 << 18;
const IGNORED_NAMES = 20;

/** A range of a buffer that is valid UTF-8, so that the records in it need no check. */
export interface Valid {
  bytes: Buffer | null;
  from: number;
  to: number;
}

const LF = 10;

/** The range of complete lines in a chunk if it is valid UTF-8: one check for hundreds of records. */
export function validLines(chunk: Buffer): Valid {
  const from = chunk.indexOf(LF) + 1;
  const to = chunk.lastIndexOf(LF);
  return { bytes: from > 0 && to > from && isUtf8(chunk.subarray(from, to)) ? chunk : null, from, to };
}

export const isValid = (valid: Valid, bytes: Buffer, start: number, end: number): boolean =>
  valid.bytes === bytes && start >= valid.from && end <= valid.to;

/** The text of a record, or null after reporting invalid UTF-8. */
export function decode(bytes: Buffer, start: number, end: number, problems: Problems, valid?: Valid): string | null {
  if ((valid && isValid(valid, bytes, start, end)) || isUtf8(bytes.subarray(start, end)))
    return bytes.toString("utf8", start, end);
  const bad = firstInvalidByte(bytes, start, end);
  problems.add(
    "invalid_utf8",
    "",
    bytes.toString("utf8", Math.max(start, bad - 40), Math.min(end, bad + 40)),
    `at byte ${bad - start + 1} of the row`,
  );
  return null;
}

/**
 * Index of the first byte that is not valid UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF).
 * Called only for an invalid record.
 */
function firstInvalidByte(bytes: Buffer, start: number, end: number): number {
  let at = start;
  while (at < end) {
    const lead = bytes[at] ?? 0;
    const size = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (size === 0 || at + size > end || !isUtf8(bytes.subarray(at, at + size))) return at;
    at += size;
  }
  return at;
}

/**
 * Estimates the number of keys: closing quotes followed by a colon. The estimate is never too low for JSON without a
 * space before the colon.
 */
function apparentKeys(text: string): number {
  let count = 0;
  for (let at = text.indexOf('":'); at >= 0; at = text.indexOf('":', at + 2)) {
    const before = text.charCodeAt(at - 1);
    // After a backslash, the quote is part of the text. After a colon, the quote opens a text.
    if (before !== 92 && before !== 58) count++;
  }
  return count;
}

function parse(text: string, problems: Problems): JsonObject | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    const fault = findFault(text);
    const offset = fault?.offset ?? 0;
    problems.add(
      fault?.kind === "too_nested" ? "too_nested" : "not_json",
      "",
      text.slice(Math.max(0, offset - 60), offset + 60),
      `column ${offset + 1}: ${fault?.detail ?? "invalid JSON"}`,
    );
    return null;
  }
  if (!isObject(value)) {
    problems.add("not_object", "", text);
    return null;
  }
  const keys = countKeys(value);
  if (keys !== apparentKeys(text)) {
    const fault = findFault(text);
    if (fault) {
      const code = fault.kind === "syntax" ? "not_json" : fault.kind;
      problems.add(
        code,
        "",
        text.slice(fault.offset, fault.offset + 80),
        `column ${fault.offset + 1}: ${fault.detail}`,
      );
      return null;
    }
  }
  return markExact(value, text);
}

/**
 * Creates a checker for JSON records.
 * @param padded null in arguments of tools without a definition is padding
 * @param format the format of the file; when null, the first valid row suggests it
 */
export function createRowCheck(format: RowFormat | null, problems: Problems, padded = false) {
  const padding = createPadding(padded, problems);
  /** Whether fields of these names must be read. */
  const meaningful = new Map<string, boolean>();
  const ignored: Record<string, number> = Object.create(null) as Record<string, number>;
  let ignoredNames = 0;
  /** Fields that must be mapped, each with its first value. */
  const unread = new Map<string, unknown>();
  /** The good rows of other types, by format. */
  const rivals = new Map<RowFormat, number>();

  function mustBeRead(key: string): boolean {
    if (format?.type === "text") return false;
    let must = meaningful.get(key);
    if (must === undefined) {
      must = isMeaningful(key);
      if (meaningful.size < IGNORED_NAMES) meaningful.set(key, must);
    }
    return must;
  }

  /** @param read gives the value, which is not null; it is called only when the value is needed */
  function noteIgnored(key: string, read: () => unknown) {
    if (mustBeRead(key)) {
      const value = read();
      if (!isBlank(value) && typeof value !== "number") {
        problems.add("unread_field", key, value);
        if (unread.size < IGNORED_NAMES && !unread.has(key)) unread.set(key, value);
        return;
      }
    }
    problems.add("ignored_field", key, read);
    if (ignored[key] === undefined) {
      if (ignoredNames >= IGNORED_NAMES) return;
      ignoredNames++;
    }
    ignored[key] = (ignored[key] ?? 0) + 1;
  }

  return {
    get format() {
      return format;
    },
    ignored,
    unread,
    /**
     * What all rows showed and the first ones did not: the type of most good rows, and that null is padding.
     * @param good good rows of this format
     */
    lesson(good: number): Reading | null {
      const [best] = [...rivals].sort((a, b) => b[1] - a[1]);
      const rival = best && best[1] > good ? best[0] : null;
      return rival || padding.found() ? { format: rival ?? format, padded: padding.found() } : null;
    },
    /** Reports a field that is not part of the format. */
    noteIgnored,
    /** The canonical row of a record without surrounding spaces, or null after reporting an error. */
    check(bytes: Buffer, start: number, end: number, valid?: Valid): Checked | null {
      if (end - start > LARGE && isTooComplex(bytes, start, end)) {
        problems.add("too_nested", "", "", `more than ${MAX_DEPTH} levels or ${MAX_VALUES} values`);
        return null;
      }
      const text = decode(bytes, start, end, problems, valid);
      if (text === null) return null;
      const row = parse(text, problems);
      return row && checkObject(row);
    },
    checkObject,
    tidied,
  };

  /** The canonical row of a parsed object, or null after reporting an error. */
  function checkObject(given: JsonObject): Checked | null {
    const row = format?.flatten ? format.flatten(given, problems) : given;
    const { by, other } = readerOf(row, format);
    if (!by) {
      problems.add("unknown_format", "", row, `fields: ${Object.keys(row).slice(0, 10).join(", ")}`);
      return null;
    }
    if (format && other) {
      const detail = `a ${ROW_NAMES[by.type]} row (${by.title}) among ${ROW_NAMES[format.type]} rows`;
      problems.add("other_type", "", row, detail);
      if (by.convert(row, createProblems())) rivals.set(by, (rivals.get(by) ?? 0) + 1);
      return null;
    }
    let known = true;
    for (const key in row)
      if (!by.fields.has(key)) {
        if (row[key] !== null) noteIgnored(key, () => row[key]);
        known = false;
      }
    const checked = by.convert(row, problems);
    if (checked && !known) checked.same = false;
    if (checked && isMarked(given)) checked.marked = true;
    if (checked) format ??= by;
    return checked && tidied(checked);
  }

  /** Removes from a good row what only pads it. */
  function tidied(checked: Checked): Checked {
    padding.clean(checked.row);
    return checked;
  }
}
