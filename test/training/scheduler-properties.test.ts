/** Properties of the scheduler on random clusters with weeks of random jobs; each seed is a case. */
import { describe, expect, test } from "bun:test";
import { schedule } from "../../src/training/scheduler/round.ts";
import type { Capacity, Input, Round, Team } from "../../src/training/scheduler/types.ts";
import { aJob, aTeam, card, DAY, HOUR, MINUTE, type Plan, random, START, simulate } from "../support/cluster.ts";

interface World {
  capacity: Capacity;
  teams: Team[];
  plans: Plan[];
}

/**
 * Hosts of several sizes, some with shared GPUs, three teams of which one has limits, and jobs of every kind, some with
 * unknown durations.
 */
function world(seed: number): World {
  const next = random(seed);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)] as T;
  const capacity: Capacity = {
    pools: { p: { train: 2, serve: 1 } },
    hosts: Array.from({ length: 2 + Math.floor(next() * 4) }, (_, h) => {
      const memory = pick([24_000, 80_000]);
      const shares = next() < 0.2 ? 2 : 1;
      return {
        id: `h${h}`,
        provider: "docker",
        state: "ready" as const,
        cpus: 64,
        memoryMb: 512_000,
        pool: "p",
        ask: false,
        gpus: Array.from({ length: pick([1, 4, 8]) }, (_, g) => card(`h${h}.${g}`, memory, shares)),
      };
    }),
  };
  const largest = Math.max(...capacity.hosts.map((host) => host.gpus.length));
  const teams = [
    aTeam("a"),
    aTeam("b", { weight: 3 }),
    aTeam("c", { maxGpus: Math.max(2, largest), monthGpuHours: 150 }),
  ];
  const plans: Plan[] = Array.from({ length: 120 }, (_, n) => {
    const length = Math.ceil((0.1 + next() * next() * 12) * HOUR);
    const gpus = Math.min(largest, pick([0, 1, 1, 1, 2, 4, 8]));
    const known = next() < 0.8;
    return {
      arrives: START + Math.floor(next() * 4 * DAY),
      length,
      job: aJob(`j${String(n).padStart(3, "0")}`, {
        team: pick(["a", "a", "b", "c"]),
        kind: gpus === 0 && next() < 0.2 ? "evaluate" : "train",
        priority: pick([0, 0, 0, 0, -20, 30]),
        wants: { gpus },
        // The real duration is within the estimate: reservations rely on that.
        estimate: known ? { low: length * (0.3 + 0.7 * next()), high: length * (1 + next()) } : { low: 0, high: null },
        window: next() < 0.1 ? { from: "20:00", until: "07:00", tz: "Europe/Berlin" } : null,
      }),
    };
  });
  return { capacity, teams, plans };
}

/** Fails when a GPU is used twice, a limit is exceeded, or a job has GPUs in several hosts. */
function checkRound(input: Input, round: Round): void {
  const shares = new Map(input.capacity.hosts.flatMap((host) => host.gpus.map((gpu) => [gpu.uuid, gpu.shares])));
  const hostOf = new Map(input.capacity.hosts.flatMap((host) => host.gpus.map((gpu) => [gpu.uuid, host.id])));
  const held = new Map<string, number>();
  const gpusOf = new Map<string, number>();
  let slots = 0;
  const jobs = new Map(input.queued.map((job) => [job.id, job]));
  const begun = round.starts.map((one) => ({ ...one, job: jobs.get(one.jobId) }));
  for (const { job, gpus } of [...input.running, ...begun]) {
    for (const uuid of gpus) held.set(uuid, (held.get(uuid) ?? 0) + 1);
    if (job) gpusOf.set(job.team, (gpusOf.get(job.team) ?? 0) + job.wants.gpus);
    if (job?.wants.gpus === 0) slots++;
  }
  for (const [uuid, count] of held) expect(count).toBeLessThanOrEqual(shares.get(uuid) ?? 0);
  for (const team of input.teams)
    if (team.maxGpus !== null) expect(gpusOf.get(team.id) ?? 0).toBeLessThanOrEqual(team.maxGpus);
  expect(slots).toBeLessThanOrEqual(2);
  for (const { job, hostId, gpus } of begun) {
    expect(new Set(gpus).size).toBe(job?.wants.gpus ?? -1);
    for (const uuid of gpus) expect(hostOf.get(uuid)).toBe(hostId);
    const team = input.teams.find((one) => one.id === job?.team);
    if (gpus.length > 0 && team?.monthGpuHours) expect(team.usedThisMonth).toBeLessThan(team.monthGpuHours);
  }
  const running = new Map(input.running.map((one) => [one.job.id, one]));
  for (const { jobId, cause, forJob } of round.preemptions) {
    const one = running.get(jobId);
    expect(one?.preemptible && !one.preempting).toBe(true);
    if (cause === "priority") expect(jobs.get(forJob ?? "")?.priority).toBeGreaterThan(one?.job.priority ?? 0);
  }
  // Every job starts or has a reason to wait.
  expect(round.waits.size + round.starts.length).toBe(input.queued.length);
}

