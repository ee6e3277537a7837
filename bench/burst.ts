/**
 * The synthetic weeks of the scheduler benchmark with rented machines: cost and wait of bursting compared with local
 * machines only and with rented ones only. `--hosts 32 --days 7 --load 1.1 --seed 1`
 */
import { parseArgs } from "node:util";
import { schedule } from "../src/training/scheduler/round.ts";
import { type Experience, preemptionsPerHour, type RunOn, totalCost } from "../src/training/scheduler/total-cost.ts";
import type { Capacity, Host } from "../src/training/scheduler/types.ts";
import { DAY, HOUR, type Plan, random, simulate } from "../test/support/cluster.ts";
import { quantile } from "./support.ts";
import { machines, TEAMS, weeks } from "./weeks.ts";

const { values } = parseArgs({
  options: {
    hosts: { type: "string", default: "32" },
    days: { type: "string", default: "7" },
    load: { type: "string", default: "1.1" },
    seed: { type: "string", default: "1" },
  },
});
const [hosts, days, load, seed] = [Number(values.hosts), Number(values.days), Number(values.load), Number(values.seed)];

/**
 * Offers for one GPU, made up in the range of public prices. `speed`: work per hour compared with a local GPU. `taken`:
 * how often it is really taken back per hour, which the order of offers has to learn. `soldOut`: how often there is
 * none.
 */
const OFFERS = [
  { id: "A10", market: "on_demand", price: 0.75, speed: 0.4, memoryMb: 24_000, taken: 0, soldOut: 0 },
  { id: "A100", market: "on_demand", price: 1.8, speed: 1, memoryMb: 80_000, taken: 0, soldOut: 0.1 },
  { id: "A100 spot", market: "spot", price: 1.1, speed: 1, memoryMb: 80_000, taken: 0.05, soldOut: 0.3 },
  { id: "H100", market: "on_demand", price: 3.3, speed: 2.2, memoryMb: 80_000, taken: 0, soldOut: 0.1 },
  { id: "H100 spot", market: "spot", price: 2.1, speed: 2.2, memoryMb: 80_000, taken: 0.6, soldOut: 0.3 },
] as const;
type GpuOffer = (typeof OFFERS)[number];
const START_S = 240;
/** As after a restart in `totalCost`. */
const RESTART_H = (START_S + 120) / 3600;
const SAVE_H = 0.5;

/** How offers are ordered: the product's way, or by the price per hour. */
type Order = "total cost" | "price per hour";

/** Rented machines that fit a job, with their chance, and what they cost so far. */
function vendor(order: Order) {
  const seen = new Map<string, Experience>();
  const bill = { usd: 0, gpuHours: 0, preemptions: 0, jobs: 0 };

  const runOn = (offer: GpuOffer, plan: Plan, saves: boolean): RunOn => ({
    pricePerHour: offer.price * plan.job.wants.gpus,
    seconds: plan.length / 1000 / offer.speed,
    startsInS: START_S,
    perHour: preemptionsPerHour(offer.market, seen.get(offer.id)),
    saveEveryS: saves ? SAVE_H * 3600 : null,
  });

  /** Rents for a job. @returns milliseconds until it ends */
  function rent(plan: Plan): number {
    // The same chance for the same job, however the others fare.
    const next = random(seed * 1_000_003 + Number(plan.job.id.slice(1)));
    const saves = next() < 0.8;
    const there = OFFERS.filter((one) => next() >= one.soldOut && plan.job.wants.gpuMemoryMb <= one.memoryMb);
    const costOf = (one: GpuOffer) => (order === "total cost" ? totalCost(runOn(one, plan, saves)).usd : one.price);
    // On demand there is always one in the end.
    const [offer] = [...(there.length ? there : [OFFERS[1]])].sort((a, b) => costOf(a) - costOf(b)) as [GpuOffer];
    const work = plan.length / HOUR / offer.speed;
    let [hours, lost] = [START_S / 3600, 0];
    for (let done = 0; done < work - 1e-9; ) {
      const segment = Math.min(work - done, saves ? SAVE_H : work);
      const survives = offer.taken > 0 ? -Math.log(1 - next()) / offer.taken : Number.POSITIVE_INFINITY;
      if (survives >= segment) done += segment;
      else lost++;
      hours += survives >= segment ? segment : survives + RESTART_H;
    }
    const before = seen.get(offer.id) ?? { preemptions: 0, hours: 0 };
    seen.set(offer.id, { preemptions: before.preemptions + lost, hours: before.hours + hours });
    bill.usd += hours * offer.price * plan.job.wants.gpus;
    bill.gpuHours += hours * plan.job.wants.gpus;
    bill.preemptions += lost;
    bill.jobs++;
    return Math.ceil(hours * HOUR);
  }
  return { rent, bill };
}

