/** One scheduling round as a pure function: which jobs start where, which are preempted, and why the others wait. */

import {
  type Cluster,
  everFits,
  fitsHost,
  freeIn,
  occupy,
  openCluster,
  opensFor,
  type Place,
  place,
  reserve,
  soonest,
} from "./capacity.ts";
import { type Account, charge, lineUp, openAccount } from "./order.ts";
import { planPreemption } from "./preemption.ts";
import {
  type Host,
  type Input,
  type Job,
  type Maintenance,
  type Reservation,
  type Round,
  type Running,
  type Span,
  slotOf,
  type Wait,
  type WaitCode,
} from "./types.ts";
import { closesAt, isOpen, opensAt } from "./window.ts";

const HOUR = 3_600_000;
/** Limits for reservations, in total and for jobs on several GPUs: each may leave GPUs idle for a while. */
const MAX_RESERVATIONS = 16;
const MAX_GANG_RESERVATIONS = 4;
/** Jobs preempted per round. */
const MAX_PREEMPTIONS = 16;
/** Capacity that becomes free this soon is waited for, without preemption. */
const SOON_MS = 5 * 60_000;

const wait = (code: WaitCode, more: Partial<Wait> = {}): Wait => ({
  code,
  until: null,
  from: null,
  host: null,
  at: null,
  behind: [],
  preempts: false,
  ...more,
});

/** GPU-hours that work of this length uses before the month ends; 0 for an unknown length. */
function hoursOf(job: Job, length: Span, input: Input): number {
  if (length.high === null) return 0;
  return (job.wants.gpus * Math.min(length.high, Math.max(0, input.monthEnds - input.now))) / HOUR;
}

/** The maintenance that a job must wait for: it runs, or the job could not end before it. Null = none. */
function maintenanceFor(job: Job, { now, maintenance }: Input): Maintenance | null {
  const { high } = job.estimate;
  return (
    maintenance.find(({ from, until, leadMs, trainings, endpoints }) => {
      if (until <= now) return false;
      // Endpoints have no end: they may start until they are stopped.
      if (job.kind === "serve") return endpoints === "stop" && from <= now;
      if (from <= now) return true;
      if (job.kind === "train" && trainings === "interrupt") return false;
      return high === null ? from - now <= leadMs : now + high > from;
    }) ?? null
  );
}

/** What prevents a job from starting regardless of capacity; null = nothing. */
function gate(job: Job, account: Account, input: Input, windows: Map<string, number | null>): Wait | null {
  const { now } = input;
  if (job.ending) return wait("ending");
  if (job.held !== undefined) return wait("held");
  if (job.startAfter !== null && job.startAfter > now) return wait("not_before", { until: job.startAfter });
  if (job.retryAt > now) return wait("retry", { until: job.retryAt });
  if (job.overBudget !== undefined) return wait("budget");
  const closed = maintenanceFor(job, input);
  if (closed) return wait("maintenance", { from: closed.from, until: closed.until });
  if (job.window) {
    const key = JSON.stringify(job.window);
    let opens = windows.get(key);
    if (opens === undefined) {
      opens = isOpen(job.window, now) ? null : (opensAt(job.window, now) ?? Number.POSITIVE_INFINITY);
      windows.set(key, opens);
    }
    if (opens !== null) return wait("window", { until: Number.isFinite(opens) ? opens : null });
  }
  const { team } = account;
  const { gpus } = job.wants;
  if (gpus === 0) return null;
  if (team.maxGpus !== null) {
    if (gpus > team.maxGpus) return wait("quota_gpus_never");
    if (account.gpus + gpus > team.maxGpus) return wait("quota_gpus");
  }
  if (team.monthGpuHours !== null) {
    const left = team.monthGpuHours - team.usedThisMonth - account.promised;
    // A job longer than a month's quota may start while some of it is left, and continues next month.
    const needs = Math.min(hoursOf(job, job.estimate, input), team.monthGpuHours - team.usedThisMonth);
    if (left <= 0 || needs > left) return wait("quota_hours", { until: input.monthEnds });
  }
  return null;
}

/**
 * Running jobs that must stop: a maintenance runs, their account is suspended, a budget ends before their next
 * checkpoint, their window closed, their host is draining, or their team's GPU-hours are used up.
 */
