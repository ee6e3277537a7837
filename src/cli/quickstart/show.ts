/** Output of quickstart: the table of both models, and long texts on a terminal. */
import type { Evaluation, Side } from "./steps.ts";

const percent = (value: number) => `${(value * 100).toFixed(1)}%`;

/** The numbers of one model, for the JSON output. */
export function sideScore(side: Side | null) {
  return (
    side && {
      rows: side.rows,
      exact_match: side.exact_match.mean,
      loss: side.loss.mean,
      perplexity: side.perplexity,
      token_accuracy: side.token_accuracy.mean,
    }
  );
}

/** Base and fine-tuned model side by side, and the verdict as text. */
export function scoreTable({ result, comparison }: Evaluation): string {
  const base = result?.base;
  const tuned = result?.tuned;
  if (!base || !tuned) return "  no scores";
  const interval = ({ exact_match: { mean, low, high } }: Side) =>
    `${percent(mean)} (${percent(low)} to ${percent(high)})`;
  const rows = [
    ["", "base", "tuned"],
    ["exact match", interval(base), interval(tuned)],
    ["loss", base.loss.mean.toFixed(3), tuned.loss.mean.toFixed(3)],
    ["perplexity", base.perplexity.toPrecision(3), tuned.perplexity.toPrecision(3)],
    ["token accuracy", percent(base.token_accuracy.mean), percent(tuned.token_accuracy.mean)],
    ["rows", String(base.rows), String(tuned.rows)],
  ];
  const width = (column: number) => Math.max(...rows.map((row) => row[column]?.length ?? 0));
  const lines = rows.map((row) => `  ${row.map((cell, at) => cell.padEnd(width(at))).join("   ")}`.trimEnd());
  return [...lines, ...(comparison ? [`  ${comparison.sentence}`] : [])].join("\n");
}

/** A text on one line, truncated when it is long. */
export function wrapped(text: string, most = 160): string {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > most ? `${line.slice(0, most - 1)}…` : line;
}
