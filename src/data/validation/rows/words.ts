/**
 * Splits a text into words and marks as numbers, without regard to letter case and white space. The text is a range of
 * a JSON string, so escapes are read too.
 */

const SPACE = 0;
const MARK = 1;
const BACKSLASH = 2;
const WIDE = 3;
/** Below this class, a byte ends a word. From it on, the class is the lower-case byte of a word. */
const LETTER = 4;
/** From this byte on, a UTF-8 character begins that is a word of its own: scripts without spaces, and emoji. */
const FIRST_WIDE = 0xe3;
/** The first code of the same characters. */
const FIRST_WIDE_CODE = 0x3000;
const CLASSES = new Uint8Array(256).map((_, byte) => {
  if (byte <= 32 || byte === 127) return SPACE;
  if (byte === 92) return BACKSLASH;
  if (byte >= FIRST_WIDE) return WIDE;
  if (byte >= 65 && byte <= 90) return byte + 32;
  return (byte >= 48 && byte <= 57) || (byte >= 97 && byte <= 122) || byte >= 0x80 ? byte : MARK;
});
/** The byte that an escape stands for, by the letter after the backslash. */
const ESCAPED = new Uint8Array(256).map((_, byte) => byte);
for (const letter of "nrtbf") ESCAPED[letter.charCodeAt(0)] = 32;

/** The hash of no character (FNV-1a). */
const NO_WORD = 0x811c9dc5 | 0;
/** Numbers from 0 to this one are marks by their byte, the others are hashes of words. */
const LAST_MARK = 127;
/** The mark at the end of each text. */
const BORDER = 7;

export const isMark = (token: number): boolean => token >>> 0 <= LAST_MARK;

const add = (word: number, byte: number) => Math.imul(word ^ byte, 0x01000193);

/** The hash of a word with one more character, given by its code, as its UTF-8 bytes. */
function addCode(word: number, code: number): number {
  if (code < 0x800) return add(add(word, 0xc0 | (code >> 6)), 0x80 | (code & 63));
  return add(add(add(word, 0xe0 | (code >> 12)), 0x80 | ((code >> 6) & 63)), 0x80 | (code & 63));
}

function hex4(bytes: Uint8Array, at: number): number {
  let value = 0;
  for (let i = at; i < at + 4; i++) {
    const byte = bytes[i] ?? 48;
    value = value * 16 + (byte <= 57 ? byte - 48 : (byte | 32) - 87);
  }
  return value;
}

/**
 * Reads a text, a range of a JSON string without its quotes, or of any JSON value.
 * @param tokens receives the words and marks, and a mark at the end; needs room for each byte and one more
 * @returns their number
 */
export function readWords(bytes: Uint8Array, from: number, to: number, tokens: Int32Array): number {
  let count = 0;
  let word = NO_WORD;
  for (let at = from; at < to; ) {
    let byte = bytes[at++] ?? 0;
    let kind = CLASSES[byte] ?? 0;
    if (kind >= LETTER) {
      word = add(word, kind);
      continue;
    }
    let code = 0;
    if (kind === BACKSLASH) {
      const letter = bytes[at++] ?? 0;
      byte = ESCAPED[letter] ?? 0;
      if (letter === 117) {
        code = hex4(bytes, at);
        at += 4;
        byte = code;
      }
      kind = code < 0x80 ? (CLASSES[byte] ?? 0) : code < FIRST_WIDE_CODE ? LETTER : WIDE;
      if (kind >= LETTER) {
        word = code < 0x80 ? add(word, kind) : addCode(word, code);
        continue;
      }
    }
    if (word !== NO_WORD) tokens[count++] = word;
    word = NO_WORD;
    if (kind === SPACE) continue;
    if (kind !== WIDE) tokens[count++] = byte;
    else if (code > 0) tokens[count++] = addCode(NO_WORD, code);
    else {
      let wide = add(NO_WORD, byte);
      for (let more = byte >= 0xf0 ? 3 : 2; more > 0 && at < to; more--) wide = add(wide, bytes[at++] ?? 0);
      tokens[count++] = wide;
    }
  }
  if (word !== NO_WORD) tokens[count++] = word;
  tokens[count++] = BORDER;
  return count;
}
