/** The vendor of the burst benchmark: made-up offers, chance that is the same for the same job, and the bill. */
import type { BurstPolicy } from "../src/lib/text/burst-policy.ts";
import { launchOrder, type Option } from "../src/training/scheduler/burst.ts";
import { type Experience, preemptionsPerHour, totalCost } from "../src/training/scheduler/total-cost.ts";
import type { Job } from "../src/training/scheduler/types.ts";
import { HOUR, type Plan, random } from "../test/support/cluster.ts";

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
type Rented = Option & { offer: GpuOffer };
const START_S = 240;
/** As after a restart in `totalCost`. */
const RESTART_H = (START_S + 120) / 3600;
const SAVE_H = 0.5;
/** As the server compares work of unknown length. */
const UNKNOWN_S = 3600;

/** How offers are ordered: the product's way, or by the price per hour. */
export type Order = "total cost" | "price per hour";

/** Hours and preemptions of work on an offer that is taken back at random. */
function fate(offer: GpuOffer, length: number, saves: boolean, next: () => number) {
  const work = length / HOUR / offer.speed;
  let [hours, lost] = [START_S / 3600, 0];
  for (let done = 0; done < work - 1e-9; ) {
    const segment = Math.min(work - done, saves ? SAVE_H : work);
    const survives = offer.taken > 0 ? -Math.log(1 - next()) / offer.taken : Number.POSITIVE_INFINITY;
    if (survives >= segment) done += segment;
    else lost++;
    hours += survives >= segment ? segment : survives + RESTART_H;
  }
  return { hours, lost };
}

/** Rented machines that fit a job, with their chance, and what they cost so far. */
export function vendor(order: Order, policy: BurstPolicy, seed: number) {
  const seen = new Map<string, Experience>();
  const bill = { usd: 0, hours: 0, gpuHours: 0, preemptions: 0, jobs: new Set<string>() };

  /** What is there for a job: the same chance for the same job, however the others fare. */
  function chanceOf(job: Job) {
    const next = random(seed * 1_000_003 + Number(job.id.slice(1)));
    const saves = next() < 0.8;
    const there = OFFERS.filter((one) => next() >= one.soldOut && job.wants.gpuMemoryMb <= one.memoryMb);
    // On demand there is always one in the end.
    return { saves, there: there.length ? there : [OFFERS[1]], next };
  }

  /** What is expected of a job, from its estimate as the server has it. */
  const expectedS = ({ estimate: { low, high } }: Job) => (high === null ? UNKNOWN_S : (low + high) / 2000);

  function rentedFor(job: Job): { options: Rented[]; saves: boolean; next: () => number } {
    const { there, saves, next } = chanceOf(job);
    const options = there.map((offer): Rented => {
      const { usd, seconds } = totalCost({
        pricePerHour: offer.price * job.wants.gpus,
        seconds: expectedS(job) / offer.speed,
        startsInS: START_S,
        perHour: preemptionsPerHour(offer.market, seen.get(offer.id)),
        saveEveryS: saves ? SAVE_H * 3600 : null,
      });
      const spot = offer.market === "spot";
      const machine = offer.id.replace(" spot", "");
      return { rented: true, title: offer.id, spot, machine, waitS: 0, seconds, usd, out: null, offer };
    });
    return { options, saves, next };
  }

  /** Every place for a job, own machines with a wait that is not known yet. */
  function options(job: Job, ownUsd: number): Option[] {
    const seconds = expectedS(job);
    const usd = (seconds / 3600) * ownUsd * job.wants.gpus;
    const own: Option = { rented: false, title: "own", spot: false, machine: "", waitS: null, seconds, usd, out: null };
    return [own, ...rentedFor(job).options];
  }

  /** Rents for a job. @returns milliseconds until it ends */
  function rent({ job, length }: Plan): number {
    const { options: found, saves, next } = rentedFor(job);
    const sorted = [...found].sort((a, b) => (order === "total cost" ? a.usd - b.usd : a.offer.price - b.offer.price));
    const [first = sorted[0]] = launchOrder(policy, sorted, job.begun);
    const { offer } = first as Rented;
    const { hours, lost } = fate(offer, length, saves, next);
    const before = seen.get(offer.id) ?? { preemptions: 0, hours: 0 };
    seen.set(offer.id, { preemptions: before.preemptions + lost, hours: before.hours + hours });
    bill.usd += hours * offer.price * job.wants.gpus;
    bill.hours += hours;
    bill.gpuHours += hours * job.wants.gpus;
    bill.preemptions += lost;
    bill.jobs.add(job.id);
    return Math.ceil(hours * HOUR);
  }
  return { rent, options, bill };
}
