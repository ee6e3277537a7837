/**
 * Replays synthetic weeks on hundreds of GPUs through the real scheduling code with a simulated clock, compared with
 * first come first served with and without backfill; then the cost of one round with 10,000 waiting jobs. `--hosts 32
 * --days 7 --load 1.1 --seed 1`
 */
import { parseArgs } from "node:util";
import { allowForOthers, predict } from "../src/training/scheduler/forecast.ts";
import { schedule } from "../src/training/scheduler/round.ts";
import type { Capacity, Input, Job, Running } from "../src/training/scheduler/types.ts";
import {
  aJob,
  anInput,
  aTeam,
  DAY,
  type Fate,
  HOUR,
  MINUTE,
  type Outcome,
  type Plan,
  type Policy,
  random,
  START,
  simulate,
  YIELD_COST,
} from "../test/support/cluster.ts";
import { fifo, fifoBackfill } from "./peers/fifo.ts";
import { median, quantile } from "./support.ts";
import { aPlan, machines, TEAMS, weeks } from "./weeks.ts";

const { values } = parseArgs({
  options: {
    hosts: { type: "string", default: "32" },
    days: { type: "string", default: "7" },
    load: { type: "string", default: "1.1" },
    seed: { type: "string", default: "1" },
  },
});
const [hosts, days, load, seed] = [Number(values.hosts), Number(values.days), Number(values.load), Number(values.seed)];
const hours = (ms: number) => `${(ms / HOUR).toFixed(1)} h`.padStart(8);
const waits = (fates: Fate[]) => fates.map((one) => (one.begun ?? Number.NaN) - one.arrives);

/** Figures compared with the peers. */
interface Figures {
  busy: number;
  mean: number;
}

function report(name: string, outcome: Outcome, capacity: Capacity): Figures {
  const gpuCount = capacity.hosts.reduce((sum, host) => sum + host.gpus.length, 0);
  const fates = [...outcome.fates.values()];
  const never = fates.filter((one) => one.ended === null).length;
  const all = waits(fates);
  const preemptions = fates.reduce((sum, one) => sum + one.preemptions, 0);
  const busy = (100 * outcome.busyInTime) / (gpuCount * days * DAY);
  // Saving and restarting keeps GPUs busy without progress.
  const again = fates.reduce((sum, one) => sum + one.preemptions * one.job.wants.gpus * YIELD_COST, 0);
  const useful = busy - (100 * again) / (gpuCount * days * DAY);
  const mean = all.reduce((sum, wait) => sum + wait, 0) / all.length;
  const cost = outcome.spent / outcome.rounds;
  console.log(`\n${name}`);
  console.log(
    `  GPUs busy ${busy.toFixed(1)}% (${useful.toFixed(1)}% without saving and restarting), never ended ${never}, longest wait ${hours(Math.max(...all)).trim()}, preemptions ${preemptions}`,
  );
  console.log(`  rounds ${outcome.rounds}, ${cost.toFixed(2)} ms each, at most ${outcome.slowest.toFixed(0)} ms`);
  const line = (label: string, some: Fate[]) =>
    console.log(
      `  ${label.padEnd(22)} ${String(some.length).padStart(5)} jobs, waited p50 ${hours(median(waits(some)))}  p95 ${hours(quantile(waits(some), 0.95))}`,
    );
  line(`all, ${hours(mean).trim()} on average`, fates);
  for (const { id, weight } of TEAMS)
    line(
      `${id} (weight ${weight})`,
      fates.filter((one) => one.job.team === id),
    );
  line(
    "priority 50",
    fates.filter((one) => one.job.priority === 50),
  );
  line(
    "priority -50",
    fates.filter((one) => one.job.priority === -50),
  );
  line(
    "8 GPUs",
    fates.filter((one) => one.job.wants.gpus === 8),
  );
  line(
    "1 GPU",
    fates.filter((one) => one.job.wants.gpus === 1),
  );
  return { busy: useful, mean };
}

