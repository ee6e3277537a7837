/**
 * One row of the fault table as a test: it runs, it is checked, and it is written down for the table that `bun run
 * faults` prints.
 */
import { test } from "bun:test";
import { appendFileSync } from "node:fs";
import type { Watched } from "./bench.ts";
import { checkInvariants } from "./invariants.ts";

/** True in the long form (`bun run faults --full`). */
export const FULL = process.env.FTL_FAULTS_FULL === "1";

/** One line of the report. */
export interface RowReport {
  row: string;
  provider: string;
  fault: string;
  expected: string;
  times: number;
  seen: string;
  ok: boolean;
  seconds: number;
}

export interface Row {
  /** Number in the fault table, with a letter when the row has several forms: `3b`. */
  row: string;
  fault: string;
  expected: string;
  provider?: string;
  timeoutMs?: number;
  /** Why this row cannot run here; it is skipped then. */
  skip?: string | null;
}

export interface Outcome {
  /** How often the fault was injected. */
  times: number;
  /** What was seen, in words: figures that were measured, not what was hoped for. */
  seen: string;
}

function report(line: RowReport): void {
  const path = process.env.FTL_FAULTS_REPORT;
  if (path) appendFileSync(path, `${JSON.stringify(line)}\n`);
}

/**
 * A test of one row. `inject` does the fault, checks what is special about it, and says what it saw; afterwards the
 * invariants are checked on what `watched` gives (null: this row has checked them itself, elsewhere).
 */
export function row(about: Row, watched: () => Watched | null, inject: () => Promise<Outcome>): void {
  const { skip = null, timeoutMs = 120_000 } = about;
  const name = `${about.row}: ${about.fault} -> ${about.expected}${skip ? ` (skipped: ${skip})` : ""}`;
  const base = { row: about.row, provider: about.provider ?? "process", fault: about.fault, expected: about.expected };
  if (skip) {
    test.skip(name, () => {});
    report({ ...base, times: 0, seen: `not run: ${skip}`, ok: true, seconds: 0 });
    return;
  }
  test(
    name,
    async () => {
      const from = performance.now();
      const seconds = () => Math.round((performance.now() - from) / 100) / 10;
      try {
        const outcome = await inject();
        const target = watched();
        if (target) await checkInvariants(target);
        report({ ...base, ...outcome, ok: true, seconds: seconds() });
      } catch (error) {
        const seen = error instanceof Error ? error.message : String(error);
        report({ ...base, times: 0, seen, ok: false, seconds: seconds() });
        throw error;
      }
    },
    timeoutMs,
  );
}
