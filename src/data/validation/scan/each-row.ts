/** Reads the canonical rows of a file one after the other, without holding the file in memory. */
import { closeSync, openSync, readSync } from "node:fs";
import { parseExact } from "../../../lib/text/exact-json.ts";
import type { NumberedRow } from "../rows/types.ts";
import { scanLines } from "./lines.ts";

const CHUNK = 1 << 20;
const MAX_LINE = 1 << 30;

/** Calls `use` for each row until it returns false. @throws Error of the file system, such as ENOENT */
export function eachRow(path: string, use: (row: NumberedRow) => boolean): void {
  let more = true;
  const scanner = scanLines(MAX_LINE, {
    record(bytes, start, end) {
      if (more && start !== end) more = use(parseExact(bytes.toString("utf8", start, end)) as NumberedRow);
    },
    tooLong() {},
    broken() {},
  });
  const chunk = Buffer.allocUnsafe(CHUNK);
  const file = openSync(path, "r");
  try {
    while (more) {
      const got = readSync(file, chunk);
      if (got === 0) break;
      scanner.push(chunk.subarray(0, got));
    }
    scanner.end();
  } finally {
    closeSync(file);
  }
}
