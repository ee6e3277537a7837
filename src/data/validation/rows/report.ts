/**
 * The validation report and the token statistics of a dataset version: the worker creates them, the database stores
 * them, the API and the pages show them. The worker imports only the types.
 */
import * as v from "valibot";
import { Mapping } from "../mapping/model.ts";

const RowTypes = v.picklist(["chat", "preference", "unpaired", "text", "prompt"]);
const count = v.number();
const counts = v.record(v.string(), count);

const Severity = v.picklist(["error", "warning", "info"]);
export type Severity = v.InferOutput<typeof Severity>;

/** All occurrences of one kind of problem: the exact number of rows that have it, and the first ten samples. */
const Problem = v.strictObject({
  code: v.string(),
  severity: Severity,
  message: v.string(),
  advice: v.string(),
  count,
  samples: v.array(
    v.strictObject({
      /** In the uploaded file, from 1; 0 for the file as a whole. */
      line: v.number(),
      /** The field, such as `messages[2].role`. */
      path: v.string(),
      /** At most 160 characters of the value found there. */
      sample: v.string(),
      detail: v.string(),
    }),
  ),
});
export type Problem = v.InferOutput<typeof Problem>;

/** One bar of a histogram: `from` is inclusive, `to` exclusive. */
const Bucket = v.strictObject({ from: v.number(), to: v.number(), count });
export type Bucket = v.InferOutput<typeof Bucket>;

/** Minimum, mean, percentiles and histogram of one number per row. Percentiles are within 10% of the exact value. */
const Spread = v.strictObject({
  total: v.number(),
  min: v.number(),
  max: v.number(),
  mean: v.number(),
  p50: v.number(),
  p95: v.number(),
  histogram: v.array(Bucket),
});
export type Spread = v.InferOutput<typeof Spread>;

/** The columns of a CSV file, a proposed mapping, and the first rows as a preview. */
const CsvPreview = v.strictObject({
  columns: v.array(v.string()),
  delimiter: v.string(),
  proposed: v.record(v.string(), v.string()),
  first_rows: v.array(v.array(v.string())),
});
export type CsvPreview = v.InferOutput<typeof CsvPreview>;

/** A field of the first rows, for the mapping dialog. */
const ColumnView = v.strictObject({
  name: v.string(),
  kind: v.picklist(["text", "number", "boolean", "turns", "list", "object", "empty"]),
  filled: v.number(),
  length: v.number(),
  values: v.nullable(v.array(v.string())),
  samples: v.array(v.string()),
});

/** How the rows were read: the mapping in use, the proposed one with the reason to ask, and the fields it is about. */
export const Reading = v.strictObject({
  used: v.nullable(Mapping),
  proposed: v.nullable(Mapping),
  reason: v.string(),
  columns: v.array(ColumnView),
  /** The first rows, shortened. */
  rows: v.array(v.record(v.string(), v.unknown())),
});
export type Reading = v.InferOutput<typeof Reading>;

/** The result of one validation. Its size is bounded: a fixed number of problem codes with ten samples each. */
export const Report = v.strictObject({
  format: v.nullable(v.string()),
  row_type: RowTypes,
  container: v.nullable(
    v.picklist([
      "jsonl",
      "json_array",
      "json_sequence",
      "json_object",
      "json_columns",
      "csv",
      "text",
      "parquet",
      "arrow",
      "xlsx",
    ]),
  ),
  /** How the uploaded file was opened; absent in reports of earlier releases. */
  source: v.optional(
    v.strictObject({
      /** How it was packed, from the outside in. */
      compression: v.array(v.picklist(["gzip", "zstd", "xz", "zip"])),
      /** Bytes of its text after unpacking and conversion; null when it was read as it is. */
      unpacked_bytes: v.nullable(v.number()),
      /** The file of an archive, the sheet of a workbook or the list of a JSON object that was read. */
      part: v.nullable(v.string()),
      /** Parts that were not read (the first 100). */
      other_parts: v.array(v.string()),
    }),
  ),
  bytes: v.number(),
  rows: count,
  bad_rows: count,
  blank_lines: count,
  /** Bad rows were left out, as requested. */
  bad_rows_left_out: v.boolean(),
  encoding: v.strictObject({
    bom: v.boolean(),
    line_endings: v.picklist(["lf", "crlf", "mixed", "cr"]),
    /** The encoding that the text was converted from. */
    converted_from: v.optional(v.string()),
    /** A conversion that a new version can accept (`encoding`), with a line of the file as it would read. */
    proposed: v.optional(v.strictObject({ encoding: v.string(), sample: v.string() })),
    /** A repair that a new version can accept (`repair_text`), with a place of the file before and after it. */
    repair: v.optional(v.strictObject({ found: v.string(), meant: v.string() })),
  }),
  roles: counts,
  /** Turns per row. A preference row counts its prompt with the longer answer; plain text has no turns. */
  turns: Spread,
  characters: Spread,
  rows_with_tools: count,
  tool_calls: count,
  /** Assistant turns with weight 0. */
  untrained_turns: count,
  /** Rows labeled good and bad; absent when rows have no labels. */
  labels: v.optional(v.strictObject({ good: count, bad: count })),
  /** Rows of each label, the most frequent first: of labeled data, or of short answers from a small set. */
  label_counts: v.optional(v.array(v.strictObject({ label: v.string(), rows: count }))),
  /**
   * Rows equal to an earlier one, and rows with the same answer to nearly the same prompt; `complete` is false when the
   * file has more distinct rows than can be compared. Reports of earlier versions of this program have no near ones.
   */
  duplicates: v.strictObject({
    rows: count,
    near: v.optional(count),
    /** Duplicates that were left out, as requested. */
    removed: v.optional(count),
    /** The first 100 duplicates, each with the line of the row it repeats. */
    pairs: v.optional(
      v.array(v.strictObject({ line: v.number(), first_line: v.number(), kind: v.picklist(["exact", "near"]) })),
    ),
    complete: v.boolean(),
  }),
  /** Unknown fields that were ignored, each with the number of rows that have it (the first 20 names). */
  ignored_fields: counts,
  split: v.strictObject({
    seed: v.number(),
    holdout_fraction: v.number(),
    train_rows: count,
    holdout_rows: count,
    /**
     * What stays in one split: rows with nearly the same prompt, with the same prompt, or only equal rows. Absent for
     * splits of earlier versions of this program, which kept equal rows together.
     */
    by: v.optional(v.picklist(["near_prompt", "prompt", "row"])),
  }),
  problems: v.array(Problem),
  csv: v.nullable(CsvPreview),
  /** Absent in reports of earlier versions, and null when no row could be read. */
  mapping: v.optional(v.nullable(Reading)),
  /** Duration of the pass in milliseconds. */
  took_ms: v.number(),
});
export type Report = v.InferOutput<typeof Report>;

