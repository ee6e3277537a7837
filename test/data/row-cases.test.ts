/**
 * Rows that were read wrongly once, each with the row that must be stored: one line of test/cases/rows/ for each case,
 * with the lines of the file, the stored rows as exact text, and what the report says.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { validateFile } from "../../src/data/validation/pass/validate.ts";

interface Case {
  name: string;
  /** The lines of the uploaded file; a pair is a line and how often it is there. */
  file: (string | [line: string, times: number])[];
  /** The stored rows as text, without their ids; without it, the version does not become ready. */
  rows?: string[];
  /** The row type, when it is not chat. */
  type?: string;
  status?: string;
  /** Counts of problems by code, without `few_rows`. */
  problems?: Record<string, number>;
  /** Text in the messages of the problems. */
  says?: string;
  skip_bad?: boolean | "any";
  filename?: string;
}

const CASES = join(import.meta.dir, "../cases/rows");
const dir = mkdtempSync(join(tmpdir(), "row-cases-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const casesOf = (name: string) =>
  readFileSync(join(CASES, name), "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Case);

function read({ file, filename = "rows.jsonl", skip_bad: skipBad = false }: Case) {
  const source = join(dir, filename);
  const outDir = join(dir, "out");
  const lines = file.flatMap((line) => (typeof line === "string" ? [line] : Array<string>(line[1]).fill(line[0])));
  // Shortcuts are tried for lines between two others.
  const [before, after] = filename.endsWith(".jsonl") ? ["\n", "\n"] : ["", "\n"];
  writeFileSync(source, before + lines.join("\n") + after);
  const { status, error, report } = validateFile({
    source,
    filename,
    outDir,
    mapping: null,
    seed: 42,
    holdoutFraction: 0,
    skipBad,
    removeDuplicates: null,
    maxLineBytes: 1 << 20,
    diskReserve: 0,
  });
  const stored = status === "ready" ? readFileSync(join(outDir, "train.jsonl"), "utf8").trimEnd().split("\n") : [];
  const problems = report.problems.filter(({ code }) => code !== "few_rows");
  return {
    status,
    type: report.row_type,
    rows: stored.map((line) => line.replace(/^\{"id":\d+,/, "{")),
    problems: Object.fromEntries(problems.map(({ code, count }) => [code, count])),
    said: [
      error ?? "",
      ...problems.map(({ message, samples }) => `${message} ${samples[0]?.path} ${samples[0]?.detail}`),
    ].join("\n"),
  };
}

describe.each(readdirSync(CASES).filter((name) => name.endsWith(".jsonl")))("%s", (name) => {
  test.each(casesOf(name))("$name", (given) => {
    const { rows, type = "chat", status = rows ? "ready" : "failed", problems = {}, says = "" } = given;
    const { said, ...found } = read(given);
    expect(found).toEqual({ status, type, rows: rows ?? [], problems } as typeof found);
    expect(said).toContain(says);
  });
});
