/**
 * Looks at the first JSON value of a file without parsing it: where it ends, and which members an object has. This is
 * how a file with a row on each line differs from one object that holds all rows, for files of any size.
 */
import { readSync } from "node:fs";

const CHUNK = 1 << 20;
const QUOTE = 34;
const COMMA = 44;
const COLON = 58;
const BACKSLASH = 92;
/** Members and bytes of keys that are kept; an object can have one member for each row. */
const MOST_MEMBERS = 1000;
const MOST_KEY = 1000;

/** A member of the outer object. Offsets are bytes in the file. */
export interface Member {
  key: string;
  /** The first character of its value: `[`, `{`, `"` or another for numbers and words. */
  opens: string;
  from: number;
  to: number;
  /** For a list: the place of its first element, which may be cut. */
  first: number;
}

export interface Outline {
  members: Member[];
  /** All members, also those beyond the first thousand. */
  count: number;
  /** Offset after the first value; null when it is not closed. */
  end: number | null;
  /** It stands on one line. */
  oneLine: boolean;
}

const isSpace = (byte: number) => byte === 32 || byte === 10 || byte === 13 || byte === 9;

/** @param from offset of the opening brace */
export function outlineOf(fd: number, from: number): Outline {
  const outline: Outline = { members: [], count: 0, end: null, oneLine: true };
  const buffer = Buffer.allocUnsafe(CHUNK);
  let depth = 0;
  let inString = false;
  let escaped = false;
  let key: number[] | null = null;
  let name = "";
  let member: Member | null = null;
  let wantsValue = false;
  for (let base = from; ; ) {
    const got = readSync(fd, buffer, 0, CHUNK, base);
    if (got === 0) return outline;
    for (let at = 0; at < got; at++) {
      const byte = buffer[at] ?? 0;
      if (inString) {
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) inString = false;
        if (key && inString && key.length < MOST_KEY) key.push(byte);
        if (key && !inString) {
          name = Buffer.from(key).toString("utf8");
          key = null;
        }
        if (!key) {
          // Long texts are skipped at once.
          while (inString && !escaped && at + 1 < got && buffer[at + 1] !== QUOTE && buffer[at + 1] !== BACKSLASH) at++;
        }
        continue;
      }
      if (isSpace(byte)) {
        if (byte === 10) outline.oneLine = false;
        continue;
      }
      if (depth === 1 && byte === COLON) {
        wantsValue = true;
        continue;
      }
      if (depth === 1 && wantsValue) {
        wantsValue = false;
        outline.count++;
        member = { key: name, opens: String.fromCharCode(byte), from: base + at, to: 0, first: 0 };
        if (outline.members.length < MOST_MEMBERS) outline.members.push(member);
      } else if (depth === 2 && member?.opens === "[" && member.first === 0) member.first = base + at;
      if (byte === QUOTE) {
        inString = true;
        if (depth === 1 && member === null) key = [];
      } else if (byte === 123 || byte === 91) depth++;
      else if (byte === 125 || byte === 93) {
        depth--;
        if (depth === 1 && member) member.to = base + at + 1;
        if (depth === 0) return { ...outline, end: base + at + 1 };
      } else if (depth === 1 && byte === COMMA) {
        if (member && member.to === 0) member.to = base + at;
        member = null;
      }
    }
    base += got;
  }
}
