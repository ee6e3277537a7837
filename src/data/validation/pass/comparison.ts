/** Compares each row with the earlier ones while the file streams: equal rows, nearly equal rows, and equal prompts. */
import { createHashLines } from "../rows/duplicates.ts";
import { createFirstRows, type FirstRow } from "../rows/first-rows.ts";
import { createLabels } from "../rows/labels.ts";
import { createNearIndex } from "../rows/near.ts";
import { createRowReader, createRowText, PART, type RowText } from "../rows/row-text.ts";
import { createSets } from "../rows/sets.ts";
import { createSketcher } from "../rows/sketch.ts";
import type { SplitKeys } from "./holdout.ts";
import type { createLatePrompts } from "./late-prompts.ts";
import { hashRow } from "./row-hash.ts";

/** What a row has in common with earlier rows. The object is reused for every row. */
interface Compared extends SplitKeys {
  /** The line of the first equal row; 0 when there is none. */
  same: number;
  /** The line of the first row with nearly the same prompt and the same answer; 0 when there is none. */
  alike: number;
}

/** Bytes of a row at which memory is not too small for most files. */
const SHORT_ROW = 512;
/** Different prompts that are compared with all later ones. Those after them are stored in `late` for the split. */
const MAX_PROMPTS = 1 << 16;

/**
 * Compares rows in bounded memory.
 * @param bytes size of the file, by which memory is reserved
 */
export function createComparison(bytes: number, late: ReturnType<typeof createLatePrompts>) {
  const expected = Math.min(MAX_PROMPTS, Math.ceil(bytes / SHORT_ROW));
  /** Rows whose prompt is not kept, or is not new. The first row of a kept prompt is in `firsts`. */
  const rows = createHashLines(undefined, bytes / SHORT_ROW - MAX_PROMPTS);
  const answers = createHashLines();
  const index = createNearIndex(MAX_PROMPTS, expected);
  const firsts = createFirstRows(expected);
  const sets = createSets();
  const labels = createLabels();
  const readText = createRowReader();
  const ownText = createRowText();
  /** The texts of the last row. */
  let text = ownText;
  const sketcher = createSketcher();
  const found: Compared = {
    same: 0,
    alike: 0,
    row: { lo: 0, hi: 0 },
    prompt: { lo: 0, hi: 0 },
    near: { lo: 0, hi: 0 },
    nearId: -1,
    label: 0,
  };
  const { row, prompt, near } = found;
  const first: FirstRow = { line: 0, rest: 0 };
  let linked = -1;
  const link = (id: number) => {
    if (linked >= 0) sets.join(linked, id);
    linked = id;
  };

  /** A hash of the system messages and of all that follows the prompt. */
  function restHash(bytes: Buffer): number {
    let hash = sketcher.system;
    const { count, part, from, to } = text;
    for (let i = 0; i < count; i++)
      if (part[i] === PART.rest) hash = Bun.hash.xxHash32(bytes.subarray(from[i], to[i]), hash);
    return hash | 0;
  }

  /** Finds the kept prompt that the row belongs to, or keeps its prompt. @returns whether it is kept as a new one */
  function place(): boolean {
    near.lo = prompt.lo;
    near.hi = prompt.hi;
    found.nearId = -1;
    if (sketcher.isEmpty) return false;
    linked = -1;
    const match = index.find(sketcher.places, link);
    // The same prompt is found by its key, because the index keeps only a few prompts for each band.
    found.nearId = match.maybeKept ? firsts.find(prompt) : -1;
    if (found.nearId >= 0) return false;
    if (match.id >= 0) {
      found.nearId = match.id;
      firsts.readKey(match.id, near);
      return false;
    }
    found.nearId = index.keep(sketcher.places);
    if (found.nearId < 0) late.add(prompt, sketcher.places);
    return found.nearId >= 0;
  }

  return {
    sets,
    labels,
    get complete() {
      return rows.complete && answers.complete && index.complete;
    },
    /**
     * Compares the canonical row at `start` to `end`, which is on `line` of the file.
     * @param known its texts, when they are known
     */
    look(bytes: Buffer, start: number, end: number, line: number, known: RowText | null): Compared {
      hashRow(bytes.subarray(start, end), row);
      text = known ?? ownText;
      if (!known) readText(bytes, start, end, text);
      sketcher.read(bytes, text);
      prompt.lo = sketcher.lo;
      prompt.hi = sketcher.hi;
      found.same = found.alike = found.label = 0;
      if (place()) {
        first.line = line;
        first.rest = restHash(bytes);
        firsts.add(prompt, row, first);
        sets.add();
        return found;
      }
      const id = found.nearId;
      found.same = (id >= 0 && firsts.lineOfRow(id, row)) || rows.first(row.lo, row.hi, line);
      if (found.same || (id < 0 && !sketcher.isEmpty)) return found;
      const rest = restHash(bytes);
      found.alike = (id >= 0 && firsts.lineOfRest(id, rest)) || answers.first(rest ^ near.lo, near.hi, line);
      return found;
    },
    /** Counts the label of the last row, once it is clear that the row is kept. */
    countLabel(bytes: Buffer): void {
      found.label = labels.add(bytes, text);
    },
  };
}
