/**
 * The order in which waiting jobs are scheduled: priority, reservations, endpoints before other jobs, fair share by
 * team, deadlines, age.
 */
import { compare } from "./capacity.ts";
import type { Job, Team } from "./types.ts";

const HOUR = 3_600_000;
/**
 * Aging against starvation: the first job of a team and priority that has waited this long gains one priority point per
 * further hour.
 */
const PATIENCE_MS = 24 * HOUR;
/** GPUs that a job without GPUs counts as. */
export const CPU_WEIGHT = 0.1;
/**
 * Running jobs count for this many hours in advance, so that a burst of an idle team does not take the full cluster.
 */
const AHEAD_HOURS = 1;
/** A deadline is urgent once its job must start within this time, or within half of its own duration. */
const MARGIN_MS = HOUR;

/** GPU-hours per hour of the job. */
const weightOf = (job: Job) => job.wants.gpus || CPU_WEIGHT;

/** The usage of a team in one round. */
export interface Account {
  team: Team;
  /** GPUs in use. */
  gpus: number;
  /** GPU-hours that its running jobs will still use this month, where known. */
  promised: number;
  /** Usage divided by weight: the team with the smallest goes next. */
  share: number;
}

export function openAccount(team: Team): Account {
  return { team, gpus: 0, promised: 0, share: team.used / team.weight };
}

/** Adds a running or starting job to the usage of its team. */
export function charge(account: Account, job: Job, promisedHours: number): void {
  account.gpus += job.wants.gpus;
  account.promised += promisedHours;
  account.share += (weightOf(job) * AHEAD_HOURS) / account.team.weight;
}

/** The jobs of one team and priority, next first. */
interface Lane {
  account: Account;
  jobs: Job[];
  at: number;
  /** Priority with aging. */
  level: number;
  /** The account's share when the lane was placed in the heap. */
  share: number;
}

/** Latest start for an urgent deadline; infinite for all other jobs. */
function urgentStart(job: Job, now: number): number {
  if (job.deadline === null) return Number.POSITIVE_INFINITY;
  const needs = job.estimate.high ?? job.estimate.low;
  const latest = job.deadline - needs;
  return latest - now < Math.max(MARGIN_MS, needs / 2) ? latest : Number.POSITIVE_INFINITY;
}

/** Waiting counts from the earliest allowed start. */
const since = (job: Job) => Math.max(job.queuedAt, job.startAfter ?? 0);

function levelOf(job: Job, now: number): number {
  const over = now - since(job) - PATIENCE_MS;
  return over > 0 ? job.priority + Math.floor(over / HOUR) : job.priority;
}

interface Queue {
  /** The next job, or null at the end. */
  next(): { job: Job; account: Account } | null;
}

/** A binary heap whose first item comes `before` all others. */
function heapOf<T>(items: T[], before: (a: T, b: T) => boolean) {
  const sink = (from: number) => {
    for (let i = from; ; ) {
      let first = i;
      for (const child of [2 * i + 1, 2 * i + 2])
        if (child < items.length && before(items[child] as T, items[first] as T)) first = child;
      if (first === i) return;
      const [a, b] = [items[i] as T, items[first] as T];
      items[i] = b;
      items[first] = a;
      i = first;
    }
  };
  for (let i = (items.length >> 1) - 1; i >= 0; i--) sink(i);
  return {
    first: (): T | undefined => items[0],
    /** Restores the order after the first item changed. */
    update: () => {
      if (items.length > 0) sink(0);
    },
    /** Removes the first item. */
    remove: () => {
      const last = items.pop() as T;
      if (items.length > 0) items[0] = last;
      if (items.length > 0) sink(0);
    },
  };
}

/** The jobs as one lane per team and priority, each in the order of its jobs. */
function lanesOf(
  jobs: readonly Job[],
  accounts: ReadonlyMap<string, Account>,
  held: ReadonlySet<string>,
  now: number,
): Lane[] {
  const lanes = new Map<string, Lane>();
  for (const job of jobs) {
    const account = accounts.get(job.team);
    if (!account) continue;
    const name = `${job.priority} ${job.team}`;
    const lane = lanes.get(name);
    if (lane) lane.jobs.push(job);
    else lanes.set(name, { account, jobs: [job], at: 0, level: 0, share: 0 });
  }
  const rank = (job: Job) => (held.has(job.id) ? 0 : job.kind === "serve" ? 1 : job.begun ? 2 : 3);
  for (const lane of lanes.values()) {
    const latest = new Map<Job, number>();
    for (const job of lane.jobs) if (job.deadline !== null) latest.set(job, urgentStart(job, now));
    const urgency = (job: Job) => latest.get(job) ?? Number.POSITIVE_INFINITY;
    lane.jobs.sort(
      (a, b) =>
        rank(a) - rank(b) || compare(urgency(a), urgency(b)) || a.queuedAt - b.queuedAt || (a.id < b.id ? -1 : 1),
    );
  }
  return [...lanes.values()];
}

/**
 * Sorts jobs into a queue. The order of teams changes while their jobs start: `next` uses the current accounts.
 * @param held jobs with a reservation, which come first within their priority
 */
export function lineUp(
  jobs: readonly Job[],
  accounts: ReadonlyMap<string, Account>,
  held: ReadonlySet<string>,
  now: number,
): Queue {
  const nextOf = (lane: Lane) => lane.jobs[lane.at] as Job;
  const rank = (job: Job) => (held.has(job.id) ? 0 : job.kind === "serve" ? 1 : 2);
  const before = (a: Lane, b: Lane): boolean => {
    const [x, y] = [nextOf(a), nextOf(b)];
    const order = b.level - a.level || rank(x) - rank(y) || compare(a.share, b.share) || x.queuedAt - y.queuedAt;
    return order === 0 ? x.id < y.id : order < 0;
  };
  // Aging applies only to the first job of a lane.
  const refresh = (lane: Lane, first: boolean) => {
    const job = nextOf(lane);
    lane.level = first ? levelOf(job, now) : job.priority;
    lane.share = lane.account.share;
  };
  const lanes = lanesOf(jobs, accounts, held, now);
  for (const lane of lanes) refresh(lane, true);
  const heap = heapOf(lanes, before);
  return {
    next() {
      for (;;) {
        const lane = heap.first();
        if (!lane) return null;
        // Its team started a job since then, so another team may be next.
        if (lane.share !== lane.account.share) {
          lane.share = lane.account.share;
          heap.update();
          continue;
        }
        const job = nextOf(lane);
        lane.at++;
        if (lane.at < lane.jobs.length) {
          refresh(lane, false);
          heap.update();
        } else heap.remove();
        return { job, account: lane.account };
      }
    },
  };
}
