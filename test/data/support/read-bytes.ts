/** Reads bytes as an uploaded file in this process, for tests of containers. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Reading } from "../../../src/data/validation/containers/source.ts";
import { validateAny } from "../../../src/data/validation/pass/validate.ts";

const folder = mkdtempSync(join(tmpdir(), "ftl-containers-"));
/** Removes the folder at the end of a test file; `read` creates it again for the next one. */
export const removeFolder = () => rmSync(folder, { recursive: true, force: true });

export const cases = join(import.meta.dir, "../../cases/containers");
export const fixture = (name: string) => readFileSync(join(cases, name));
export const pair = (n: number) => ({ prompt: `Ping ${n}`, completion: `Pong ${n}` });
export const pairs = Array.from({ length: 12 }, (_, n) => pair(n));
export const jsonl = pairs.map((row) => `${JSON.stringify(row)}\n`).join("");
/** Validates bytes under a name in this process, and returns the first row that was stored. */
export async function read(
  content: string | Uint8Array,
  filename: string,
  reading: Partial<Reading> = {},
  maxUnpackedBytes = 1e9,
) {
  const source = join(folder, "upload");
  const outDir = join(folder, "rows.part");
  mkdirSync(folder, { recursive: true });
  writeFileSync(source, content);
  const outcome = await validateAny({
    source,
    filename,
    outDir,
    mapping: null,
    seed: 1,
    holdoutFraction: 0,
    skipBad: false,
    removeDuplicates: null,
    reading: { encoding: null, part: null, repairText: false, ...reading },
    maxUnpackedBytes,
    maxLineBytes: 1 << 20,
    diskReserve: 0,
  });
  const rows =
    outcome.status === "ready"
      ? readFileSync(join(outDir, "train.jsonl"), "utf8")
          .trim()
          .split("\n")
          .map((line) => JSON.parse(line))
      : [];
  return { ...outcome, rows, codes: outcome.report.problems.map((problem) => problem.code) };
}