function forcedPreemptions(input: Input, accounts: ReadonlyMap<string, Account>): Round["preemptions"] {
  const states = new Map(input.capacity.hosts.map((host) => [host.id, host.state]));
  const maintained = input.maintenance.some(({ from, until }) => from <= input.now && until > input.now);
  const preemptions: Round["preemptions"] = [];
  for (const { job, hostId, preemptible, stoppable, preempting, providerStops } of input.running) {
    const { held, overBudget } = job;
    const why = overBudget ?? providerStops;
    const worded = overBudget !== undefined ? "budget" : providerStops !== undefined ? "provider" : null;
    const stops = held !== undefined ? "held" : (worded ?? (maintained ? "maintenance" : null));
    if (stops && stoppable && !preempting) {
      preemptions.push({ jobId: job.id, cause: stops, forJob: null, ...(stops === worded ? { why } : {}) });
      continue;
    }
    if (!preemptible || preempting) continue;
    const team = accounts.get(job.team)?.team;
    const spent = team && team.monthGpuHours !== null && team.usedThisMonth >= team.monthGpuHours;
    const cause =
      hostId !== null && states.get(hostId) === "draining"
        ? "drain"
        : job.window && !isOpen(job.window, input.now)
          ? "window"
          : spent && job.wants.gpus > 0
            ? "quota"
            : null;
    if (cause) preemptions.push({ jobId: job.id, cause, forJob: null });
  }
  return preemptions;
}

/** The jobs that use what this job waits for, those that end soonest first. */
function holdersFor(cluster: Cluster, job: Job, reservation: Reservation | null): string[] {
  if (job.wants.gpus === 0) {
    const slot = slotOf(job.kind);
    const like = cluster.running.filter((one) => one.job.wants.gpus === 0 && slotOf(one.job.kind) === slot);
    return like
      .sort((a, b) => a.left.low - b.left.low)
      .slice(0, 5)
      .map((one) => one.job.id);
  }
  const devices = (reservation?.gpus ?? []).flatMap((uuid) => cluster.devices.get(uuid) ?? []);
  const held = devices.filter((device) => device.free <= 0).sort((a, b) => freeIn(a).low - freeIn(b).low);
  return [...new Set(held.flatMap((device) => device.holders.map((one) => one.job.id)))].slice(0, 5);
}

/** The state of one round while it is decided. */
interface Deciding {
  input: Input;
  cluster: Cluster;
  round: Round;
  /** Jobs preempted in this round. */
  asked: Set<string>;
  /** Host of the previous reservation, by job id. */
  held: ReadonlyMap<string, string>;
  /** Reservations for jobs on several GPUs. */
  gangs: number;
}

/** Starts a job at a place: it uses capacity, and counts for its team, for the rest of the round. */
function start({ input, cluster, round }: Deciding, job: Job, account: Account, at: Place): void {
  const { hostId, gpus, backfills } = at;
  round.starts.push({ jobId: job.id, hostId, gpus, backfills });
  const work: Running = {
    job,
    hostId,
    gpus,
    startedAt: input.now,
    left: job.estimate,
    preemptible: false,
    preempting: false,
  };
  occupy(cluster, work);
  charge(account, job, hoursOf(job, job.estimate, input));
}

/** Reserves capacity for a job that cannot start, and preempts others when that would take too long. */
function secureCapacity(deciding: Deciding, job: Job): { reservation: Reservation | null; preempts: boolean } {
  const { input, cluster, round, asked, held } = deciding;
  const gang = job.wants.gpus > 1;
  const mayReserve =
    job.wants.gpus > 0 &&
    round.reservations.length < MAX_RESERVATIONS &&
    (!gang || deciding.gangs < MAX_GANG_RESERVATIONS);
  let reservation = mayReserve ? soonest(cluster, job, held.get(job.id) ?? null) : null;
  let preempts = false;
  const freeAfter = reservation?.at.high ?? Number.POSITIVE_INFINITY;
  if (freeAfter > SOON_MS && round.preemptions.length < MAX_PREEMPTIONS) {
    const plan = planPreemption(cluster, job, asked, input.now);
    for (const jobId of plan?.victims ?? []) {
      asked.add(jobId);
      round.preemptions.push({ jobId, cause: "priority", forJob: job.id });
    }
    preempts = plan !== null;
    if (plan?.reservation && mayReserve) reservation = plan.reservation;
  }
  if (reservation) {
    reserve(cluster, reservation);
    round.reservations.push(reservation);
    if (gang) deciding.gangs++;
  }
  return { reservation, preempts };
}

