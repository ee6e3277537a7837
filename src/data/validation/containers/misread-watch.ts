/** Finds rows whose text was decoded with the wrong code page, without a look at every byte of a large file. */
import type { Problems } from "../rows/problems.ts";
import type { Report } from "../rows/report.ts";
import { maybeMisread, misreadSample } from "./charset.ts";

/** Chunks (MiB) that are all watched; after them, one in this many. */
const WATCHED = 8;
/** Bytes of a row that are looked at. */
const WATCHED_BYTES = 1 << 16;

/** Call `begin` with each chunk, then `look` with each row. */
export function createMisreadWatch(report: Report, problems: Problems) {
  let chunks = 0;
  let suspect = false;
  return {
    begin(chunk: Buffer) {
      suspect = (chunks < WATCHED || chunks % WATCHED === 0) && maybeMisread(chunk);
      chunks++;
    },
    look(bytes: Buffer, from: number, to: number) {
      if (!suspect) return;
      const sample = misreadSample(bytes.toString("utf8", from, Math.min(to, from + WATCHED_BYTES)));
      if (!sample) return;
      report.encoding.repair ??= sample;
      problems.add("mojibake", "", sample.found, `"${sample.found}" should read "${sample.meant}"`);
    },
  };
}
