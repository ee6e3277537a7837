/** Counts validation rows whose prompt is also the prompt of a training row. Runs in a worker. */
import { isPair, isText, type Row } from "../rows/types.ts";
import { eachRow } from "../scan/each-row.ts";
import { hashRow } from "./row-writer.ts";

export interface OverlapTask {
  /** Paths of the canonical rows of each side. */
  train: string[];
  validation: string[];
}

/** `rows`: all validation rows. `known`: those whose prompt a training row has too. */
export interface Overlap {
  rows: number;
  known: number;
}

/** What the model answers in a row: everything before the last assistant turn, or the whole text. */
function promptOf(row: Row): string {
  if (isText(row)) return row.text;
  const { messages } = row;
  const last = isPair(row) ? -1 : messages.findLastIndex((turn) => turn.role === "assistant");
  const prompt = last < 0 ? messages : messages.slice(0, last);
  return JSON.stringify(prompt.map(({ role, content, tool_calls: calls }) => [role, content.trim(), calls]));
}

/** Counts the overlap, and reports progress after each row. */
export function countOverlap(task: OverlapTask, onProgress: (rows: number) => void): Overlap {
  let done = 0;
  // The validation side is the small one: its prompts are kept, and training rows are looked up in them.
  const rowsOf = new Map<string, number>();
  const keyOf = (row: Row) => {
    const { lo, hi } = hashRow(Buffer.from(promptOf(row)));
    return `${hi} ${lo}`;
  };
  let rows = 0;
  for (const path of task.validation)
    eachRow(path, (row) => {
      rows++;
      const key = keyOf(row);
      rowsOf.set(key, (rowsOf.get(key) ?? 0) + 1);
      onProgress(++done);
      return true;
    });
  let known = 0;
  for (const path of task.train)
    eachRow(path, (row) => {
      const key = keyOf(row);
      known += rowsOf.get(key) ?? 0;
      rowsOf.delete(key);
      onProgress(++done);
      return rowsOf.size > 0;
    });
  return { rows, known };
}
