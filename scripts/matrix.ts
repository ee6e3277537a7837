/**
 * `bun run matrix [--write]`: every pair of training options runs on a tiny model, or is refused by the table with a
 * reason; exit code 1 for anything unexpected.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { cover, type Outcome, outcomes, pairKey, pairsOf } from "./matrix-cover.ts";
import { page, table } from "./matrix-page.ts";
import { runAll } from "./matrix-run.ts";

const words = process.argv.slice(2);
const unknown = words.find((word) => word !== "--write" && word !== "--plan");
if (unknown) {
  process.stderr.write(`matrix: ${unknown} is unknown; --write puts the table into docs, --plan runs nothing\n`);
  process.exit(2);
}
const pairs = pairsOf();
const judged = new Map<string, Outcome>(pairs.map((pair) => [pairKey(pair), outcomes(pair)]));
const open = pairs.filter((pair) => judged.get(pairKey(pair))?.kind === "runs");
const runs = cover(open);
const count = (kind: Outcome["kind"]) => [...judged.values()].filter((one) => one.kind === kind).length;
process.stdout.write(
  `${pairs.length} pairs: ${open.length} to run in ${runs.length} trainings, ${count("refused")} refused, ${count("elsewhere")} need GPUs\n`,
);
if (words.includes("--plan")) process.exit(0);

const surprises = await runAll(runs, (done, failed) => {
  if (process.stderr.isTTY) process.stderr.write(`\r${done} of ${runs.length}, ${failed} failed `);
});
process.stdout.write(`${table(judged)}\n`);
for (const { pair, message } of surprises) process.stdout.write(`SURPRISE ${pair}: ${message}\n`);
if (words.includes("--write"))
  writeFileSync(join(import.meta.dir, "../docs/support-matrix.md"), page(judged, runs.length));
process.stdout.write(
  surprises.length ? `${surprises.length} surprises\n` : "every pair was run or refused as the table says\n",
);
process.exit(surprises.length ? 1 : 0);
