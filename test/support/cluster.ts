/**
 * A cluster on paper: jobs arrive, run and end under a scheduling policy, with a clock that jumps from event to event.
 * Used by tests and benchmarks.
 */
import {
  type Capacity,
  type Input,
  type Job,
  type Reservation,
  type Round,
  type Running,
  shapeOf,
  type Team,
  type Wants,
} from "../../src/training/scheduler/types.ts";

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
/** Monday, 2 November 2026, 00:00 UTC. */
export const START = Date.UTC(2026, 10, 2);
const HALF_LIFE = 7 * DAY;
/** A month for quotas. */
const MONTH = 30 * DAY;

/** Numbers between 0 and 1, the same for the same seed. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export const card = (uuid: string, memoryMb = 80_000, shares = 1) => ({
  uuid,
  model: `card ${memoryMb}`,
  memoryMb,
  shares,
});

/** Hosts `h0`, `h1` … with equal cards `h0.0`, `h0.1` … and no slots for other work. */
export function cluster(hosts: number, gpus: number, memoryMb = 80_000, prefix = "h"): Capacity {
  return {
    pools: {},
    hosts: Array.from({ length: hosts }, (_, h) => ({
      id: `${prefix}${h}`,
      provider: "docker",
      state: "ready" as const,
      cpus: 64,
      memoryMb: 512_000,
      gpus: Array.from({ length: gpus }, (_, g) => card(`${prefix}${h}.${g}`, memoryMb)),
      pool: `${prefix}${h}`,
      ask: false,
    })),
  };
}

const wants = (gpus: number, more: Partial<Wants> = {}): Wants => ({
  gpus,
  gpuMemoryMb: 0,
  cpus: 1,
  memoryMb: 1000,
  provider: null,
  ...more,
});

/** A job that waits; everything not said is ordinary. */
export function aJob(id: string, more: Partial<Omit<Job, "wants">> & { wants?: Partial<Wants> } = {}): Job {
  const need = wants(more.wants?.gpus ?? 0, more.wants);
  const kind = more.kind ?? "train";
  return {
    id,
    team: "a",
    kind,
    priority: 0,
    queuedAt: START,
    startAfter: null,
    retryAt: 0,
    window: null,
    deadline: null,
    estimate: { low: 0, high: null },
    begun: false,
    ending: false,
    noRent: false,
    ...more,
    wants: need,
    shape: shapeOf(kind, need),
  };
}

export const aTeam = (id: string, more: Partial<Team> = {}): Team => ({
  id,
  weight: 1,
  used: 0,
  maxGpus: null,
  monthGpuHours: null,
  usedThisMonth: 0,
  ...more,
});

export function anInput(capacity: Capacity, more: Partial<Input> = {}): Input {
  const teams = [
    ...new Set([...(more.queued ?? []), ...(more.running ?? []).map((one) => one.job)].map((job) => job.team)),
  ];
  return {
    now: START,
    monthEnds: START + 28 * DAY,
    capacity,
    running: [],
    queued: [],
    reservations: [],
    maintenance: [],
    teams: teams.map((id) => aTeam(id)),
    ...more,
  };
}

/** A job to come: when, and how long it really takes (its estimate may say otherwise). */
export interface Plan {
  job: Job;
  arrives: number;
  length: number;
}

export type Policy = (input: Input) => Round;

/** How one job fared. */
export interface Fate {
  job: Job;
  arrives: number;
  length: number;
  begun: number | null;
  ended: number | null;
  /** How often it was preempted. */
  preemptions: number;
}

export interface Outcome {
  fates: Map<string, Fate>;
  rounds: number;
  /** Milliseconds the policy took, in all and at most. */
  spent: number;
  slowest: number;
  /** GPU-milliseconds used, and used until `until`. */
  busy: number;
  busyInTime: number;
}

interface Living {
  plan: Plan;
  running: Running;
  endsAt: number;
  letsGoAt: number | null;
}

/** Time a job takes to save and let go, and what its next start costs. */
const SAVE = 90_000;
const RESTART = 120_000;
/** What one yield costs its GPUs, in milliseconds. */
export const YIELD_COST = SAVE + RESTART;

/**
 * Runs `plans` to their end, or to `until` when that is earlier.
 * @param look called before every round and after it
 */
