/**
 * `bun run launches [--count N] [--seed N]`: launches at fake clouds with random faults, and prints what became of the
 * machines. Exit code 1 when a machine is left over or a launch keeps two.
 */
import { parseArgs } from "node:util";
import { FAULTS, type Fault } from "../test/support/fake-cloud/faults.ts";
import { type LaunchFigures, launchMany } from "../test/support/fake-cloud/launches.ts";
import { VENDORS } from "../test/support/fake-cloud/vendors.ts";
import { giveUp, say } from "./setup.ts";

const HELP = `bun run launches [--count N] [--seed N]

Launches at the fakes of RunPod and Lambda through the bundled providers, on a virtual clock, while requests and machines
have random faults and the server restarts. Prints launches, machines, requests, faults, doubles, orphans and cost.
  --count N  launches, shared between the vendors (default 10000)
  --seed N   which faults happen (default 1)
Exit code 1 when a machine is left over at the end or a launch keeps two machines.`;

/** A name and its value at each vendor. */
type Line = [name: string, value: (of: LaunchFigures) => string];

const LINES: Line[] = [
  ["launches", ({ launches }) => String(launches)],
  ["launched", ({ launched }) => String(launched)],
  ["machines", ({ machines }) => String(machines)],
  ["requests for each launch", ({ requests, launches }) => (requests / launches).toFixed(1)],
  ["faults", ({ faults }) => String([...faults.values()].reduce((sum, count) => sum + count, 0))],
  ...(Object.keys(FAULTS) as Fault[]).map(
    (fault): Line => [`- ${fault}`, ({ faults }) => String(faults.get(fault) ?? 0)],
  ),
  ["launches that keep two machines", ({ doubles }) => String(doubles)],
  ["machines left over", ({ orphans }) => String(orphans)],
  ["longest time of two machines (s)", ({ longestDoubleS }) => longestDoubleS.toFixed(0)],
  ["longest time after the end (s)", ({ longestOrphanS }) => longestOrphanS.toFixed(0)],
  ["cost (USD)", ({ costUsd }) => costUsd.toFixed(2)],
  ["of it for such machines (USD)", ({ wastedUsd }) => wastedUsd.toFixed(2)],
];

function tableOf(all: readonly LaunchFigures[]): string {
  const rows = LINES.map(([name, value]) => [name, ...all.map(value)]).filter(
    ([name, ...values]) => !name?.startsWith("- ") || values.some((value) => value !== "0"),
  );
  const head = ["", ...all.map(({ vendor }) => vendor)];
  return [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

function numberOf(name: string, text: string | undefined, fallback: number): number {
  const value = Number(text ?? fallback);
  if (!Number.isSafeInteger(value) || value < 1) giveUp(`--${name} must be a whole number from 1, not ${text}.`);
  return value;
}

async function main(args: string[]): Promise<number> {
  const options = { count: { type: "string" }, seed: { type: "string" }, help: { type: "boolean" } } as const;
  const { values } = parseArgs({ args, options });
  if (values.help) {
    process.stdout.write(`${HELP}\n`);
    return 0;
  }
  const count = numberOf("count", values.count, 10_000);
  const seed = numberOf("seed", values.seed, 1);
  const vendors = Object.keys(VENDORS);
  const all: LaunchFigures[] = [];
  for (const [n, vendor] of vendors.entries()) {
    const share = Math.floor(count / vendors.length) + (n < count % vendors.length ? 1 : 0);
    if (share === 0) continue;
    say(`${share} launches at ${vendor} with seed ${seed}`);
    all.push(await launchMany(vendor, share, seed));
  }
  process.stdout.write(`${tableOf(all)}\n`);
  return all.every(({ orphans, doubles }) => orphans + doubles === 0) ? 0 : 1;
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));
