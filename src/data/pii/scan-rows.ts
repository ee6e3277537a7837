/**
 * Looks through the rows of a version for personal data, and writes what it finds, masked: a line for each row with
 * findings. Runs in a worker.
 */
import { mkdirSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { INDEX_EVERY, writeIndex } from "../storage/index-file.ts";
import { mergedRows } from "../storage/merged-rows.ts";
import { findPii } from "./detectors.ts";
import type { Finding, PiiKind } from "./kinds.ts";
import { masked } from "./mask.ts";
import { openPresidio, type PresidioOptions, together } from "./presidio.ts";
import { textsAt } from "./row-texts.ts";

/** File of the findings in the folder of a version, and the index of its rows. */
export const FINDINGS_FILE = "personal-data.jsonl";
export const FINDINGS_INDEX = "personal-data.idx";

export interface PiiTask {
  /** Folder of a ready version. */
  dir: string;
  /** The second engine; null = the built-in detectors alone. */
  presidio: PresidioOptions | null;
}

/** A finding in a row; `value` is masked. */
export interface RowFinding extends Finding {
  path: string;
  value: string;
}

/** A line of the file of findings. */
export interface FoundRow {
  id: number;
  findings: RowFinding[];
}

export interface PiiOutcome {
  rows: number;
  rowsFound: number;
  /** Findings by kind. */
  counts: Partial<Record<PiiKind, number>>;
}

/** Rows that go to the second engine together. */
const BATCH = 64;

interface Row {
  id: number;
  texts: [path: string, text: string][];
}

/** @param progress called with the rows read so far */
export async function scanRows(task: PiiTask, progress: (rows: number) => void): Promise<PiiOutcome> {
  const path = join(task.dir, FINDINGS_FILE);
  const part = `${path}.part`;
  mkdirSync(dirname(part), { recursive: true });
  const writer = Bun.file(part).writer({ highWaterMark: 1 << 20 });
  const presidio = task.presidio ? openPresidio(task.presidio) : null;
  const outcome: PiiOutcome = { rows: 0, rowsFound: 0, counts: {} };
  const index: number[] = [];
  let offset = 0;

  async function write(rows: Row[]) {
    const others = presidio ? await presidio.find(rows.flatMap(({ texts }) => texts.map(([, text]) => text))) : [];
    let at = 0;
    for (const { id, texts } of rows) {
      const findings = texts.flatMap(([place, text]) =>
        together(findPii(text), others[at++] ?? []).map(
          (one): RowFinding => ({ ...one, path: place, value: masked(one.kind, text.slice(one.start, one.end)) }),
        ),
      );
      if (findings.length === 0) continue;
      for (const { kind } of findings) outcome.counts[kind] = (outcome.counts[kind] ?? 0) + 1;
      if (outcome.rowsFound++ % INDEX_EVERY === 0) index.push(id, offset);
      const line = Buffer.from(`${JSON.stringify({ id, findings } satisfies FoundRow)}\n`);
      offset += line.length;
      writer.write(line);
    }
    await writer.flush();
  }

  try {
    let batch: Row[] = [];
    for await (const { id, line } of mergedRows(join(task.dir, "train.jsonl"), join(task.dir, "holdout.jsonl"))) {
      const { id: _id, ...row } = JSON.parse(line.toString("utf8")) as { id: number };
      batch.push({ id, texts: [...textsAt(row)] });
      outcome.rows++;
      if (batch.length < BATCH) continue;
      await write(batch);
      batch = [];
      progress(outcome.rows);
    }
    await write(batch);
  } finally {
    await writer.end();
    presidio?.close();
  }
  writeIndex(join(task.dir, FINDINGS_INDEX), index);
  renameSync(part, path);
  return outcome;
}
