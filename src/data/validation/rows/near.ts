/**
 * Groups prompts that are equal or nearly equal, in bounded memory: each new prompt is compared with those that share a
 * band of its MinHash sketch (locality-sensitive hashing).
 */
import { EMPTY, PLACES } from "./sketch.ts";

/** Prompts above this share of equal word groups are nearly equal. */
const NEAR = 0.8;
/** Texts that are alike to 80% share one of five bands of three places with a probability of 97%. */
const BAND = 3;
const BANDS = 5;
/** Different prompts that are kept for comparison: about 25 MiB. Later ones are still compared with them. */
const MAX_PROMPTS = 1 << 18;
/** Slots for each prompt, a power of two. */
const SLOTS = 8;
const FIRST_PROMPTS = 1 << 10;
/** Prompts that are compared for each band. */
const SAME_BAND = 4;
/** Bits of the filter that most bands of different prompts stop at. It fits into the cache of a core. */
const FILTER_BITS = 1 << 21;
/** Low bits of a slot: id + 1 of its prompt. The others are those of its band's hash. */
const OWNER = (MAX_PROMPTS << 1) - 1;

/** A kept prompt and the estimated similarity, 0 to 1; `id` is -1 when there is none. */
interface Match {
  id: number;
  similarity: number;
  /** False when it is certain that the same prompt is not kept. */
  maybeKept: boolean;
}

/** The share of equal places of two sketches, the second at `from` in `others`. */
function similarity(places: Uint16Array, others: Uint16Array, from: number): number {
  let equal = 0;
  let used = 0;
  for (let i = 0; i < PLACES; i++) {
    const value = places[i];
    if (value === others[from + i]) {
      if (value === EMPTY) continue;
      equal++;
    }
    used++;
  }
  return used === 0 ? 0 : equal / used;
}

/** A hash of a band of the sketch at `from`, or 0 when all of its places are empty. */
function bandHash(places: Uint16Array, from: number, band: number): number {
  let hash = band + 1;
  let empty = 0;
  for (let i = from + band * BAND; i < from + (band + 1) * BAND; i++) {
    const value = places[i] ?? EMPTY;
    if (value === EMPTY) empty++;
    hash = Math.imul(hash ^ value, 0x9e3779b1);
    hash ^= hash >>> 15;
  }
  return empty === BAND ? 0 : hash || 1;
}

const filterBit = (tag: number) => Math.imul(tag, 0x9e3779b1) & (FILTER_BITS - 1);

/** @param expected about as many prompts as will come: the index then grows less often */
export function createNearIndex(maxPrompts = MAX_PROMPTS, expected = 0) {
  let room = FIRST_PROMPTS;
  while (room < expected && room < maxPrompts) room *= 2;
  let count = 0;
  let full = false;
  let sketches = new Uint16Array(room * PLACES);
  /** The hash of each band without its low bits, and the id + 1 of its prompt; 0 is a free slot. */
  let table = new Int32Array(room * SLOTS);
  const filter = new Int32Array(FILTER_BITS / 32);
  /** The last search that compared a prompt, so that none is compared twice. */
  let visited = new Int32Array(room);
  let searches = 0;
  const match: Match = { id: -1, similarity: 0, maybeKept: false };
  const tags = new Int32Array(BANDS);

  const firstSlot = (tag: number) => (tag ^ (tag >>> 12)) & (table.length - 1);
  const nextSlot = (at: number) => (at + 1) & (table.length - 1);

  function insert(tag: number, id: number) {
    const bit = filterBit(tag);
    filter[bit >>> 5] = (filter[bit >>> 5] ?? 0) | (1 << (bit & 31));
    let at = firstSlot(tag);
    for (let same = 0; ; at = nextSlot(at)) {
      const slot = table[at] ?? 0;
      if (slot === 0) break;
      if (((slot ^ tag) & ~OWNER) === 0 && ++same >= SAME_BAND) return;
    }
    table[at] = (tag & ~OWNER) | (id + 1);
  }

  function grow() {
    room *= 2;
    const older = sketches;
    sketches = new Uint16Array(room * PLACES);
    sketches.set(older);
    visited = new Int32Array(room);
    table = new Int32Array(room * SLOTS);
    for (let id = 0; id < count; id++)
      for (let band = 0; band < BANDS; band++) {
        const tag = bandHash(sketches, id * PLACES, band);
        if (tag !== 0) insert(tag, id);
      }
  }

  return {
    /** Prompts that are kept. */
    get size() {
      return count;
    },
    /** False when there were more different prompts than can be kept. */
    get complete() {
      return !full;
    },
    /**
     * Finds the kept prompts that a sketch is nearly equal to.
     * @param use called for each of them
     * @returns the earliest one; the object is reused
     */
    find(places: Uint16Array, use: (id: number, similarity: number) => void): Match {
      match.id = -1;
      match.similarity = 0;
      match.maybeKept = true;
      searches++;
      for (let band = 0; band < BANDS; band++) {
        const tag = bandHash(places, 0, band);
        tags[band] = tag;
        if (tag === 0) continue;
        const bit = filterBit(tag);
        if (((filter[bit >>> 5] ?? 0) & (1 << (bit & 31))) === 0) {
          match.maybeKept = false;
          continue;
        }
        for (let at = firstSlot(tag); ; at = nextSlot(at)) {
          const slot = table[at] ?? 0;
          if (slot === 0) break;
          if (((slot ^ tag) & ~OWNER) !== 0) continue;
          const id = (slot & OWNER) - 1;
          if (visited[id] === searches) continue;
          visited[id] = searches;
          const share = similarity(places, sketches, id * PLACES);
          if (share < NEAR) continue;
          use(id, share);
          if (match.id < 0 || id < match.id) {
            match.id = id;
            match.similarity = share;
          }
        }
      }
      return match;
    },
    /** Keeps the sketch of the last `find` as a new prompt; returns its id, or -1 when there is no room. */
    keep(places: Uint16Array): number {
      if (count >= maxPrompts) {
        full = true;
        return -1;
      }
      if (count >= room) grow();
      const id = count++;
      for (let i = 0; i < PLACES; i++) sketches[id * PLACES + i] = places[i] ?? EMPTY;
      for (let band = 0; band < BANDS; band++) {
        const tag = tags[band] ?? 0;
        if (tag !== 0) insert(tag, id);
      }
      return id;
    },
  };
}