export function simulate(options: {
  capacity: Capacity;
  teams: readonly Team[];
  plans: readonly Plan[];
  policy: Policy;
  until?: number;
  /** Milliseconds that a job takes on a host that is asked for offers; its length without. */
  rented?: (plan: Plan, now: number) => number;
  /** Usage counts until then. */
  measureUntil?: number;
  look?: (input: Input, round: Round) => void;
}): Outcome {
  const { capacity, policy } = options;
  const until = options.until ?? Number.POSITIVE_INFINITY;
  const arriving = [...options.plans].sort((a, b) => a.arrives - b.arrives || (a.job.id < b.job.id ? -1 : 1));
  const teams = new Map(options.teams.map((team) => [team.id, { ...team }]));
  const fates = new Map<string, Fate>();
  const outcome: Outcome = { fates, rounds: 0, spent: 0, slowest: 0, busy: 0, busyInTime: 0 };
  let waiting = new Map<string, Plan>();
  let living: Living[] = [];
  let reservations: Reservation[] = [];
  let now = arriving[0]?.arrives ?? START;
  let monthEnds = now + MONTH;

  const pass = (to: number) => {
    const hours = (to - now) / HOUR;
    const decay = 2 ** (-(to - now) / HALF_LIFE);
    for (const team of teams.values()) team.used *= decay;
    for (const { plan, running } of living) {
      const team = teams.get(plan.job.team);
      const { gpus } = plan.job.wants;
      if (team) {
        team.used += (gpus || 0.1) * hours;
        team.usedThisMonth += gpus * hours;
      }
      outcome.busy += running.gpus.length * (to - now);
      const inTime = Math.max(0, Math.min(to, options.measureUntil ?? to) - now);
      outcome.busyInTime += running.gpus.length * inTime;
    }
    now = to;
    if (now >= monthEnds) {
      monthEnds += MONTH;
      for (const team of teams.values()) team.usedThisMonth = 0;
    }
  };

  let next = now;
  while (next <= until) {
    pass(next);
    for (const one of living.filter((each) => each.letsGoAt !== null && each.letsGoAt <= now)) {
      const rest = one.endsAt - now + RESTART;
      const { estimate } = one.running.job;
      const ran = now - one.running.startedAt;
      const less = (ms: number) => Math.max(0, ms - ran + RESTART);
      const job = {
        ...one.plan.job,
        begun: true,
        estimate: { low: less(estimate.low), high: estimate.high === null ? null : less(estimate.high) },
      };
      waiting.set(job.id, { job, arrives: now, length: rest });
      living = living.filter((each) => each !== one);
    }
    for (const { plan } of living.filter((each) => each.endsAt <= now)) {
      const fate = fates.get(plan.job.id);
      if (fate) fate.ended = now;
    }
    living = living.filter((each) => each.endsAt > now);
    while (arriving[0] && arriving[0].arrives <= now) {
      const plan = arriving.shift() as Plan;
      const job = { ...plan.job, queuedAt: plan.arrives };
      waiting.set(job.id, { ...plan, job });
      fates.set(job.id, { job, arrives: plan.arrives, length: plan.length, begun: null, ended: null, preemptions: 0 });
    }
    const input: Input = {
      now,
      monthEnds,
      capacity,
      maintenance: [],
      reservations,
      teams: [...teams.values()],
      running: living.map(({ running }) => {
        const ran = now - running.startedAt;
        const { low, high } = running.job.estimate;
        const left = { low: Math.max(0, low - ran), high: high === null ? null : Math.max(0, high - ran) };
        return { ...running, left };
      }),
      queued: [...waiting.values()].map((plan) => plan.job),
    };
    const began = performance.now();
    const round = policy(input);
    const took = performance.now() - began;
    outcome.rounds++;
    outcome.spent += took;
    outcome.slowest = Math.max(outcome.slowest, took);
    options.look?.(input, round);
    reservations = round.reservations;
    for (const { jobId, hostId, gpus } of round.starts) {
      const plan = waiting.get(jobId);
      const fate = fates.get(jobId);
      if (!plan || !fate) throw new Error(`${jobId} was started and does not wait`);
      waiting.delete(jobId);
      fate.begun ??= now;
      const running: Running = {
        job: plan.job,
        hostId,
        gpus,
        startedAt: now,
        left: plan.job.estimate,
        preemptible: plan.job.kind === "train",
        preempting: false,
      };
      const asked = options.rented && capacity.hosts.some((host) => host.ask && host.id === hostId);
      const length = asked ? (options.rented?.(plan, now) ?? plan.length) : plan.length;
      living.push({ plan, running, endsAt: now + length, letsGoAt: null });
    }
    for (const { jobId } of round.preemptions) {
      const one = living.find(({ plan }) => plan.job.id === jobId);
      const fate = fates.get(jobId);
      if (!one || !fate || one.letsGoAt !== null) throw new Error(`${jobId} was asked to yield and cannot`);
      fate.preemptions++;
      one.running = { ...one.running, preempting: true };
      one.letsGoAt = Math.min(now + SAVE, one.endsAt);
    }
    next = Number.POSITIVE_INFINITY;
    for (const one of living)
      next = Math.min(next, one.letsGoAt !== null && one.letsGoAt < one.endsAt ? one.letsGoAt : one.endsAt);
    if (arriving[0]) next = Math.min(next, arriving[0].arrives);
    if (round.nextAt !== null) next = Math.min(next, round.nextAt);
    // Ages grow between events; a server looks every few seconds.
    if (waiting.size > 0) next = Math.min(next, now + 2 * HOUR);
    if (!Number.isFinite(next)) break;
    next = Math.max(next, now + 1);
  }
  waiting = new Map();
  return outcome;
}
