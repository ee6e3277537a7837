/** Compares each row with the earlier ones while the file streams: equal rows, nearly equal rows, and equal prompts. */
import { createHashLines } from "../rows/duplicates.ts";
import { createLabels } from "../rows/labels.ts";
import { createNearIndex, createSets, type Match } from "../rows/near.ts";
import { createRowReader, createRowText } from "../rows/row-text.ts";
import { createSketcher } from "../rows/sketch.ts";
import type { SplitKeys } from "./holdout.ts";
import { hashRow } from "./row-hash.ts";

/** What a row has in common with earlier rows. The object is reused for every row. */
interface Compared extends SplitKeys {
  /** The line of the first equal row; 0 when there is none. */
  same: number;
  /** The line of the first row with nearly the same prompt and the same answer; 0 when there is none. */
  alike: number;
}

/** Compares rows in bounded memory. */
export function createComparison() {
  const rows = createHashLines();
  const answers = createHashLines();
  const index = createNearIndex();
  const sets = createSets();
  const labels = createLabels();
  const reader = createRowReader();
  const text = createRowText();
  const sketcher = createSketcher();
  /** Hashes of kept prompts: two numbers each. */
  let kept = new Uint32Array(2048);
  const found: Compared = {
    same: 0,
    alike: 0,
    row: { lo: 0, hi: 0 },
    prompt: { lo: 0, hi: 0 },
    near: { lo: 0, hi: 0 },
    nearId: -1,
    label: 0,
  };

  /** A hash of the system messages and of all that follows the prompt. */
  function restHash(bytes: Buffer): number {
    let hash = sketcher.system;
    const { rest } = text;
    for (let i = 0; i < rest.length; i += 2) hash = Bun.hash.xxHash32(bytes.subarray(rest[i], rest[i + 1]), hash);
    return hash;
  }

  /** Finds or keeps the prompt that the row belongs to. */
  function place(): void {
    found.near = found.prompt;
    found.nearId = -1;
    if (sketcher.isEmpty) return;
    let first = -1;
    const match: Match = index.find(sketcher.places, (id) => {
      if (first >= 0) sets.join(first, id);
      first = id;
    });
    if (match.id >= 0) {
      found.nearId = match.id;
      found.near = { lo: kept[match.id * 2] ?? 0, hi: kept[match.id * 2 + 1] ?? 0 };
      return;
    }
    const id = index.keep(sketcher.places);
    if (id < 0) return;
    sets.add();
    if (id * 2 >= kept.length) {
      const older = kept;
      kept = new Uint32Array(older.length * 2);
      kept.set(older);
    }
    kept[id * 2] = found.prompt.lo;
    kept[id * 2 + 1] = found.prompt.hi;
    found.nearId = id;
  }

  return {
    sets,
    labels,
    get complete() {
      return rows.complete && answers.complete && index.complete;
    },
    /** Compares the canonical row at `start` to `end`, which is on `line` of the file. */
    look(bytes: Buffer, start: number, end: number, line: number): Compared {
      found.row = hashRow(bytes.subarray(start, end));
      reader.read(bytes, start, end, text);
      sketcher.read(bytes, text.system, text.prompt);
      found.prompt = { lo: sketcher.lo, hi: sketcher.hi };
      place();
      found.same = rows.first(found.row.lo, found.row.hi, line);
      found.alike = found.same ? 0 : answers.first(restHash(bytes) ^ found.near.lo, found.near.hi, line);
      found.label = 0;
      return found;
    },
    /** Counts the label of the last row, once it is clear that the row is kept. */
    countLabel(bytes: Buffer): void {
      found.label = labels.add(bytes, text.label, text.answer);
    },
  };
}
