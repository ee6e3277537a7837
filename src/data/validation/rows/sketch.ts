/**
 * Hashes the prompt of a row for comparison: an exact key that ignores letter case and spaces, and a MinHash sketch
 * over groups of three words, whose share of equal places estimates the share of equal groups.
 */
const GROUP = 3;
/** Places of a sketch. The estimate has a standard error of about 0.07. */
export const PLACES = 32;
/** A place without a group of words. */
export const EMPTY = 0xffffffff;
/** Bytes of one text that are compared word by word; the rest of a longer text counts as it is. */
const MAX_BYTES = 4096;

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

/** Creates a hasher of prompts that reuses its memory. */
export function createSketcher() {
  const places = new Uint32Array(PLACES);
  let lo = 0;
  let hi = 0;
  let old = 0;
  let older = 0;
  let words = 0;
  let systemHash = 0;

  function place(hash: number) {
    let h = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    h = (h ^ (h >>> 16)) >>> 0;
    const at = h & (PLACES - 1);
    if (h < (places[at] ?? 0)) places[at] = h;
  }
  function mix(value: number) {
    lo = Math.imul(lo ^ value, 0x85ebca6b);
    lo ^= lo >>> 15;
    hi = Math.imul((hi + value) | 0, 0xc2b2ae35);
    hi ^= hi >>> 13;
  }
  function endWord(word: number) {
    mix(word);
    if (++words >= GROUP) place(word ^ Math.imul(old, 0x9e3779b1) ^ Math.imul(older, 0x27d4eb2f));
    older = old;
    old = word;
  }

  /** Adds one text, a range of a JSON string without its quotes, or of any JSON value. */
  function addText(bytes: Uint8Array, from: number, end: number) {
    const to = Math.min(end, from + MAX_BYTES);
    let word = START;
    for (let at = from; at < to; ) {
      const byte = bytes[at++] ?? 0;
      let kind = CLASSES[byte] ?? 0;
      if (kind >= LETTER) {
        word = Math.imul(word ^ kind, 0x01000193);
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
              if (word !== START) endWord(word);
              endWord(addCode(START, code));
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
      if (word !== START) endWord(word);
      word = START;
      if (kind === WIDE) {
        let wide = add(START, byte);
        for (let more = byte >= 0xf0 ? 3 : 2; more > 0 && at < to; more--) wide = add(wide, bytes[at++] ?? 0);
        endWord(wide);
      } else if (kind !== SPACE) mix(mark);
    }
    if (word !== START) endWord(word);
    // A border between two texts counts.
    mix(7);
    if (to < end) mix(Bun.hash.xxHash32(bytes.subarray(to, end)));
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
    read(bytes: Uint8Array, system: number[], prompt: number[]): void {
      places.fill(EMPTY);
      words = old = older = 0;
      lo = START;
      hi = 1;
      systemHash = 0;
      for (let i = 0; i < system.length; i += 2)
        systemHash = Bun.hash.xxHash32(bytes.subarray(system[i], system[i + 1]), systemHash);
      mix(systemHash | 0);
      for (let i = 0; i < prompt.length; i += 2) addText(bytes, prompt[i] ?? 0, prompt[i + 1] ?? 0);
      // A prompt with fewer words than a group has them as one group.
      if (words > 0 && words < GROUP) place(old ^ Math.imul(older, 0x9e3779b1));
    },
  };
}
