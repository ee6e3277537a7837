/**
 * Hashes the prompt of a row for comparison: an exact key that ignores letter case and spaces, and a MinHash sketch
 * over groups of three words, whose share of equal places estimates the share of equal groups.
 */
import type { RowText } from "./row-text.ts";

const GROUP = 3;
/** Places of a sketch. The estimate has a standard error of about 0.07. */
export const PLACES = 32;
/** A place without a group of words. */
export const EMPTY = 0xffff;
/** The same while the smallest hash of each place is searched. */
const NONE = 0xffffffff;
/** The low bits of a hash choose its place. A sketch keeps 16 of the others. */
const PLACE_BITS = Math.log2(PLACES);
/** Bytes of one text that are compared word by word; the rest of a longer text counts as it is. */
const MAX_BYTES = 4096;
/** A text without a prompt is compared by its first bytes and by the first bytes of each later section. */
const OPENING = 512;
const SECTION = 1024;
const SECTION_START = 192;

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

const START = 0x811c9dc5 | 0;
/** Tokens below this number are marks, the others are hashes of words. */
const FIRST_HASH = 128;
/** The token at the end of each text. */
const BORDER = 7;

const add = (word: number, byte: number) => Math.imul(word ^ byte, 0x01000193);

/** The hash of a word with one more character, given by its code, as its UTF-8 bytes. */
function addCode(word: number, code: number): number {
  if (code < 0x800) return add(add(word, 0xc0 | (code >> 6)), 0x80 | (code & 63));
  return add(add(add(word, 0xe0 | (code >> 12)), 0x80 | ((code >> 6) & 63)), 0x80 | (code & 63));
}

/** Both halves of the exact key with one more value. */
function mixLow(key: number, value: number): number {
  const mixed = Math.imul(key ^ value, 0x85ebca6b);
  return mixed ^ (mixed >>> 15);
}
function mixHigh(key: number, value: number): number {
  const mixed = Math.imul((key + value) | 0, 0xc2b2ae35);
  return mixed ^ (mixed >>> 13);
}

function hex4(bytes: Uint8Array, at: number): number {
  let value = 0;
  for (let i = at; i < at + 4; i++) {
    const byte = bytes[i] ?? 48;
    value = value * 16 + (byte <= 57 ? byte - 48 : (byte | 32) - 87);
  }
  return value;
}

