/**
 * A slow, exact check of one JSON text: syntax errors, duplicate keys, depth and size. Used when the fast parser failed
 * or the row is suspicious.
 */

export const MAX_DEPTH = 100;
/** Most values in one row. Without the limit, a few megabytes of `[{},{},…` would use a hundred times more memory. */
export const MAX_VALUES = 200_000;

interface JsonFault {
  kind: "syntax" | "duplicate_key" | "too_nested";
  /** Character offset, from 0. */
  offset: number;
  detail: string;
}

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;
const LITERAL = /true|false|null/y;
const SPACE = /[ \t\r\n]*/y;

/** Index after the closing quote of the string at `from`, or -1 when it is not a valid JSON string. */
function endOfString(text: string, from: number): number {
  for (let at = from + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 34) return at + 1;
    if (code < 32) return -1;
    if (code !== 92) continue;
    ESCAPE.lastIndex = at;
    if (!ESCAPE.test(text)) return -1;
    at = ESCAPE.lastIndex - 1;
  }
  return -1;
}

/** Words of other languages and tools that are not JSON, and what to say of them. */
const STRANGERS: [RegExp, string][] = [
  [/-?(?:NaN|Infinity|inf|nan)\b/y, "is not a JSON number; write null, or leave the field out"],
  [/(?:None|True|False)\b/y, "is Python; write null, true or false"],
  [/undefined\b/y, "is JavaScript; write null, or leave the field out"],
];
const CHARACTERS: Record<string, string> = {
  "\ufeff": "a byte order mark in the middle of the file",
  "\u00a0": "a no-break space outside of a text",
  "'": "single quotes; JSON has double quotes only",
  "\u201c": "a typographic quotation mark; JSON has straight ones only",
  "\r": "a carriage return in the middle of a row",
};

/** What stands where a value is expected. */
function strangerAt(text: string, at: number): string {
  for (const [pattern, says] of STRANGERS) {
    pattern.lastIndex = at;
    const [word] = pattern.exec(text) ?? [];
    if (word) return `${word} ${says}`;
  }
  const char = text[at] ?? "";
  return CHARACTERS[char] ?? `unexpected ${JSON.stringify(char)}`;
}

/** Why the string that begins at `from` is not valid. */
function faultOfString(text: string, from: number): string {
  for (let at = from + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 34) break;
    if (code < 32) {
      const name = `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
      return `the string contains the control character ${name}; write it as an escape, such as \\n for a line break`;
    }
    if (code === 92) at++;
  }
  return "the string is not closed or has an invalid escape";
}

type Frame = { keys: Set<string> | null };

/** The first fault of `text`, or null. Uses a stack of its own, so that deep nesting cannot overflow the call stack. */
export function findFault(text: string): JsonFault | null {
  const stack: Frame[] = [];
  let at = 0;
  let expect: "value" | "key" | "colon" | "next" = "value";
  let justOpened = false;

  const space = () => {
    SPACE.lastIndex = at;
    SPACE.test(text);
    at = SPACE.lastIndex;
  };
  const take = (pattern: RegExp): boolean => {
    pattern.lastIndex = at;
    if (!pattern.test(text)) return false;
    at = pattern.lastIndex;
    return true;
  };
  const fault = (detail: string, kind: JsonFault["kind"] = "syntax", offset = at): JsonFault => ({
    kind,
    offset,
    detail,
  });

  for (;;) {
    space();
    const char = text[at];
    const frame = stack.at(-1);
    if (expect === "next") {
      if (!frame) return char === undefined ? null : fault("unexpected text after the end of the value");
      if (char === undefined) return fault(frame.keys ? "the object is not closed" : "the list is not closed");
      if (char === ",") {
        at++;
        expect = frame.keys ? "key" : "value";
        continue;
      }
      if (char !== (frame.keys ? "}" : "]")) return fault(`expected a comma or ${frame.keys ? "}" : "]"}`);
      at++;
      stack.pop();
      continue;
    }
    if (char === undefined) return fault("unexpected end of the text");
    if (expect === "colon") {
      if (char !== ":") return fault("expected : after the key");
      at++;
      expect = "value";
      continue;
    }
    if (justOpened && frame && char === (frame.keys ? "}" : "]")) {
      at++;
      stack.pop();
      expect = "next";
      justOpened = false;
      continue;
    }
    justOpened = false;
    if (expect === "key") {
      const start = at;
      if (char !== '"') return fault("expected a key in double quotes");
      const end = endOfString(text, at);
      if (end < 0) return fault("the key is not a valid string");
      const key = JSON.parse(text.slice(at, end)) as string;
      at = end;
      if (frame?.keys?.has(key)) return fault(`"${key.slice(0, 60)}" appears twice`, "duplicate_key", start);
      frame?.keys?.add(key);
      expect = "colon";
      continue;
    }
    if (char === "{" || char === "[") {
      if (stack.length >= MAX_DEPTH) return fault(`more than ${MAX_DEPTH} levels`, "too_nested");
      stack.push({ keys: char === "{" ? new Set() : null });
      at++;
      expect = char === "{" ? "key" : "value";
      justOpened = true;
      continue;
    }
    if (char === '"') {
      const end = endOfString(text, at);
      if (end < 0) return fault(faultOfString(text, at));
      at = end;
    } else if (!take(NUMBER) && !take(LITERAL)) return fault(strangerAt(text, at));
    expect = "next";
  }
}

const QUOTE = 34;
const BACKSLASH = 92;

/**
 * True when a record has more levels or values than allowed. It scans bytes, so it is safe to call before parsing.
 */
export function isTooComplex(bytes: Buffer, start: number, end: number): boolean {
  let depth = 0;
  let values = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at];
    if (byte === QUOTE) {
      at++;
      while (at < end && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1;
    } else if (byte === 123 || byte === 91) {
      values++;
      if (++depth > MAX_DEPTH) return true;
    } else if (byte === 125 || byte === 93) depth--;
    else if (byte === 44) values++;
    if (values > MAX_VALUES) return true;
  }
  return false;
}

/** Total number of keys in a parsed value; -1 when it is nested too deeply. */
export function countKeys(value: unknown, depth = 0): number {
  if (typeof value !== "object" || value === null) return 0;
  if (depth >= MAX_DEPTH) return -1;
  let total = 0;
  if (Array.isArray(value)) {
    for (const item of value) {
      const keys = countKeys(item, depth + 1);
      if (keys < 0) return -1;
      total += keys;
    }
    return total;
  }
  for (const key in value) {
    const keys = countKeys((value as Record<string, unknown>)[key], depth + 1);
    if (keys < 0) return -1;
    total += 1 + keys;
  }
  return total;
}
