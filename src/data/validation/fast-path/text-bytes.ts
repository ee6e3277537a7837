/** Scans JSON strings as bytes: the end, the length, and whether `JSON.stringify` would write the same bytes. */

export const QUOTE = 34;
export const BACKSLASH = 92;

/** The bytes of an ASCII text. */
export const ascii = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0));

/** The ASCII characters as `JSON.stringify` writes them. */
export const ESCAPED = Array.from({ length: 128 }, (_, code) =>
  ascii(JSON.stringify(String.fromCharCode(code)).slice(1, -1)),
);

/** The number of UTF-16 units for each byte of valid UTF-8; 8 for bytes that end a run of plain characters. */
export const UNITS = new Uint8Array(256);
for (let byte = 0; byte < 256; byte++)
  UNITS[byte] =
    byte < 32 || byte === QUOTE || byte === BACKSLASH ? 8 : byte < 0x80 ? 1 : byte < 0xc0 ? 0 : byte < 0xf0 ? 1 : 2;

const SHORT = 2;
const SLASH = 3;
const UNICODE = 6;
/** Kinds of escapes by the byte after the backslash; 0 is not a valid escape. */
const ESCAPE = new Uint8Array(256);
for (const char of '"\\bfnrt') ESCAPE[char.charCodeAt(0)] = SHORT;
ESCAPE["/".charCodeAt(0)] = SLASH;
ESCAPE["u".charCodeAt(0)] = UNICODE;

export function startsWith(bytes: Uint8Array, at: number, text: Uint8Array): boolean {
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

/** Index after `\uXXXX` or after a full surrogate pair; -1 for an invalid escape or half of a pair. */
function afterUnicode(bytes: Uint8Array, at: number): number {
  const code = hex4(bytes, at + 2);
  if (code < 0 || (code >= 0xdc00 && code < 0xe000)) return -1;
  if (code < 0xd800 || code >= 0xe000) return at + 6;
  const isPair = bytes[at + 6] === BACKSLASH && bytes[at + 7] === 117;
  const low = isPair ? hex4(bytes, at + 8) : -1;
  return low >= 0xdc00 && low < 0xe000 ? at + 12 : -1;
}

/** The high bit of each of four bytes. */
const HIGH = 0x80808080 | 0;
const EACH = 0x01010101;
const QUOTES = QUOTE * EACH;
const BACKSLASHES = BACKSLASH * EACH;
const CONTROLS = 32 * EACH;

/**
 * Marks the quotes, backslashes and control characters of four bytes: the usual search for a zero byte. Bytes after the
 * first one can be marked by mistake.
 */
export const stopsOf = (four: number): number =>
  ((four - CONTROLS) | ((four ^ QUOTES) - EACH) | ((four ^ BACKSLASHES) - EACH)) & ~four & HIGH;

/** The number of bytes before the first stop. */
export const beforeStop = (stops: number): number => (31 - Math.clz32(stops & -stops)) >> 3;

/** The number of UTF-16 units of four bytes: continuation bytes have none, the first of four has two. */
export function unitsOf(four: number): number {
  if ((four & HIGH) === 0) return 4;
  const continued = (four >>> 7) & ~(four >>> 6) & EACH;
  const long = (four >>> 7) & (four >>> 6) & (four >>> 5) & (four >>> 4) & EACH;
  return 4 + (Math.imul(long, EACH) >>> 24) - (Math.imul(continued, EACH) >>> 24);
}

/** The same for the first of them only. */
export const unitsOfFirst = (four: number, bytes: number): number => unitsOf(four & ~(-1 << (bytes << 3))) - 4 + bytes;

/** Creates a view of the bytes of one buffer after the other, to read four of them at a time. */
export function createFours() {
  let bytes: Uint8Array = new Uint8Array(0);
  let view = new DataView(bytes.buffer);
  return (of: Uint8Array): DataView => {
    if (of !== bytes) {
      bytes = of;
      view = new DataView(of.buffer, of.byteOffset, of.byteLength);
    }
    return view;
  };
}

/** Creates a scanner of texts. It keeps the facts of the last one. */
export function createTextScan() {
  const viewOf = createFours();
  let units = 0;
  let exact = true;
  return {
    /** Length in UTF-16 units, as `String.length` counts. */
    get units() {
      return units;
    },
    /** False when `JSON.stringify` would write other bytes for the same text. */
    get exact() {
      return exact;
    },
    /**
     * @param bytes valid UTF-8; the text begins at `start`, after its opening quote, and must close before `end`
     * @returns index of the closing quote, or -1 when the text is invalid or has half of a surrogate pair
     */
    endOfText(bytes: Uint8Array, start: number, end: number): number {
      const view = viewOf(bytes);
      const lastFour = end - 4;
      let count = 0;
      let at = start;
      exact = true;
      for (;;) {
        for (; at <= lastFour; at += 4) {
          const four = view.getInt32(at, true);
          const stops = stopsOf(four);
          if (stops !== 0) {
            const before = beforeStop(stops);
            count += unitsOfFirst(four, before);
            at += before;
            break;
          }
          count += unitsOf(four);
        }
        // The last bytes; elsewhere there is a stop here.
        let unit = UNITS[bytes[at] ?? 0] ?? 8;
        while (unit < 8) {
          count += unit;
          unit = UNITS[bytes[++at] ?? 0] ?? 8;
        }
        if (at >= end) return -1;
        const byte = bytes[at];
        if (byte === QUOTE) {
          units = count;
          return at;
        }
        if (byte !== BACKSLASH) return -1;
        const kind = ESCAPE[bytes[at + 1] ?? 0];
        if (kind === SHORT || kind === SLASH) {
          at += 2;
          count++;
          if (kind === SLASH) exact = false;
        } else if (kind === UNICODE) {
          const after = afterUnicode(bytes, at);
          if (after < 0) return -1;
          count += (after - at) / 6;
          at = after;
          exact = false;
        } else return -1;
      }
    },
  };
}

/** The first bytes of white space beyond ASCII, as UTF-8 writes it. */
const WIDE_SPACE = new Set([0xc2, 0xe1, 0xe2, 0xe3, 0xef]);
const WIDE_SPACES = Array.from(
  "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff",
  (space) => new TextEncoder().encode(space),
);

/**
 * Whether a text may have no words: it is empty or begins with nothing but white space. Never a wrong no.
 * @param escapes the text is the inside of a JSON string
 */
export function maybeBlank(bytes: Uint8Array, from: number, to: number, escapes = true): boolean {
  let at = from;
  while (at < to) {
    const byte = bytes[at] ?? 0;
    if (byte <= 32) at++;
    else if (byte === BACKSLASH && escapes) {
      const next = bytes[at + 1];
      if (next === 117) {
        if (String.fromCharCode(hex4(bytes, at + 2)).trim() !== "") return false;
        at += 6;
        continue;
      }
      // \n, \r, \t and \f are white space; \" \\ \/ and \b are not.
      if (next !== 110 && next !== 114 && next !== 116 && next !== 102) return false;
      at += 2;
    } else {
      const space = WIDE_SPACE.has(byte) && WIDE_SPACES.find((wide) => startsWith(bytes, at, wide));
      if (!space) return false;
      at += space.length;
    }
  }
  return true;
}
