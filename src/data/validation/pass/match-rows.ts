/** Looks for the matches of rules in all rows of a version. Runs in a worker. */
import { closeSync, openSync, readSync } from "node:fs";
import { type Excerpt, excerptOf } from "../../matching/excerpt.ts";
import { createMatcher, type MatchRule } from "../../matching/matcher.ts";
import { isPair, isText, type Message, type NumberedRow } from "../rows/types.ts";
import { scanLines } from "../scan/lines.ts";

export interface MatchTask {
  files: { split: string; path: string }[];
  rules: MatchRule[];
  /** Matches of each rule that are kept; all are counted. */
  keep: number;
}

/** One match in a row. */
interface RowMatch {
  rule: string;
  score: number;
  split: string;
  row: number;
  /** The part of the row: `messages.1`, `chosen.0`, `text`, `item`. */
  part: string;
  excerpt: Excerpt;
}
export interface Matched {
  rows: number;
  /** Rows with a match of any rule. */
  flagged: number;
  /** Rows with a match, by rule. */
  counts: Record<string, number>;
  matches: RowMatch[];
}

const CHUNK = 1 << 18;
const MAX_LINE = 1 << 30;

function* turnsOf(name: string, turns: readonly Message[]): Generator<[string, string]> {
  for (const [n, turn] of turns.entries()) {
    yield [`${name}.${n}`, turn.content];
    if (turn.reasoning_content) yield [`${name}.${n}.reasoning_content`, turn.reasoning_content];
    for (const call of turn.tool_calls ?? []) yield [`${name}.${n}.tool_calls`, JSON.stringify(call.function)];
  }
}

/** Every text of a row with the name of its part. */
export function* partsOf(row: NumberedRow): Generator<[string, string]> {
  if (isText(row)) {
    yield ["text", row.text];
    return;
  }
  yield* turnsOf("messages", row.messages);
  if (isPair(row)) {
    yield* turnsOf("chosen", row.chosen);
    yield* turnsOf("rejected", row.rejected);
  }
  if ("item" in row) yield ["item", JSON.stringify(row.item)];
}

/** Reads every row once, and reports progress after each. */
export function matchRows(task: MatchTask, onProgress: (rows: number) => void): Matched {
  const matcher = createMatcher(task.rules);
  const found: Matched = { rows: 0, flagged: 0, counts: {}, matches: [] };
  const look = (split: string, row: NumberedRow) => {
    const rules = new Set<string>();
    for (const [part, text] of partsOf(row))
      for (const match of matcher(text)) {
        if (rules.has(match.rule)) continue;
        rules.add(match.rule);
        const count = (found.counts[match.rule] ?? 0) + 1;
        found.counts[match.rule] = count;
        if (count > task.keep) continue;
        const { rule, score } = match;
        found.matches.push({ rule, score, split, row: row.id, part, excerpt: excerptOf(text, match) });
      }
    if (rules.size > 0) found.flagged++;
    onProgress(++found.rows);
  };
  for (const { split, path } of task.files) {
    const scanner = scanLines(MAX_LINE, {
      record(bytes, start, end) {
        if (start < end) look(split, JSON.parse(bytes.toString("utf8", start, end)) as NumberedRow);
      },
      tooLong() {},
      broken() {},
    });
    const chunk = Buffer.allocUnsafe(CHUNK);
    const file = openSync(path, "r");
    try {
      for (let got = readSync(file, chunk); got > 0; got = readSync(file, chunk)) scanner.push(chunk.subarray(0, got));
      scanner.end();
    } finally {
      closeSync(file);
    }
  }
  return found;
}
