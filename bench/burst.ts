/**
 * The synthetic weeks of the scheduler benchmark with rented machines: cost and wait of each burst policy,
 * compared with own machines only and with rented ones only. `--hosts 8 --days 7 --load 1.1 --seed 1 --wait 30m
 * --cost 20 --own-cost 1,1.5`
 */
import { parseArgs } from "node:util";
import { type BurstPolicy, burstPolicyOf, burstPolicyText } from "../src/lib/text/burst-policy.ts";
import { schedule } from "../src/training/scheduler/round.ts";
import type { Capacity, Host } from "../src/training/scheduler/types.ts";
import { DAY, HOUR, type Policy, simulate } from "../test/support/cluster.ts";
import { bursting } from "./burst-decisions.ts";
import { type Order, vendor } from "./burst-vendor.ts";
import { median, quantile } from "./support.ts";
import { machines, TEAMS, weeks } from "./weeks.ts";

const { values } = parseArgs({
  options: {
    hosts: { type: "string", default: "8" },
    days: { type: "string", default: "7" },
    load: { type: "string", default: "1.1" },
    seed: { type: "string", default: "1" },
    wait: { type: "string", default: "30m" },
    cost: { type: "string", default: "20" },
    "own-cost": { type: "string", default: "1,1.5" },
  },
});
const [hosts, days, load, seed] = [Number(values.hosts), Number(values.days), Number(values.load), Number(values.seed)];

const CLOUD: Host = {
  id: "cloud",
  provider: "cloud",
  state: "ready",
  cpus: 0,
  memoryMb: 0,
  gpus: [],
  pool: null,
  ask: true,
  rented: true,
};

const local = machines(hosts);
const plans = weeks(local, days, load, seed);
const onlyCloud: Capacity = { pools: {}, hosts: [CLOUD] };
const both: Capacity = { pools: {}, hosts: [...local.hosts, CLOUD] };

function policyOf(text: string): BurstPolicy {
  const policy = burstPolicyOf(text);
  if (policy === null) throw new Error(`--wait and --cost make no policy: ${text}`);
  return policy;
}

const inHours = (ms: number) => `${(ms / HOUR).toFixed(2)} h`;
const usd = (amount: number) => `$${Math.round(amount).toLocaleString("en-US")}`;
const mean = (of: number[]) => of.reduce((sum, one) => sum + one, 0) / of.length;
const COLUMNS = [
  "policy",
  "cost",
  "jobs that left",
  "machine hours (GPU-hours)",
  "mean wait (median, p95)",
  "mean time to the result (p95)",
];
const row = (cells: readonly string[]) => console.log(`| ${cells.join(" | ")} |`);

/** One week. @param ownUsd what an own GPU-hour costs in comparisons; it is part of no bill */
function run(name: string, capacity: Capacity, burst: BurstPolicy, order: Order = "total cost", ownUsd = 0): void {
  const seller = vendor(order, burst, seed);
  const rents = capacity.hosts.includes(CLOUD) && capacity !== onlyCloud;
  const decisions = bursting(burst, ownUsd > 0, (one) => seller.options(one, ownUsd));
  const policy: Policy = rents ? decisions.policy : schedule;
  const began = performance.now();
  const { fates } = simulate({ capacity, teams: TEAMS, plans, policy, rented: seller.rent });
  const all = [...fates.values()];
  const never = all.filter((one) => one.ended === null).length;
  if (never > 0) throw new Error(`${name}: ${never} jobs never ended`);
  const waits = all.map((one) => (one.begun ?? Number.NaN) - one.arrives);
  const done = all.map((one) => (one.ended ?? Number.NaN) - one.arrives);
  const { bill } = seller;
  row([
    name,
    usd(bill.usd),
    `${bill.jobs.size} (${Math.round((100 * bill.jobs.size) / all.length)}%)`,
    `${Math.round(bill.hours)} (${Math.round(bill.gpuHours)})`,
    `${inHours(mean(waits))} (${inHours(median(waits))}, ${inHours(quantile(waits, 0.95))})`,
    `${inHours(mean(done))} (${inHours(quantile(done, 0.95))})`,
  ]);
  const { decided, forecasts } = decisions.counts;
  console.error(
    `  ${name}: ${((performance.now() - began) / 1000).toFixed(0)} s, ${decided} decisions, ${forecasts} forecasts, taken back ${bill.preemptions} times`,
  );
}

const gpuCount = local.hosts.reduce((sum, host) => sum + host.gpus.length, 0);
console.log(
  `${gpuCount} GPUs in ${local.hosts.length} hosts, ${days} days (${(days * DAY) / HOUR} h), ${plans.length} jobs worth ${(100 * load).toFixed(0)}% of the capacity, seed ${seed}\n`,
);
row(COLUMNS);
row(COLUMNS.map(() => "---"));
const AT_ONCE = policyOf("burst");
run("local_only", both, { type: "local_only" });
run("rented only", onlyCloud, AT_ONCE);
run("rented only, by price per hour", onlyCloud, AT_ONCE, "price per hour");
run("burst", both, AT_ONCE);
run("burst, by price per hour", both, AT_ONCE, "price per hour");
const limited = [`burst:wait=${values.wait}`, `burst:wait=${values.wait},cost=${values.cost}`].map(policyOf);
for (const one of limited) run(burstPolicyText(one), both, one);
run("cheapest", both, { type: "cheapest" });
for (const cost of values["own-cost"].split(","))
  run(`cheapest, own GPU-hour $${cost}`, both, { type: "cheapest" }, "total cost", Number(cost));
run("fastest", both, { type: "fastest" });
