/** Finds validation rows whose prompt is the prompt of a training row, or nearly the same. Runs in a worker. */
import { closeSync, openSync, readSync } from "node:fs";
import { createNearIndex } from "../rows/near.ts";
import type { Overlap } from "../rows/report.ts";
import { createRowReader, createRowText, PART } from "../rows/row-text.ts";
import { sampleOf } from "../rows/sample.ts";
import { createSketcher } from "../rows/sketch.ts";
import { scanLines } from "../scan/lines.ts";

export interface OverlapTask {
  /** Paths of the canonical rows of each side. */
  train: string[];
  validation: string[];
}

const CHUNK = 1 << 20;
const MAX_LINE = 1 << 30;
const MAX_PAIRS = 200;
const ID = '{"id":'.length;
const COMMA = 44;

/** Calls `use` with the bytes of each stored row until it returns false. */
function eachStored(path: string, use: (bytes: Buffer, start: number, end: number, id: number) => boolean): void {
  let more = true;
  const scanner = scanLines(MAX_LINE, {
    record(bytes, start, end) {
      if (!more || start === end) return;
      const id = Number(bytes.toString("latin1", start + ID, bytes.indexOf(COMMA, start)));
      more = use(bytes, start, end, id);
    },
    tooLong() {},
    broken() {},
  });
  const chunk = Buffer.allocUnsafe(CHUNK);
  const file = openSync(path, "r");
  try {
    for (let got = readSync(file, chunk); got > 0 && more; got = readSync(file, chunk))
      scanner.push(chunk.subarray(0, got));
    scanner.end();
  } finally {
    closeSync(file);
  }
}

interface Prompt {
  rows: { id: number; sample: string }[];
  known: boolean;
}

/** Compares both sides, and reports progress after each row. */
export function countOverlap(task: OverlapTask, onProgress: (rows: number) => void): Overlap {
  // The validation side is the small one: its prompts are kept, and training rows are looked up in them.
  const index = createNearIndex();
  const readText = createRowReader();
  const text = createRowText();
  const sketcher = createSketcher();
  const byKey = new Map<string, Prompt>();
  /** The prompts of the index by id, and of each the first training row that is nearly equal. */
  const kept: Prompt[] = [];
  const nearTo = new Map<Prompt, { row: number; similarity: number }>();
  const pairs: Overlap["pairs"] = [];
  let rows = 0;
  let done = 0;
  let unknown = 0;

  const keyOf = (bytes: Buffer, start: number, end: number) => {
    readText(bytes, start, end, text);
    sketcher.read(bytes, text);
    return `${sketcher.hi} ${sketcher.lo}`;
  };
  const note = (prompt: Prompt, trainRow: number, kind: "same" | "near", similarity: number) => {
    for (const { id, sample } of prompt.rows) pairs.push({ row: id, train_row: trainRow, kind, similarity, sample });
  };

  for (const path of task.validation)
    eachStored(path, (bytes, start, end, id) => {
      rows++;
      onProgress(++done);
      const key = keyOf(bytes, start, end);
      const first = text.part.subarray(0, text.count).indexOf(PART.prompt);
      const [from = start, to = end] = first < 0 ? [] : [text.from[first], text.to[first]];
      const row = { id, sample: sampleOf(bytes.toString("utf8", from, Math.min(to, from + 400))) };
      const same = byKey.get(key);
      if (same) {
        same.rows.push(row);
        return true;
      }
      const prompt: Prompt = { rows: [row], known: false };
      byKey.set(key, prompt);
      unknown++;
      if (sketcher.isEmpty) return true;
      index.find(sketcher.places, () => {});
      if (index.keep(sketcher.places) >= 0) kept.push(prompt);
      return true;
    });

  for (const path of task.train)
    eachStored(path, (bytes, start, end, id) => {
      onProgress(++done);
      const same = byKey.get(keyOf(bytes, start, end));
      if (same && !same.known) {
        same.known = true;
        unknown--;
        note(same, id, "same", 1);
      }
      if (!sketcher.isEmpty)
        index.find(sketcher.places, (at, similarity) => {
          const prompt = kept[at];
          if (!prompt || prompt.known) return;
          if ((nearTo.get(prompt)?.similarity ?? 0) < similarity) nearTo.set(prompt, { row: id, similarity });
        });
      return unknown > 0;
    });

  const known = pairs.length;
  let near = 0;
  for (const [prompt, { row, similarity }] of nearTo)
    if (!prompt.known) {
      near += prompt.rows.length;
      note(prompt, row, "near", Math.round(similarity * 100) / 100);
    }
  pairs.sort((a, b) => a.row - b.row);
  return { rows, known, near, pairs: pairs.slice(0, MAX_PAIRS) };
}
