/**
 * The validation report and the token statistics of a dataset version: the worker creates them, the database stores
 * them, the API and the pages show them.
 */

import type { RowType } from "../../../contract/spec.ts";

export type Severity = "error" | "warning" | "info";

/**
 * One occurrence of a problem. `line` counts from 1 in the uploaded file; `path` is the field, such as
 * `messages[2].role`.
 */
interface ProblemSample {
  line: number;
  path: string;
  /** At most 160 characters of the value found there. */
  sample: string;
  detail: string;
}

/** All occurrences of one kind of problem: the exact count and the first ten samples. */
export interface Problem {
  code: string;
  severity: Severity;
  message: string;
  advice: string;
  count: number;
  samples: ProblemSample[];
}

/** One bar of a histogram: `from` is inclusive, `to` exclusive. */
export interface Bucket {
  from: number;
  to: number;
  count: number;
}

/**
 * Minimum, mean, percentiles and histogram of one number per row. Percentiles are within 10% of the exact value.
 */
export interface Spread {
  total: number;
  min: number;
  max: number;
  mean: number;
  p50: number;
  p95: number;
  histogram: Bucket[];
}

/** The columns of a CSV file, a proposed mapping, and the first rows as a preview. */
export interface CsvPreview {
  columns: string[];
  delimiter: string;
  proposed: Record<string, string>;
  first_rows: string[][];
}

/** The result of one validation. Its size is bounded: a fixed number of problem codes with ten samples each. */
export interface Report {
  format: string | null;
  row_type: RowType;
  container: "jsonl" | "json_array" | "csv" | null;
  bytes: number;
  rows: number;
  bad_rows: number;
  blank_lines: number;
  /** Bad rows were left out, as requested. */
  bad_rows_left_out: boolean;
  encoding: { bom: boolean; line_endings: "lf" | "crlf" | "mixed" };
  roles: Record<string, number>;
  /** Turns per row. A preference row counts its prompt with the longer answer; plain text has no turns. */
  turns: Spread;
  characters: Spread;
  rows_with_tools: number;
  tool_calls: number;
  /** Assistant turns with weight 0. */
  untrained_turns: number;
  /** Rows labeled good and bad; absent when rows have no labels. */
  labels?: { good: number; bad: number };
  /** Rows equal to an earlier one; `complete` is false when the file has more distinct rows than the table holds. */
  duplicates: { rows: number; complete: boolean };
  /** Unknown fields that were ignored, each with the number of rows that have it (the first 20 names). */
  ignored_fields: Record<string, number>;
  split: { seed: number; holdout_fraction: number; train_rows: number; holdout_rows: number };
  problems: Problem[];
  csv: CsvPreview | null;
  /** Wall time of the pass in milliseconds. */
  took_ms: number;
}

/**
 * Token counts of a version with one base model's tokenizer and chat template. `tokens` counts every token the model
 * reads: for a preference row, the prompt twice, once with each answer. All other numbers are row lengths; the length
 * of a preference row is the prompt with the longer answer.
 */
export interface TokenStats {
  /** False for an estimate from the first rows, scaled to all rows. */
  exact: boolean;
  /** Rows the numbers cover, and rows that were actually counted. */
  rows: number;
  counted_rows: number;
  tokens: number;
  max: number;
  mean: number;
  p50: number;
  p95: number;
  histogram: Bucket[];
  /** For each max sequence length, the number of rows that would be truncated. */
  over: Record<string, number>;
  /** Rows that the chat template rejected, with the first reason. */
  failed_rows: number;
  failure: string | null;
}