/** Why a job waits for which nothing is free, after its capacity was reserved. */
function waitForCapacity(deciding: Deciding, job: Job): Wait {
  const { cluster } = deciding;
  if (!everFits(cluster, job)) return wait(job.late !== undefined ? "budget" : job.burst === "own" ? "burst" : "never");
  const until = opensFor(cluster, job);
  // It does not wait for own machines.
  if (job.burst === "leaves" || job.burst === "compares")
    return until === null ? wait("burst") : wait("retry", { until });
  const { reservation, preempts } = secureCapacity(deciding, job);
  const fits = (host: Host) => host.state === "ready" && fitsHost(cluster, host, job);
  if (!reservation && !cluster.capacity.hosts.some(fits)) return wait("hosts_away");
  const free = place(cluster, job, true);
  const reservedFor = free?.gpus.flatMap((uuid) => cluster.devices.get(uuid)?.reservation?.jobId ?? []);
  const behind = reservedFor
    ? [...new Set(reservedFor)].filter((id) => id !== job.id)
    : holdersFor(cluster, job, reservation);
  const code = until !== null ? "retry" : free && behind.length > 0 ? "reserved" : "capacity";
  return wait(code, {
    until,
    behind,
    preempts,
    host: reservation?.hostId ?? null,
    at: reservation?.at ?? null,
  });
}

/** The team accounts at the beginning of a round, with the running jobs charged. */
function openAccounts(input: Input): Map<string, Account> {
  const accounts = new Map(input.teams.map((team) => [team.id, openAccount(team)]));
  for (const { job, left } of input.running) {
    const account = accounts.get(job.team);
    if (account) charge(account, job, hoursOf(job, left, input));
  }
  return accounts;
}

/** Decides one round. The same input gives the same result. */
export function schedule(input: Input): Round {
  const cluster = openCluster(input.capacity, input.running, input.now);
  const accounts = openAccounts(input);
  const round: Round = {
    starts: [],
    waits: new Map(),
    reservations: [],
    order: [],
    nextAt: null,
    preemptions: forcedPreemptions(input, accounts),
  };
  const asked = new Set(round.preemptions.map((one) => one.jobId));
  const held = new Map(input.reservations.map((one) => [one.jobId, one.hostId]));
  const deciding: Deciding = { input, cluster, round, asked, held, gangs: 0 };
  const windows = new Map<string, number | null>();
  const failed = new Map<string, { wait: Wait; high: number }>();
  const queue = lineUp(input.queued, accounts, new Set(held.keys()), input.now);
  for (let next = queue.next(); next; next = queue.next()) {
    const { job, account } = next;
    round.order.push(job.id);
    const closed = gate(job, account, input, windows);
    if (closed) {
      round.waits.set(job.id, closed);
      continue;
    }
    // A job like one that could not start cannot start either, unless it is short enough to backfill.
    const kind = `${job.priority} ${job.noRent} ${job.late !== undefined} ${job.hereOnly === true} ${job.noOwnAsk === true} ${job.burst} ${job.shape} ${JSON.stringify([...(job.closed ?? [])])}`;
    const before = failed.get(kind);
    const high = job.estimate.high ?? Number.POSITIVE_INFINITY;
    if (before && high >= before.high && !held.has(job.id)) {
      round.waits.set(job.id, before.wait);
      continue;
    }
    const found = place(cluster, job);
    if (found) {
      start(deciding, job, account, found);
      continue;
    }
    const why = waitForCapacity(deciding, job);
    round.waits.set(job.id, why);
    const shared = { ...why, host: null, at: null, preempts: false };
    failed.set(kind, { wait: shared, high: why.code === "reserved" ? high : 0 });
  }
  round.nextAt = nextMoment(input, round, windows, accounts);
  return round;
}

/**
 * The next time at which the result changes without an event: a wait ends, the window of a running job closes, or a
 * quota of GPU-hours is used up.
 */
function nextMoment(
  input: Input,
  round: Round,
  windows: ReadonlyMap<string, number | null>,
  accounts: ReadonlyMap<string, Account>,
): number | null {
  const moments: number[] = [];
  for (const { until } of round.waits.values()) if (until !== null) moments.push(until);
  for (const { from, until } of input.maintenance) moments.push(from, until);
  for (const opens of windows.values()) if (opens !== null) moments.push(opens);
  for (const { job } of input.running)
    if (job.window && isOpen(job.window, input.now)) moments.push(closesAt(job.window, input.now) ?? 0);
  for (const { team, gpus } of accounts.values())
    if (team.monthGpuHours !== null && gpus > 0)
      moments.push(input.now + Math.ceil(((team.monthGpuHours - team.usedThisMonth) / gpus) * HOUR));
  let first: number | null = null;
  for (const moment of moments)
    if (moment > input.now && Number.isFinite(moment) && (first === null || moment < first)) first = moment;
  return first;
}