/** Creates a hasher of prompts that reuses its memory. */
export function createSketcher() {
  const places = new Uint16Array(PLACES);
  const smallest = new Uint32Array(PLACES);
  /** Hashes of words, and single marks by their byte. */
  const tokens = new Int32Array(MAX_BYTES + 1);
  let lo = 0;
  let hi = 0;
  let words = 0;
  /** The last two words. */
  let old = 0;
  let older = 0;
  let systemHash = 0;

  function place(hash: number) {
    let h = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    h = (h ^ (h >>> 16)) >>> 0;
    const at = h & (PLACES - 1);
    if (h < (smallest[at] ?? 0)) smallest[at] = h;
  }

  /** Adds tokens to the key, and groups of words to the sketch. The state is in local variables: this loop is hot. */
  function addTokens(count: number) {
    let a = lo;
    let b = hi;
    let last = old;
    let before = older;
    let seen = words;
    for (let i = 0; i < count; i++) {
      const token = tokens[i] ?? 0;
      a = mixLow(a, token);
      b = mixHigh(b, token);
      if (token >>> 0 < FIRST_HASH) continue;
      if (++seen >= GROUP) place(token ^ Math.imul(last, 0x9e3779b1) ^ Math.imul(before, 0x27d4eb2f));
      before = last;
      last = token;
    }
    lo = a;
    hi = b;
    old = last;
    older = before;
    words = seen;
  }

  /** Adds one text, a range of a JSON string without its quotes, or of any JSON value. */
  function addText(bytes: Uint8Array, from: number, end: number, most = MAX_BYTES) {
    const to = Math.min(end, from + most) | 0;
    let count = 0;
    let word = START;
    for (let at = from | 0; at < to; ) {
      const byte = bytes[at++] ?? 0;
      let kind = CLASSES[byte] ?? 0;
      if (kind >= LETTER) {
        word = add(word, kind);
        continue;
      }
      if (kind === SPACE) {
        if (word !== START) tokens[count++] = word;
        word = START;
        continue;
      }
      let mark = byte;
      if (kind === BACKSLASH) {
        const letter = bytes[at++] ?? 0;
        mark = ESCAPED[letter] ?? 0;
        if (letter === 117) {
          const code = hex4(bytes, at);
          at += 4;
          if (code >= 0x80) {
            if (code < FIRST_WIDE_CODE) word = addCode(word, code);
            else {
              if (word !== START) tokens[count++] = word;
              tokens[count++] = addCode(START, code);
              word = START;
            }
            continue;
          }
          mark = code;
        }
        kind = CLASSES[mark] ?? 0;
        if (kind >= LETTER) {
          word = add(word, kind);
          continue;
        }
      }
      if (word !== START) tokens[count++] = word;
      word = START;
      if (kind === WIDE) {
        let wide = add(START, byte);
        for (let more = byte >= 0xf0 ? 3 : 2; more > 0 && at < to; more--) wide = add(wide, bytes[at++] ?? 0);
        tokens[count++] = wide;
      } else if (kind !== SPACE) tokens[count++] = mark;
    }
    if (word !== START) tokens[count++] = word;
    // A border between two texts counts.
    tokens[count++] = BORDER;
    addTokens(count);
  }

  /** Adds a text to the exact key only. */
  function addBytes(bytes: Uint8Array, from: number, to: number) {
    if (from >= to) return;
    const hash = Bun.hash.xxHash32(bytes.subarray(from, to)) | 0;
    lo = mixLow(lo, hash);
    hi = mixHigh(hi, hash);
  }

  /** Adds a document by its opening and the start of each section. */
  function addDocument(bytes: Uint8Array, from: number, end: number) {
    addText(bytes, from, end, OPENING);
    addBytes(bytes, from + OPENING, end);
    const last = Math.min(end, from + MAX_BYTES);
    for (let at = from + SECTION; at < last; at += SECTION) addText(bytes, at, end, SECTION_START);
  }

  return {
    /** The sketch of the prompt. */
    places,
    /** The exact key of the prompt, as two numbers of 32 bits. */
    get lo() {
      return lo >>> 0;
    },
    get hi() {
      return hi >>> 0;
    },
    /** A hash of the system messages. */
    get system() {
      return systemHash;
    },
    /** True when the prompt has no words. */
    get isEmpty() {
      return words === 0;
    },
    /**
     * Reads a prompt.
     * @param system ranges that count for the key only; `prompt`: ranges that count for the sketch too
     */
    read(bytes: Uint8Array, { system, prompt, isDocument }: RowText): void {
      for (let i = 0; i < PLACES; i++) smallest[i] = NONE;
      words = old = older = 0;
      systemHash = 0;
      for (let i = 0; i < system.length; i += 2)
        systemHash = Bun.hash.xxHash32(bytes.subarray(system[i], system[i + 1]), systemHash);
      lo = mixLow(START, systemHash | 0);
      hi = mixHigh(1, systemHash | 0);
      for (let i = 0; i < prompt.length; i += 2) {
        const from = prompt[i] ?? 0;
        const to = prompt[i + 1] ?? 0;
        if (isDocument) addDocument(bytes, from, to);
        else {
          addText(bytes, from, to);
          addBytes(bytes, from + MAX_BYTES, to);
        }
      }
      // A prompt with fewer words than a group has them as one group.
      if (words > 0 && words < GROUP) place(old ^ Math.imul(older, 0x9e3779b1));
      for (let i = 0; i < PLACES; i++) {
        const hash = smallest[i] ?? NONE;
        places[i] = hash === NONE ? EMPTY : Math.min((hash >>> PLACE_BITS) & EMPTY, EMPTY - 1);
      }
    },
  };
}