const seeds = Array.from({ length: 15 }, (_, n) => n + 1);

describe("random weeks", () => {
  test.each(seeds)(
    "week %p: no GPU is used twice, no limit is exceeded, no job is split, and every job ends",
    (seed) => {
      const { capacity, teams, plans } = world(seed);
      let spare = 0;
      const outcome = simulate({
        capacity,
        teams,
        plans,
        policy: schedule,
        until: START + 150 * DAY,
        look(input, round) {
          checkRound(input, round);
          const limited = input.teams.find((team) => team.monthGpuHours !== null);
          if (limited?.monthGpuHours) spare = Math.max(spare, limited.usedThisMonth - limited.monthGpuHours);
        },
      });
      for (const fate of outcome.fates.values()) expect(fate.ended).not.toBeNull();
      // The time its jobs take to save, on the few GPUs of the team.
      expect(spare).toBeLessThan(8 * 0.05);
    },
  );

  test.each(seeds.slice(0, 8))(
    "week %p again: the same input gives the same answer, whatever the order of the rows",
    (seed) => {
      const { capacity, teams, plans } = world(seed);
      const backwards: typeof schedule = (input) => {
        const [there, back] = [
          schedule(input),
          schedule({ ...input, queued: input.queued.toReversed(), teams: input.teams.toReversed() }),
        ];
        expect(back.starts).toEqual(there.starts);
        expect(back.preemptions).toEqual(there.preemptions);
        return there;
      };
      simulate({ capacity, teams, plans: plans.slice(0, 50), policy: backwards });
    },
  );

  test.each(seeds.slice(0, 12))(
    "a stream of small jobs (seed %p) never delays a large one beyond its reservation",
    (seed) => {
      const next = random(seed);
      const capacity: Capacity = {
        pools: {},
        hosts: [
          {
            id: "h0",
            provider: "docker",
            state: "ready",
            cpus: 64,
            memoryMb: 512_000,
            pool: null,
            ask: false,
            gpus: Array.from({ length: 8 }, (_, g) => card(`h0.${g}`)),
          },
        ],
      };
      const small: Plan[] = Array.from({ length: 400 }, (_, n) => {
        const length = Math.ceil((0.05 + next() * 2) * HOUR);
        const job = aJob(`s${String(n).padStart(3, "0")}`, {
          team: "small",
          wants: { gpus: 1 },
          estimate: { low: length * next(), high: length * (1 + next()) },
        });
        return { job, length, arrives: START + n * 6 * MINUTE };
      });
      const gang: Plan = {
        job: aJob("z-gang", { team: "big", wants: { gpus: 8 } }),
        length: HOUR,
        arrives: START + 5 * HOUR,
      };
      let promised: number | null = null;
      let lent = 0;
      const { fates } = simulate({
        capacity,
        plans: [...small, gang],
        policy: schedule,
        // The gang's team has used far more, so that only its reservation makes it next.
        teams: [aTeam("small"), aTeam("big", { used: 10_000 })],
        look(input, round) {
          const latest = round.waits.get("z-gang")?.at?.high;
          if (latest !== null && latest !== undefined && promised === null) promised = input.now + latest;
          lent += round.starts.filter((one) => one.backfills === "z-gang").length;
        },
      });
      expect(promised).not.toBeNull();
      expect(fates.get("z-gang")?.begun).toBeLessThanOrEqual(promised ?? 0);
      expect(lent).toBeGreaterThan(0);
    },
  );

  test("a low priority is not starved by a stream of higher ones", () => {
    const high: Plan[] = Array.from({ length: 400 }, (_, n) => ({
      job: aJob(`h${String(n).padStart(3, "0")}`, { wants: { gpus: 1 } }),
      length: HOUR,
      arrives: START + n * 55 * MINUTE,
    }));
    const low: Plan = {
      job: aJob("low", { priority: -30, team: "b", wants: { gpus: 1 } }),
      length: HOUR,
      arrives: START,
    };
    const one = {
      pools: {},
      hosts: [
        {
          id: "h",
          provider: "d",
          state: "ready" as const,
          cpus: 8,
          memoryMb: 9000,
          gpus: [card("g")],
          pool: null,
          ask: false,
        },
      ],
    };
    const first: Plan = { job: aJob("h-first", { wants: { gpus: 1 } }), length: HOUR, arrives: START };
    const { fates } = simulate({
      capacity: one,
      teams: [aTeam("a"), aTeam("b")],
      plans: [first, ...high, low],
      policy: schedule,
    });
    const waited = (fates.get("low")?.begun ?? Number.POSITIVE_INFINITY) - START;
    expect(waited).toBeGreaterThan(24 * HOUR);
    expect(waited).toBeLessThan(60 * HOUR);
  });
});
