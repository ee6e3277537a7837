/**
 * Shapes of rows that people bring: one line of test/cases/shapes/ for each, with the rows that must be stored, or the
 * mapping that must be proposed.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Mapping } from "../../src/data/validation/mapping/model.ts";
import { validateFile } from "../../src/data/validation/pass/validate.ts";

interface Case {
  name: string;
  /** The rows of a JSONL file, or the text of another file. */
  file: unknown[] | string;
  filename?: string;
  mapping?: Mapping;
  /** The stored rows without their ids. */
  rows?: unknown[];
  type?: string;
  /** The proposed mapping of a file that is asked about. */
  ask?: Mapping;
  status?: "failed";
  /** Codes of problems that must be there; an empty list means none at all. */
  problems?: string[];
  /** Fields that are reported as left out. */
  ignored?: string[];
  /** Text in the error, or in the message, sample or detail of a problem. */
  says?: string;
}

const CASES = join(import.meta.dir, "../cases/shapes");
const dir = mkdtempSync(join(tmpdir(), "shape-cases-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const casesOf = (name: string) =>
  readFileSync(join(CASES, name), "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Case);

function read({ file, filename = "rows.jsonl", mapping }: Case) {
  const source = join(dir, filename);
  const outDir = join(dir, "out");
  writeFileSync(source, typeof file === "string" ? file : `${file.map((row) => JSON.stringify(row)).join("\n")}\n`);
  const outcome = validateFile({
    source,
    filename,
    outDir,
    mapping: mapping ?? null,
    seed: 42,
    holdoutFraction: 0,
    skipBad: false,
    removeDuplicates: null,
    maxLineBytes: 1 << 20,
    diskReserve: 0,
  });
  const text = outcome.status === "ready" ? readFileSync(join(outDir, "train.jsonl"), "utf8") : "";
  const rows = text.split("\n").filter(Boolean);
  return { ...outcome, rows: rows.map((line) => ({ ...(JSON.parse(line) as object), id: undefined })) };
}

describe.each(readdirSync(CASES))("%s", (name) => {
  test.each(casesOf(name))("$name", (each) => {
    const { status, error, report, rows } = read(each);
    const { problems } = report;
    expect({ status, error }).toEqual({
      status: each.ask ? "needs_mapping" : (each.status ?? "ready"),
      error: status === "ready" ? null : expect.any(String),
    });
    if (each.rows) expect(rows).toEqual(each.rows.map((row) => ({ ...(row as object), id: undefined })));
    if (each.type) expect(report.row_type).toBe(each.type as typeof report.row_type);
    if (each.ask) expect(report.mapping?.proposed).toEqual(each.ask);
    const codes = problems.map(({ code }) => code).filter((code) => code !== "few_rows" && code !== "duplicate");
    if (each.problems?.length === 0) expect(codes).toEqual([]);
    expect(codes).toEqual(expect.arrayContaining(each.problems ?? []));
    if (each.rows) expect(Object.keys(report.ignored_fields).sort()).toEqual((each.ignored ?? []).sort());
    const said = [error, ...problems.flatMap(({ message, samples }) => [message, JSON.stringify(samples)])].join("\n");
    if (each.says) expect(said).toContain(each.says.replaceAll('"', status === "ready" ? '\\"' : '"'));
  });
});
