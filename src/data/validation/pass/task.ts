/** The input and the result of a validation. */

import type { Reading } from "../containers/source.ts";
import type { Mapping } from "../mapping/model.ts";
import type { Report } from "../rows/report.ts";

export interface ValidateTask {
  /** Path of the uploaded file. */
  source: string;
  /** Original name of the file; its extension is a hint. */
  filename: string;
  /** Directory for the canonical rows. It is created, and deleted again when the version does not become ready. */
  outDir: string;
  mapping: Mapping | null;
  seed: number;
  /** Fraction of rows in the validation split, 0 to 0.5. */
  holdoutFraction: number;
  /** Leave bad rows out, so that they do not fail the validation: unless most rows are bad, or `any` number of them. */
  skipBad: boolean | "any";
  /** Leave duplicates of earlier rows out: equal rows, or also rows with the same answer to nearly the same prompt. */
  removeDuplicates: "exact" | "near" | null;
  /** How the file is read; absent = as its first bytes say. */
  reading?: Reading;
  /** Most bytes that a packed file or a table may have when it is unpacked. */
  maxUnpackedBytes?: number;
  /** Path of a file for the faulty rows with their problems, as JSONL; absent when they are only counted. */
  faults?: string;
  maxLineBytes: number;
  /** Bytes that must stay free on the disk; otherwise the validation fails with the code `disk_full`. */
  diskReserve: number;
}

export interface ValidateOutcome {
  status: "ready" | "failed" | "needs_mapping";
  /** SHA-256 of the canonical rows and the split settings; null unless ready. */
  hash: string | null;
  /** The reason for a failure, in one or a few sentences with line numbers. */
  error: string | null;
  report: Report;
}
