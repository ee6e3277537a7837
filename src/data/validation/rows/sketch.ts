/**
 * Hashes the prompt of a row for comparison: an exact key that ignores letter case and spaces, and a MinHash sketch
 * over groups of three words, whose share of equal places estimates the share of equal groups.
 */
import { PART, type RowText } from "./row-text.ts";
import { isMark, readWords } from "./words.ts";

const GROUP = 3;
/** Places of a sketch. The estimate has a standard error of about 0.07. */
export const PLACES = 32;
/** A place without a group of words. */
export const EMPTY = 0xffff;
/** The low bits of a hash choose its place. A sketch keeps 16 of the others. */
const PLACE_BITS = Math.log2(PLACES);
/** Bytes of one text that are compared word by word; the rest of a longer text counts as it is. */
const MAX_BYTES = 4096;
/** A text without a prompt is compared by its first bytes and by the first bytes of each later section. */
const OPENING = 512;
const SECTION = 1024;
const SECTION_START = 192;
/** The start of a key. */
const START = 0x811c9dc5 | 0;
/** Turns the order of signed numbers into that of unsigned ones. */
const SIGN = 0x80000000 | 0;
/** Larger than the hash of any group. */
const NONE = 0x7fffffff;

/** Both halves of the exact key with one more value. */
function mixLow(key: number, value: number): number {
  const mixed = Math.imul(key ^ value, 0x85ebca6b);
  return mixed ^ (mixed >>> 15);
}
function mixHigh(key: number, value: number): number {
  const mixed = Math.imul((key + value) | 0, 0xc2b2ae35);
  return mixed ^ (mixed >>> 13);
}

/** The hash of a group of words, well mixed. */
function groupHash(word: number, last: number, before: number): number {
  const group = word ^ Math.imul(last, 0x9e3779b1) ^ Math.imul(before, 0x27d4eb2f);
  let hash = Math.imul(group ^ (group >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

/** Creates a hasher of prompts that reuses its memory. */
export function createSketcher() {
  const places = new Uint16Array(PLACES);
  /** The smallest hash of each place, in the order of `SIGN`. */
  const smallest = new Int32Array(PLACES);
  const tokens = new Int32Array(MAX_BYTES + 1);
  let lo = 0;
  let hi = 0;
  let words = 0;
  /** The last two words. */
  let old = 0;
  let older = 0;
  let systemHash = 0;

  function place(hash: number) {
    const at = hash & (PLACES - 1);
    smallest[at] = Math.min(smallest[at] ?? 0, hash ^ SIGN);
  }

  /** Adds a text to the key, and its groups of words to the sketch. */
  function addText(bytes: Uint8Array, from: number, end: number, most = MAX_BYTES) {
    const count = readWords(bytes, from, Math.min(end, from + most), tokens);
    // This loop is hot, so the state is in local variables.
    let a = lo;
    let b = hi;
    let last = old;
    let before = older;
    let seen = words;
    for (let i = 0; i < count; i++) {
      const token = tokens[i] ?? 0;
      a = mixLow(a, token);
      b = mixHigh(b, token);
      if (isMark(token)) continue;
      if (++seen >= GROUP) place(groupHash(token, last, before));
      before = last;
      last = token;
    }
    lo = a;
    hi = b;
    old = last;
    older = before;
    words = seen;
  }

  /** Adds a text to the key only. */
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
      return lo;
    },
    get hi() {
      return hi;
    },
    /** A hash of the system messages. */
    get system() {
      return systemHash;
    },
    /** True when the prompt has no words. */
    get isEmpty() {
      return words === 0;
    },
    /** Reads the prompt of a row. System messages count for the key only. */
    read(bytes: Uint8Array, text: RowText): void {
      const { count, part, from, to } = text;
      smallest.fill(NONE);
      words = old = older = systemHash = 0;
      for (let i = 0; i < count; i++)
        if (part[i] === PART.system) systemHash = Bun.hash.xxHash32(bytes.subarray(from[i], to[i]), systemHash);
      lo = mixLow(START, systemHash | 0);
      hi = mixHigh(1, systemHash | 0);
      for (let i = 0; i < count; i++) {
        if (part[i] !== PART.prompt) continue;
        const start = from[i] ?? 0;
        const end = to[i] ?? 0;
        if (text.isDocument) addDocument(bytes, start, end);
        else {
          addText(bytes, start, end);
          addBytes(bytes, start + MAX_BYTES, end);
        }
      }
      // A prompt with fewer words than a group has them as one group.
      if (words > 0 && words < GROUP) place(groupHash(old, older, 0));
      for (let i = 0; i < PLACES; i++) {
        const hash = smallest[i] ?? NONE;
        // Without a branch, because none could predict which places are empty.
        places[i] = Math.min(((hash ^ SIGN) >>> PLACE_BITS) & EMPTY, EMPTY - 1 + Number(hash === NONE));
      }
    },
  };
}
