/** The file of a new version: the rows of a version without those with findings, or with the values masked. */
import { join } from "node:path";
import { parseExact, writeExact } from "../../lib/text/exact-json.ts";
import { markOf, type PiiKind } from "../pii/kinds.ts";
import { replaceTexts } from "../pii/row-texts.ts";
import { FINDINGS_FILE, type FoundRow, type RowFinding } from "../pii/scan-rows.ts";
import { linesIn, mergedRows, withoutId } from "../storage/merged-rows.ts";

interface Quarantine {
  how: "leave_out" | "mask";
  /** Only these kinds; null = all. */
  kinds: ReadonlySet<PiiKind> | null;
  /** `mark` writes `[EMAIL]`, `partial` keeps a little of the value: `j***@e***.com`. */
  style: "mark" | "partial";
}

/** A text with its findings replaced. */
function masked(text: string, findings: RowFinding[], style: Quarantine["style"]): string {
  let out = "";
  let at = 0;
  for (const { start, end, kind, value } of findings) {
    out += text.slice(at, start) + (style === "mark" ? markOf(kind) : value);
    at = end;
  }
  return out + text.slice(at);
}

function maskedRow(line: Buffer, findings: RowFinding[], style: Quarantine["style"]): Buffer {
  const byPath = Map.groupBy(findings, ({ path }) => path);
  const row = parseExact(line.toString("utf8"));
  replaceTexts(row, (path, text) => {
    const here = byPath.get(path);
    return here ? masked(text, here, style) : text;
  });
  return Buffer.from(writeExact(row));
}

const LINE_BREAK = Buffer.from("\n");

/** The rows of a version in their order. @param dir its folder, with the file of findings */
export async function* quarantined(dir: string, { how, kinds, style }: Quarantine): AsyncGenerator<Uint8Array> {
  const found = linesIn(join(dir, FINDINGS_FILE));
  try {
    let next = await found.next();
    for await (const { id, line } of mergedRows(join(dir, "train.jsonl"), join(dir, "holdout.jsonl"))) {
      let row = line;
      if (!next.done && next.value.id === id) {
        const { findings } = JSON.parse(next.value.line.toString("utf8")) as FoundRow;
        next = await found.next();
        const chosen = findings.filter(({ kind }) => !kinds || kinds.has(kind));
        if (chosen.length > 0) {
          if (how === "leave_out") continue;
          row = maskedRow(line, chosen, style);
        }
      }
      yield withoutId(row);
      yield LINE_BREAK;
    }
  } finally {
    await found.return(undefined);
  }
}

/** The rows of a version in their order, without those of these ids. */
export async function* rowsWithout(dir: string, ids: ReadonlySet<number>): AsyncGenerator<Uint8Array> {
  for await (const { id, line } of mergedRows(join(dir, "train.jsonl"), join(dir, "holdout.jsonl"))) {
    if (ids.has(id)) continue;
    yield withoutId(line);
    yield LINE_BREAK;
  }
}