const CLOUD: Host = {
  id: "cloud",
  provider: "cloud",
  state: "ready",
  cpus: 0,
  memoryMb: 0,
  gpus: [],
  pool: null,
  ask: true,
};

const local = machines(hosts);
const plans = weeks(local, days, load, seed);
const inHours = (ms: number) => `${(ms / HOUR).toFixed(2)} h`.padStart(9);
const usd = (amount: number) => `$${Math.round(amount).toLocaleString("en-US")}`;
const mean = (of: number[]) => of.reduce((sum, one) => sum + one, 0) / of.length;

interface Figures {
  usd: number;
  wait: number;
  done: number;
}

function run(name: string, capacity: Capacity, order: Order): Figures {
  const { rent, bill } = vendor(order);
  const { fates } = simulate({ capacity, teams: TEAMS, plans, policy: schedule, rented: rent });
  const all = [...fates.values()];
  const never = all.filter((one) => one.ended === null).length;
  if (never > 0) throw new Error(`${never} jobs never ended`);
  const waits = all.map((one) => (one.begun ?? Number.NaN) - one.arrives);
  const done = all.map((one) => (one.ended ?? Number.NaN) - one.arrives);
  console.log(
    `${name.padEnd(40)} ${usd(bill.usd).padStart(9)} for ${String(bill.jobs).padStart(5)} rented jobs (${Math.round(bill.gpuHours)} GPU-hours, taken back ${bill.preemptions} times); wait ${inHours(mean(waits))} on average, p95 ${inHours(quantile(waits, 0.95))}; result after ${inHours(mean(done))} on average`,
  );
  return { usd: bill.usd, wait: mean(waits), done: mean(done) };
}

const gpuCount = local.hosts.reduce((sum, host) => sum + host.gpus.length, 0);
console.log(
  `${gpuCount} GPUs in ${local.hosts.length} hosts, ${days} days (${(days * DAY) / HOUR} h), ${plans.length} jobs worth ${(100 * load).toFixed(0)}% of the capacity, seed ${seed}\n`,
);
const onlyCloud: Capacity = { pools: {}, hosts: [CLOUD] };
const both: Capacity = { pools: {}, hosts: [...local.hosts, CLOUD] };
const stays = run("local only", local, "total cost");
const away = run("rented only", onlyCloud, "total cost");
const awayHourly = run("rented only, by price per hour", onlyCloud, "price per hour");
const burst = run("burst: rented when nothing is free here", both, "total cost");
const burstHourly = run("the same, by price per hour", both, "price per hour");

const ratio = (a: number, b: number) => (a / b).toFixed(2);
console.log(`
burst / rented only: cost ${ratio(burst.usd, away.usd)}, time to the result ${ratio(burst.done, away.done)}
burst / local only: wait ${ratio(burst.wait, stays.wait)}, time to the result ${ratio(burst.done, stays.done)}, for ${usd(burst.usd)} more
by total cost / by price per hour: cost ${ratio(away.usd, awayHourly.usd)} rented only, ${ratio(burst.usd, burstHourly.usd)} burst; time to the result ${ratio(away.done, awayHourly.done)}, ${ratio(burst.done, burstHourly.done)}`);