/** Prints how many jobs started within the range that was forecast at their arrival. */
function forecastAccuracy(plans: Plan[], capacity: Capacity): void {
  const forecasts = new Map<string, { low: number; high: number | null }>();
  let [asked, unknown] = [0, 0];
  const first = plans.filter(({ arrives }) => arrives < START + (days * DAY) / 2);
  const { fates } = simulate({
    capacity,
    teams: TEAMS,
    plans: first,
    policy: schedule,
    look(input, round) {
      if (input.queued.length < 5 || ++asked % 100 !== 0) return;
      for (const [id, found] of predict(input, round.order)) {
        if (forecasts.has(id) || round.starts.some((one) => one.jobId === id)) continue;
        const { low, high } = allowForOthers(found, input.now, round.waits.get(id)?.code ?? "capacity");
        if (high === null) unknown++;
        if (low !== null && high !== null) forecasts.set(id, { low, high });
      }
    },
  });
  const slack = 5 * MINUTE;
  const begun = (id: string) => fates.get(id)?.begun ?? Number.POSITIVE_INFINITY;
  const [early, late] = [
    [...forecasts].filter(([id, { low }]) => begun(id) < low - slack).length,
    [...forecasts].filter(([id, { high }]) => begun(id) > (high ?? 0) + slack).length,
  ];
  const share = (n: number) => `${((100 * n) / Math.max(1, forecasts.size)).toFixed(0)}%`;
  console.log(
    `\nforecast starts: ${forecasts.size} ranges, ${share(forecasts.size - early - late)} correct, ${share(early)} earlier, ${share(late)} later (other jobs arrived in between); ${unknown} times unknown`,
  );
}

/** A full cluster and `count` waiting jobs of many teams. */
function crowd(count: number, capacity: Capacity): Input {
  const next = random(7);
  const queued: Job[] = Array.from({ length: count }, (_, n) => {
    const plan = aPlan(n, START, next);
    return { ...plan.job, team: `t${n % 50}`, queuedAt: START - Math.floor(next() * 40 * HOUR) };
  });
  const running = capacity.hosts.flatMap((host) =>
    host.gpus.map(({ uuid }, n): Running => {
      const job = aJob(`r-${uuid}`, { team: `t${n}`, wants: { gpus: 1 }, priority: 0 });
      const left = { low: next() * HOUR, high: (1 + next() * 9) * HOUR };
      return {
        job,
        hostId: host.id,
        gpus: [uuid],
        startedAt: START - HOUR,
        left,
        preemptible: true,
        preempting: false,
      };
    }),
  );
  // The work of one host has just ended, so something can start.
  const teams = Array.from({ length: 50 }, (_, n) => aTeam(`t${n}`, { used: next() * 1000, weight: 1 + (n % 3) }));
  return anInput(capacity, { queued, running: running.slice(8), teams });
}

const capacity = machines(hosts);
const plans = weeks(capacity, days, load, seed);
const gpuCount = capacity.hosts.reduce((sum, host) => sum + host.gpus.length, 0);
console.log(
  `${gpuCount} GPUs in ${capacity.hosts.length} hosts, ${days} days, ${plans.length} jobs worth ${(100 * load).toFixed(0)}% of the capacity`,
);
const policies: [string, Policy][] = [
  ["first come, first served", fifo],
  ["first come, first served with backfill", fifoBackfill],
  ["Fine-Tune Lab", schedule],
];
const figures = policies.map(([name, policy]) => {
  const outcome = simulate({ capacity, teams: TEAMS, plans, policy, measureUntil: START + days * DAY });
  return { name, ...report(name, outcome, capacity) };
});
const ours = figures.at(-1);
console.log();
for (const peer of figures.slice(0, -1))
  console.log(
    `ours / "${peer.name}": useful GPU utilization ${((ours?.busy ?? 0) / peer.busy).toFixed(2)}, mean wait ${((ours?.mean ?? 0) / peer.mean).toFixed(2)}`,
  );
forecastAccuracy(plans, capacity);

console.log("\none round");
for (const count of [100, 1000, 10_000]) {
  const input = crowd(count, capacity);
  for (let n = 0; n < 5; n++) schedule(input);
  const times = Array.from({ length: 21 }, () => {
    const began = performance.now();
    schedule(input);
    return performance.now() - began;
  });
  console.log(
    `  ${String(count).padStart(6)} waiting: ${median(times).toFixed(1)} ms, at most ${Math.max(...times).toFixed(1)} ms`,
  );
}
const input = crowd(10_000, capacity);
const began = performance.now();
predict(input, schedule(input).order);
console.log(
  `  forecasting the first 200 of 10,000: ${(performance.now() - began).toFixed(0)} ms, split between requests`,
);
