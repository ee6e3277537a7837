/** Synthetic weeks on a cluster for the benchmarks of the scheduler: hosts, teams and jobs, the same for a seed. */
import type { Capacity } from "../src/training/scheduler/types.ts";
import { aJob, aTeam, cluster, DAY, HOUR, type Plan, random, START } from "../test/support/cluster.ts";

export const TEAMS = [
  aTeam("research", { weight: 3 }),
  aTeam("product", { weight: 2 }),
  aTeam("search", { weight: 1 }),
  aTeam("interns", { weight: 1 }),
];
/** Fraction of the work that each team submits: the interns submit far more than their share. */
const SUBMITS = [0.3, 0.2, 0.15, 0.35];

/** Three of four hosts have eight large GPUs, the others eight small ones. */
export function machines(count: number): Capacity {
  const large = cluster(Math.ceil(count * 0.75), 8, 80_000, "large");
  const small = cluster(Math.floor(count * 0.25), 8, 24_000, "small");
  return { pools: {}, hosts: [...large.hosts, ...small.hosts] };
}

/**
 * One job: most are small and short, a few take whole hosts for a day. One in ten has no estimate, one in twenty runs
 * longer than estimated.
 */
export function aPlan(n: number, arrives: number, next: () => number): Plan {
  const roll = next();
  const gpus = roll < 0.55 ? 1 : roll < 0.75 ? 2 : roll < 0.9 ? 4 : 8;
  const length = Math.ceil(
    HOUR * Math.min(36, 0.1 + 0.9 * Math.exp(1.2 * (next() + next() + next() - 1.5) * 1.6) * (gpus === 8 ? 2.2 : 1)),
  );
  const share = next();
  const upTo = SUBMITS.map((_, i) => SUBMITS.slice(0, i + 1).reduce((sum, part) => sum + part, 0));
  const team = TEAMS[upTo.findIndex((sum) => share < sum)]?.id ?? "interns";
  const [known, over, important] = [next() < 0.9, next() < 0.05, next()];
  const high = over ? length * 0.8 : length * (1.05 + next() * 1.2);
  return {
    arrives,
    length,
    job: aJob(`j${String(n).padStart(6, "0")}`, {
      team,
      wants: { gpus, gpuMemoryMb: next() < 0.3 ? 40_000 : 0 },
      priority: important < 0.04 ? 50 : important < 0.15 ? -50 : 0,
      estimate: known ? { low: Math.min(length, high) * (0.4 + 0.6 * next()), high } : { low: 0, high: null },
    }),
  };
}

/** Jobs worth `load` of the capacity over the days, more of them by day than by night. */
export function weeks(capacity: Capacity, days: number, load: number, seed: number): Plan[] {
  const next = random(seed);
  const gpuCount = capacity.hosts.reduce((sum, host) => sum + host.gpus.length, 0);
  const budget = gpuCount * days * DAY * load;
  const plans: Plan[] = [];
  for (let spent = 0; spent < budget; ) {
    const at = next() * days * DAY;
    const hour = (at % DAY) / HOUR;
    if (next() > (hour > 8 && hour < 20 ? 1 : 0.3)) continue;
    const plan = aPlan(plans.length, START + Math.floor(at), next);
    plans.push(plan);
    spent += plan.job.wants.gpus * plan.length;
  }
  return plans;
}
