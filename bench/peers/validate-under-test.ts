/**
 * Validates one file in this process and prints time and memory: `FILE OUT_DIR`, for
 * bench/dataset-validation.ts.
 */
import { validateAny } from "../../src/data/validation/pass/validate.ts";
import { rssMb } from "../support.ts";

const [source = "", outDir = ""] = process.argv.slice(2);
const began = performance.now();
const before = process.cpuUsage();
const outcome = await validateAny({
  source,
  filename: source,
  outDir,
  mapping: null,
  seed: 42,
  holdoutFraction: 0.1,
  skipBad: false,
  removeDuplicates: null,
  maxLineBytes: 16 * 1024 ** 2,
  diskReserve: 0,
});
const cpu = process.cpuUsage(before);
console.log(
  JSON.stringify({
    status: outcome.status,
    rows: outcome.report.rows,
    textBytes: outcome.report.source?.unpacked_bytes ?? null,
    ms: performance.now() - began,
    cpuMs: (cpu.user + cpu.system) / 1000,
    peakMb: rssMb(process.pid, true),
  }),
);
