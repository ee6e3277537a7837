/**
 * A script without any checks: splits a file into lines and parses each with JSON.parse. Argument `FILE`, for
 * bench/dataset-validation.ts.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { rssMb } from "../support.ts";

const [source = ""] = process.argv.slice(2);
const began = performance.now();
const before = process.cpuUsage();
const file = openSync(source, "r");
const buffer = Buffer.allocUnsafe(1 << 20);
const decoder = new TextDecoder();
let rest = "";
let rows = 0;
for (let got = readSync(file, buffer); got > 0; got = readSync(file, buffer)) {
  const lines = (rest + decoder.decode(buffer.subarray(0, got), { stream: true })).split("\n");
  rest = lines.pop() ?? "";
  for (const line of lines) if (line && JSON.parse(line)) rows++;
}
closeSync(file);
const cpu = process.cpuUsage(before);
console.log(
  JSON.stringify({
    status: "ready",
    rows,
    ms: performance.now() - began,
    cpuMs: (cpu.user + cpu.system) / 1000,
    peakMb: rssMb(process.pid, true),
  }),
);
