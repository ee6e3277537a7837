/**
 * The shape of a validation report and of token statistics: what the worker writes, the database keeps and the pages
 * show.
 */

import type { RowType } from "../../../contract/spec.ts";

export type Severity = "error" | "warning" | "info";

/**
 * One place where a problem was seen. `line` counts from 1 in the uploaded file; `path` is the field, such as
 * `messages[2].role`.
 */
interface ProblemSample {
  line: number;
  path: string;
  /** At most 160 characters of what was found there. */
  sample: string;
  detail: string;
}

/** All occurrences of one kind of problem: the true count and the first few places. */
export interface Problem {
  code: string;
  severity: Severity;
  message: string;
  advice: string;
  count: number;
  samples: ProblemSample[];
}

/** Counts by size: `from` is inclusive, `to` exclusive. */
export interface Bucket {
  from: number;
  to: number;
  count: number;
}

/**
 * Minimum, mean, median and so on of one number a row. Percentiles come from narrow buckets and are within 10% of the
 * true value.
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

/** A proposed or asked-for column mapping of CSV data, with the first cells to look at. */
export interface CsvPreview {
  columns: string[];
  delimiter: string;
  proposed: Record<string, string>;
  first_rows: string[][];
}

/** What one validation found. Bounded: a fixed number of codes, ten samples each. */
export interface Report {
  format: string | null;
  row_type: RowType;
  container: "jsonl" | "json_array" | "csv" | null;
  bytes: number;
  rows: number;
  bad_rows: number;
  blank_lines: number;
  /** Bad rows were left out on request. */
  bad_rows_left_out: boolean;
  encoding: { bom: boolean; line_endings: "lf" | "crlf" | "mixed" };
  roles: Record<string, number>;
  /** Of a preference row: the prompt with the longer of its answers. Plain text has no turns. */
  turns: Spread;
  characters: Spread;
  rows_with_tools: number;
  tool_calls: number;
  /** Assistant turns that carry weight 0. */
  untrained_turns: number;
  /** Rows marked good and bad; absent when rows carry no marks. */
  labels?: { good: number; bad: number };
  /** Rows equal to an earlier one; `complete` is false when the file has more distinct rows than the table holds. */
  duplicates: { rows: number; complete: boolean };
  /** Fields that are not part of the format and were dropped, with how many rows had them (the first 20 names). */
  ignored_fields: Record<string, number>;
  split: { seed: number; holdout_fraction: number; train_rows: number; holdout_rows: number };
  problems: Problem[];
  csv: CsvPreview | null;
  /** Wall time of the pass in milliseconds. */
  took_ms: number;
}

/**
 * Token counts of a version under one base model's own tokenizer and chat template. `tokens` are those the model reads:
 * of a preference row the prompt with either answer. All else is about lengths of rows, and a preference row is as long
 * as the longer of the two.
 */
export interface TokenStats {
  /** False: an estimate from the first rows, scaled up. */
  exact: boolean;
  /** Rows the numbers stand for, and rows really counted. */
  rows: number;
  counted_rows: number;
  tokens: number;
  max: number;
  mean: number;
  p50: number;
  p95: number;
  histogram: Bucket[];
  /** Rows longer than each length: these would be cut. */
  over: Record<string, number>;
  /** Rows the chat template refused, with the first reason. */
  failed_rows: number;
  failure: string | null;
}
