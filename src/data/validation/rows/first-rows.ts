/** The first row of each kept prompt, found by the exact key of the prompt. Kept prompts are numbered from 0. */

/** Numbers of each prompt: its key, the hash of the row, the hash of all that follows the prompt, and the line. */
const FIELDS = 6;
/** Low bits of a slot: id + 1 of the prompt. The others are high bits of its key. */
const ID = (1 << 20) - 1;

/** A hash of 64 bits as two numbers of 32 bits, with a sign: unsigned ones are slower. */
export interface Hash {
  lo: number;
  hi: number;
}

/** The first row of a prompt. */
export interface FirstRow {
  line: number;
  /** A hash of all that follows the prompt. */
  rest: number;
}

/** @param expected about as many prompts as will come, less than a million */
export function createFirstRows(expected: number) {
  let room = 1 << 10;
  while (room < expected) room *= 2;
  let fields = new Int32Array(room * FIELDS);
  let slots = new Int32Array(room * 2);
  let count = 0;

  const slotOf = (lo: number, hi: number) => (lo ^ (hi >>> 16)) & (slots.length - 1);

  function insert(lo: number, hi: number, id: number) {
    let at = slotOf(lo, hi);
    while (slots[at] !== 0) at = (at + 1) & (slots.length - 1);
    slots[at] = (hi & ~ID) | (id + 1);
  }
  function grow() {
    const older = fields;
    room *= 2;
    fields = new Int32Array(room * FIELDS);
    fields.set(older);
    slots = new Int32Array(room * 2);
    for (let id = 0; id < count; id++) insert(fields[id * FIELDS] ?? 0, fields[id * FIELDS + 1] ?? 0, id);
  }

  return {
    /** The prompt with this key, or -1. */
    find({ lo, hi }: Hash): number {
      for (let at = slotOf(lo, hi); ; at = (at + 1) & (slots.length - 1)) {
        const slot = slots[at] ?? 0;
        if (slot === 0) return -1;
        if ((slot ^ hi) & ~ID) continue;
        const id = (slot & ID) - 1;
        if (fields[id * FIELDS] === lo && fields[id * FIELDS + 1] === hi) return id;
      }
    },
    /** Adds the next prompt with its first row. */
    add(prompt: Hash, row: Hash, first: FirstRow): void {
      if (count === room) grow();
      const at = count * FIELDS;
      fields[at] = prompt.lo;
      fields[at + 1] = prompt.hi;
      fields[at + 2] = row.lo;
      fields[at + 3] = row.hi;
      fields[at + 4] = first.rest;
      fields[at + 5] = first.line;
      insert(prompt.lo, prompt.hi, count++);
    },
    /** Stores the key of prompt `id` in `into`. */
    readKey(id: number, into: Hash): void {
      into.lo = fields[id * FIELDS] ?? 0;
      into.hi = fields[id * FIELDS + 1] ?? 0;
    },
    /** The line of the first row of prompt `id` when it is this row, or 0. */
    lineOfRow: (id: number, row: Hash): number =>
      fields[id * FIELDS + 2] === row.lo && fields[id * FIELDS + 3] === row.hi ? (fields[id * FIELDS + 5] ?? 0) : 0,
    /** The line of the first row of prompt `id` when the same follows the prompt, or 0. */
    lineOfRest: (id: number, rest: number): number =>
      fields[id * FIELDS + 4] === rest ? (fields[id * FIELDS + 5] ?? 0) : 0,
  };
}