/** Validation rows whose prompt is also the prompt of a training row, or nearly the same. */
export const Overlap = v.strictObject({
  /** All validation rows. */
  rows: count,
  /** Those whose prompt a training row has too. */
  known: count,
  /** Of the others, those whose prompt is nearly the same as that of a training row. */
  near: count,
  /** The first 200 of them, in the order of the validation rows. */
  pairs: v.array(
    v.strictObject({
      /** Ids of the validation row, and of the first or the nearest training row. */
      row: v.number(),
      train_row: v.number(),
      kind: v.picklist(["same", "near"]),
      /** Estimated share of equal groups of three words, 0 to 1. */
      similarity: v.number(),
      /** The beginning of the validation row's prompt. */
      sample: v.string(),
    }),
  ),
});
export type Overlap = v.InferOutput<typeof Overlap>;

/** What a base model's template or tokenizer does to rows: the number of rows, and the first 20 of them. */
export const Finding = v.strictObject({
  code: v.string(),
  severity: Severity,
  message: v.string(),
  advice: v.string(),
  count,
  samples: v.array(
    v.strictObject({
      /** Id of the row. */
      row: v.number(),
      path: v.string(),
      sample: v.string(),
      detail: v.string(),
    }),
  ),
});
export type Finding = v.InferOutput<typeof Finding>;

/**
 * Token counts of a version with one base model's tokenizer and chat template. `tokens` counts every token the model
 * reads: for a preference row, the prompt twice, once with each answer. All other numbers are row lengths; the length
 * of a preference row is the prompt with the longer answer.
 */
export const TokenStats = v.strictObject({
  /** False for an estimate from the first rows, scaled to all rows. */
  exact: v.boolean(),
  /** Rows the numbers cover, and rows that were actually counted. */
  rows: count,
  counted_rows: count,
  tokens: v.number(),
  /**
   * The sequences that all rows are trained as when answers alone are in the loss, and their tokens. A template that
   * renders earlier turns differently makes several of one conversation.
   */
  sequences: v.strictObject({ count, tokens: v.number() }),
  max: v.number(),
  mean: v.number(),
  p50: v.number(),
  p95: v.number(),
  histogram: v.array(Bucket),
  /** For each max sequence length, the number of rows that would be truncated. */
  over: counts,
  /** Rows that the chat template rejected, with the first reason. */
  failed_rows: count,
  failure: v.nullable(v.string()),
  /** Of those, the rows that the template itself refused with a reason. */
  refused_rows: count,
  /** Tokens of the shortest training or validation row. */
  min: v.number(),
  /**
   * Where answers begin. `first`: the smallest max sequence length that keeps a token of any answer of training and
   * validation rows; null without answers. `lost`: for each max sequence length, the training rows that keep none.
   */
  answers: v.strictObject({ first: v.nullable(v.number()), lost: counts }),
  /** Of training and validation rows; an estimate covers training rows only. */
  findings: v.array(Finding),
});
export type TokenStats = v.InferOutput<typeof TokenStats>;
