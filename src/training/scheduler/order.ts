/**
 * In which order waiting jobs are looked at: priority, kept places, endpoints before batches, the team that is due
 * most, deadlines, age.
 */
import { compare } from "./capacity.ts";
import type { Job, Team } from "./types.ts";

const HOUR = 3_600_000;
/**
 * The first job of a team at a priority that has waited so long gains a point for every further hour, so that no
 * priority starves for ever.
 */
const PATIENCE_MS = 24 * HOUR;
/** A job without GPUs counts as this many of them. */
export const CPU_WEIGHT = 0.1;
/**
 * Whatever a team holds counts as if it had held it for an hour more: a burst from an idle team does not take
 * everything.
 */
const AHEAD_HOURS = 1;
/** A deadline counts once its job must begin within this time, or half of its own length. */
const MARGIN_MS = HOUR;

/** GPU-hours an hour of the job counts for. */
const weightOf = (job: Job) => job.wants.gpus || CPU_WEIGHT;

/** A team within one round. */
export interface Account {
  team: Team;
  /** GPUs it holds now. */
  gpus: number;
  /** GPU-hours that its running jobs will still use this month, as far as known. */
  promised: number;
  /** Usage by weight: the smallest is due next. */
  share: number;
}

export function openAccount(team: Team): Account {
  return { team, gpus: 0, promised: 0, share: team.used / team.weight };
}

/** Counts work that the team holds, or begins to. */
export function charge(account: Account, job: Job, promisedHours: number): void {
  account.gpus += job.wants.gpus;
  account.promised += promisedHours;
  account.share += (weightOf(job) * AHEAD_HOURS) / account.team.weight;
}

/** Jobs of one team and priority, next first. */
interface Lane {
  account: Account;
  jobs: Job[];
  at: number;
  /** Priority with age. */
  level: number;
  /** The key it was put into the heap with. */
  share: number;
}

/** Latest moment to begin for a deadline that presses; infinite for all others. */
function pressing(job: Job, now: number): number {
  if (job.deadline === null) return Number.POSITIVE_INFINITY;
  const needs = job.estimate.high ?? job.estimate.low;
  const latest = job.deadline - needs;
  return latest - now < Math.max(MARGIN_MS, needs / 2) ? latest : Number.POSITIVE_INFINITY;
}

/** Waiting counts from when it may begin. */
const since = (job: Job) => Math.max(job.queuedAt, job.startAfter ?? 0);

function levelOf(job: Job, now: number): number {
  const over = now - since(job) - PATIENCE_MS;
  return over > 0 ? job.priority + Math.floor(over / HOUR) : job.priority;
}

interface Line {
  /** The next job, or null at the end. */
  next(): { job: Job; account: Account } | null;
}

/**
 * Puts jobs into line. A team's place changes while its jobs begin: `next` sees the accounts as they are when it is
 * called.
 * @param held jobs that have room kept for them: first of their priority
 */
export function lineUp(
  jobs: readonly Job[],
  accounts: ReadonlyMap<string, Account>,
  held: ReadonlySet<string>,
  now: number,
): Line {
  const byLane = new Map<string, Lane>();
  for (const job of jobs) {
    const account = accounts.get(job.team);
    if (!account) continue;
    const name = `${job.priority} ${job.team}`;
    const lane = byLane.get(name);
    if (lane) lane.jobs.push(job);
    else byLane.set(name, { account, jobs: [job], at: 0, level: 0, share: 0 });
  }
  for (const lane of byLane.values()) {
    const latest = new Map<Job, number>();
    for (const job of lane.jobs) if (job.deadline !== null) latest.set(job, pressing(job, now));
    const press = (job: Job) =>
      (latest.size === 0 ? Number.POSITIVE_INFINITY : latest.get(job)) ?? Number.POSITIVE_INFINITY;
    const rank = (job: Job) => (held.has(job.id) ? 0 : job.kind === "serve" ? 1 : job.begun ? 2 : 3);
    lane.jobs.sort(
      (a, b) => rank(a) - rank(b) || compare(press(a), press(b)) || a.queuedAt - b.queuedAt || (a.id < b.id ? -1 : 1),
    );
  }

  const heap: Lane[] = [];
  const rankOf = (lane: Lane) => {
    const job = lane.jobs[lane.at] as Job;
    return held.has(job.id) ? 0 : job.kind === "serve" ? 1 : 2;
  };
  const before = (a: Lane, b: Lane): boolean => {
    const [x, y] = [a.jobs[a.at] as Job, b.jobs[b.at] as Job];
    const order = b.level - a.level || rankOf(a) - rankOf(b) || compare(a.share, b.share) || x.queuedAt - y.queuedAt;
    return order === 0 ? x.id < y.id : order < 0;
  };
  const swap = (i: number, j: number) => {
    const [a, b] = [heap[i] as Lane, heap[j] as Lane];
    heap[i] = b;
    heap[j] = a;
  };
  const sink = (from: number) => {
    for (let i = from; ; ) {
      let first = i;
      for (const child of [2 * i + 1, 2 * i + 2])
        if (child < heap.length && before(heap[child] as Lane, heap[first] as Lane)) first = child;
      if (first === i) return;
      swap(i, first);
      i = first;
    }
  };
  // Age lifts the one job of a lane that waits longest and nothing behind it.
  const refresh = (lane: Lane, first: boolean) => {
    const job = lane.jobs[lane.at] as Job;
    lane.level = first ? levelOf(job, now) : job.priority;
    lane.share = lane.account.share;
  };
  for (const lane of byLane.values()) {
    refresh(lane, true);
    heap.push(lane);
  }
  for (let i = (heap.length >> 1) - 1; i >= 0; i--) sink(i);

  return {
    next() {
      for (;;) {
        const lane = heap[0];
        if (!lane) return null;
        // Its team began something since: it may no longer be the one that is due.
        if (lane.share !== lane.account.share) {
          lane.share = lane.account.share;
          sink(0);
          continue;
        }
        const job = lane.jobs[lane.at] as Job;
        lane.at++;
        if (lane.at < lane.jobs.length) refresh(lane, false);
        else {
          const last = heap.pop() as Lane;
          if (heap.length > 0) heap[0] = last;
        }
        if (heap.length > 0) sink(0);
        return { job, account: lane.account };
      }
    },
  };
}
