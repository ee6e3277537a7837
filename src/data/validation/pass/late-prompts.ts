/**
 * Stores the sketches of prompts that come after memory for comparison is full, in a temporary file, so that the
 * validation split can be checked against all of them.
 */
import { closeSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { diskGuard } from "../../../lib/disk/reserve.ts";
import type { Hash } from "../rows/first-rows.ts";
import { createNearIndex } from "../rows/near.ts";
import { PLACES } from "../rows/sketch.ts";

/** A record is the key of a prompt, as four numbers of 16 bits, and its sketch. */
const KEY = 4;
const RECORD = KEY + PLACES;
const RECORDS = 4096;

/** @param dir gets the temporary file */
export function createLatePrompts(dir: string, diskReserve: number) {
  const block = new Uint16Array(RECORD * RECORDS);
  const places = new Uint16Array(PLACES);
  const key: Hash = { lo: 0, hi: 0 };
  const guard = diskGuard(dir, diskReserve);
  let used = 0;
  let stored = 0;
  let file = -1;

  function flush() {
    if (file < 0) {
      const path = join(dir, "prompts.tmp");
      file = openSync(path, "w+", 0o600);
      // The open file stays until it is closed.
      unlinkSync(path);
    }
    const bytes = used * Uint16Array.BYTES_PER_ELEMENT;
    guard(bytes);
    for (let done = 0; done < bytes; ) done += writeSync(file, block, done, bytes - done, stored + done);
    stored += bytes;
    used = 0;
  }

  /** Calls `use` for each record, with its key and its sketch in `key` and `places`. */
  function each(use: () => void) {
    for (let at = 0; at < stored; at += block.byteLength) {
      const bytes = Math.min(block.byteLength, stored - at);
      for (let done = 0; done < bytes; ) {
        const got = readSync(file, block, done, bytes - done, at + done);
        if (got === 0) throw new Error("the temporary file of prompts is shorter than expected");
        done += got;
      }
      for (let from = 0; from < bytes / Uint16Array.BYTES_PER_ELEMENT; from += RECORD) {
        key.lo = (block[from] ?? 0) | ((block[from + 1] ?? 0) << 16);
        key.hi = (block[from + 2] ?? 0) | ((block[from + 3] ?? 0) << 16);
        for (let i = 0; i < PLACES; i++) places[i] = block[from + KEY + i] ?? 0;
        use();
      }
    }
  }

  return {
    /** Adds the prompt of a row. */
    add({ lo, hi }: Hash, sketch: Uint16Array): void {
      if (used === block.length) flush();
      block[used] = lo;
      block[used + 1] = lo >>> 16;
      block[used + 2] = hi;
      block[used + 3] = hi >>> 16;
      for (let i = 0, at = used + KEY; i < PLACES; i++, at++) block[at] = sketch[i] ?? 0;
      used += RECORD;
    },
    /**
     * Finds the chosen prompts that another prompt is nearly equal to.
     * @param chosen at most some thousand keys
     * @param keyOf the key of a prompt by its hash
     * @returns those of the keys that must not be in the validation split
     */
    linked(chosen: ReadonlySet<number>, keyOf: (hash: Hash) => number): Set<number> {
      const linked = new Set<number>();
      if (chosen.size === 0 || stored + used === 0) return linked;
      if (used > 0) flush();
      const index = createNearIndex();
      const kept: number[] = [];
      const known = new Set<number>();
      each(() => {
        const own = keyOf(key);
        if (!chosen.has(own) || known.has(own)) return;
        known.add(own);
        index.find(places, () => {});
        index.keep(places);
        kept.push(own);
      });
      let own = 0;
      const mark = (id: number) => {
        const other = kept[id] ?? own;
        if (other !== own) linked.add(other);
      };
      each(() => {
        own = keyOf(key);
        index.find(places, mark);
      });
      return linked;
    },
    /** Deletes the file. */
    drop(): void {
      if (file >= 0) closeSync(file);
      file = -1;
    },
  };
}
