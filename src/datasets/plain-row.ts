/**
 * Recognises the commonest row by its bytes alone: `{"messages": [{"role": "…", "content": "…"}, …]}` with nothing else in it and nothing wrong
 * with it. Such a row is canonical as it stands, so it need not be parsed, which doubles the speed of a validation. Anything else is left to
 * the full check; a test holds the two against each other.
 */

/** What the report counts about a row; reused from row to row. */
export interface PlainRow {
  system: number;
  user: number;
  assistant: number;
  /** Characters of all contents in UTF-16 units, as `String.length` counts. */
  characters: number;
}

const MAX_MESSAGES = 2048;
const QUOTE = 34;
const COMMA = 44;
const SPACE = 32;
const BACKSLASH = 92;

const ascii = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0));
const OPEN = ascii('{"messages":');
const ROLE = ascii('{"role":');
const CONTENT = ascii('"content":');
const ASSISTANT = ascii('assistant"');
const USER = ascii('user"');
const SYSTEM = ascii('system"');

/** UTF-16 units a byte of valid UTF-8 stands for; 8 and above: look closer (quote, backslash, control character). */
const UNITS = new Uint8Array(256);
for (let byte = 0; byte < 256; byte++)
  UNITS[byte] =
    byte < 32 || byte === QUOTE || byte === BACKSLASH ? 8 : byte < 0x80 ? 1 : byte < 0xc0 ? 0 : byte < 0xf0 ? 1 : 2;

/** Length of an escape by the character after the backslash; 6 is `\uXXXX`, 0 is none. */
const ESCAPE = new Uint8Array(256);
for (const char of '"\\/bfnrt') ESCAPE[char.charCodeAt(0)] = 2;
ESCAPE["u".charCodeAt(0)] = 6;

function startsWith(bytes: Uint8Array, at: number, text: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text[i]) return false;
  return true;
}

/** The number of four hexadecimal digits, or -1. */
function hex4(bytes: Uint8Array, at: number): number {
  let value = 0;
  for (let i = at; i < at + 4; i++) {
    const byte = bytes[i] ?? 0;
    const digit =
      byte >= 48 && byte <= 57 ? byte - 48 : (byte | 32) >= 97 && (byte | 32) <= 102 ? (byte | 32) - 87 : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

/** Index after `\uXXXX`, or after both halves of a surrogate pair; -1 when it is broken or only half of one. */
function afterUnicode(bytes: Uint8Array, at: number): number {
  const code = hex4(bytes, at + 2);
  if (code < 0 || (code >= 0xdc00 && code < 0xe000)) return -1;
  if (code < 0xd800 || code >= 0xe000) return at + 6;
  const isPair = bytes[at + 6] === BACKSLASH && bytes[at + 7] === 117;
  const low = isPair ? hex4(bytes, at + 8) : -1;
  return low >= 0xdc00 && low < 0xe000 ? at + 12 : -1;
}

/**
 * @param bytes valid UTF-8; the record is `start` to `end`, without spaces around it
 * @returns false when the row is not plain: it may still be good
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
    let units = 0;
    for (;;) {
      let unit = UNITS[bytes[at] ?? 0] ?? 8;
      while (unit < 8) {
        units += unit;
        unit = UNITS[bytes[++at] ?? 0] ?? 8;
      }
      if (at >= end) return false;
      const byte = bytes[at];
      if (byte === QUOTE) break;
      if (byte !== BACKSLASH) return false;
      const size = ESCAPE[bytes[at + 1] ?? 0];
      if (size === 2) {
        at += 2;
        units++;
      } else if (size === 6) {
        const after = afterUnicode(bytes, at);
        if (after < 0) return false;
        units += (after - at) / 6;
        at = after;
      } else return false;
    }
    if (units === 0) return false;
    row.characters += units;
    at++;
    if (bytes[at++] !== 125) return false;
    if (bytes[at] !== COMMA) break;
    at++;
    if (bytes[at] === SPACE) at++;
  }
  return bytes[at] === 93 && bytes[at + 1] === 125 && at + 2 === end && last === 97;
}
