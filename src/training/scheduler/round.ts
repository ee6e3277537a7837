/** One round of the scheduler as a pure function: who begins where, who makes room, who waits for what. */

import {
  everFits,
  fitsHost,
  freeIn,
  keep,
  occupy,
  openRoom,
  type Place,
  place,
  type Room,
  soonest,
} from "./capacity.ts";
import { type Account, charge, lineUp, openAccount } from "./order.ts";
import { makeRoom } from "./preemption.ts";
import {
  type Input,
  type Job,
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
/** Rooms kept at a time, and how many of them for work on several GPUs: each may leave cards idle for a while. */
const KEPT = 16;
const KEPT_GANGS = 4;
/** Jobs asked to make room in one round. */
const YIELDS = 16;
/** What comes free by itself so soon is waited for rather than taken. */
const SOON_MS = 5 * 60_000;

const wait = (code: WaitCode, more: Partial<Wait> = {}): Wait => ({
  code,
  until: null,
  host: null,
  at: null,
  behind: [],
  madeWay: false,
  ...more,
});

/** GPU-hours that work of this length still uses before the month ends; a length nobody knows counts nothing. */
function hoursOf(job: Job, length: Span, input: Input): number {
  if (length.high === null) return 0;
  return (job.wants.gpus * Math.min(length.high, Math.max(0, input.monthEnds - input.now))) / HOUR;
}

/** What keeps a job from beginning whatever is free; null = nothing. */
function gate(job: Job, account: Account, input: Input, windows: Map<string, number | null>): Wait | null {
  const { now } = input;
  if (job.ending) return wait("ending");
  if (job.startAfter !== null && job.startAfter > now) return wait("not_before", { until: job.startAfter });
  if (job.retryAt > now) return wait("retry", { until: job.retryAt });
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
    // One that could never fit into a month is let begin while there is something left, and goes on next month.
    const needs = Math.min(hoursOf(job, job.estimate, input), team.monthGpuHours - team.usedThisMonth);
    if (left <= 0 || needs > left) return wait("quota_hours", { until: input.monthEnds });
  }
  return null;
}

/**
 * Running work that may no longer go on where it is: its window closed, its host is drained, its team's hours are used
 * up.
 */
function mustYield(input: Input, accounts: ReadonlyMap<string, Account>): Round["yields"] {
  const states = new Map(input.capacity.hosts.map((host) => [host.id, host.state]));
  const yields: Round["yields"] = [];
  for (const { job, hostId, yieldable, yielding } of input.running) {
    if (!yieldable || yielding) continue;
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
    if (cause) yields.push({ jobId: job.id, cause, forJob: null });
  }
  return yields;
}

/** Who holds what the job waits for: those that end soonest first. */
function holdersFor(room: Room, job: Job, kept: Reservation | null): string[] {
  if (job.wants.gpus === 0) {
    const slot = slotOf(job.kind);
    const like = room.running.filter((one) => one.job.wants.gpus === 0 && slotOf(one.job.kind) === slot);
    return like
      .sort((a, b) => a.left.low - b.left.low)
      .slice(0, 5)
      .map((one) => one.job.id);
  }
  const cards = (kept?.gpus ?? []).flatMap((uuid) => room.cards.get(uuid) ?? []);
  const held = cards.filter((card) => card.free <= 0).sort((a, b) => freeIn(a).low - freeIn(b).low);
  return [...new Set(held.flatMap((card) => card.holders.map((one) => one.job.id)))].slice(0, 5);
}

/** Decides one round. The same input gives the same answer. */
export function schedule(input: Input): Round {
  const { now } = input;
  const room = openRoom(input.capacity, input.running);
  const accounts = new Map(input.teams.map((team) => [team.id, openAccount(team)]));
  for (const { job, left } of input.running) {
    const account = accounts.get(job.team);
    if (account) charge(account, job, hoursOf(job, left, input));
  }
  const round: Round = {
    starts: [],
    waits: new Map(),
    reservations: [],
    order: [],
    nextAt: null,
    yields: mustYield(input, accounts),
  };
  const asked = new Set(round.yields.map((one) => one.jobId));
  const old = new Map(input.reservations.map((one) => [one.jobId, one.hostId]));
  const windows = new Map<string, number | null>();
  const failed = new Map<string, { wait: Wait; high: number }>();
  let gangs = 0;

  const begin = (job: Job, account: Account, { hostId, gpus, backfills }: Place) => {
    round.starts.push({ jobId: job.id, hostId, gpus, backfills });
    const work: Running = {
      job,
      hostId,
      gpus,
      startedAt: now,
      left: job.estimate,
      yieldable: false,
      yielding: false,
    };
    occupy(room, work);
    charge(account, job, hoursOf(job, job.estimate, input));
  };

  /** Nothing is free: room is kept, or made, for the first of its kind. */
  const blocked = (job: Job): Wait => {
    if (!everFits(room, job)) return wait("never");
    const gang = job.wants.gpus > 1;
    const keeps = job.wants.gpus > 0 && round.reservations.length < KEPT && (!gang || gangs < KEPT_GANGS);
    let reservation = keeps ? soonest(room, job, old.get(job.id) ?? null) : null;
    let madeWay = false;
    const soon = reservation?.at.high ?? Number.POSITIVE_INFINITY;
    if (soon > SOON_MS && round.yields.length < YIELDS) {
      const way = makeRoom(room, job, asked, now);
      for (const jobId of way?.victims ?? []) {
        asked.add(jobId);
        round.yields.push({ jobId, cause: "priority", forJob: job.id });
      }
      madeWay = way !== null;
      if (way?.reservation && keeps) reservation = way.reservation;
    }
    if (reservation) {
      keep(room, reservation);
      round.reservations.push(reservation);
      if (gang) gangs++;
    }
    const away =
      !reservation && !room.capacity.hosts.some((host) => host.state === "ready" && fitsHost(room, host, job));
    if (away) return wait("hosts_away");
    const free = place(room, job, true);
    const behind = free
      ? [...new Set(free.gpus.flatMap((uuid) => room.cards.get(uuid)?.kept?.jobId ?? []))].filter((id) => id !== job.id)
      : holdersFor(room, job, reservation);
    return wait(free && behind.length > 0 ? "reserved" : "capacity", {
      behind,
      madeWay,
      host: reservation?.hostId ?? null,
      at: reservation?.at ?? null,
    });
  };

  const line = lineUp(input.queued, accounts, new Set(old.keys()), now);
  for (let next = line.next(); next; next = line.next()) {
    const { job, account } = next;
    round.order.push(job.id);
    const closed = gate(job, account, input, windows);
    if (closed) {
      round.waits.set(job.id, closed);
      continue;
    }
    // What failed for one fails for all like it, unless this one is short enough for room that is only kept.
    const kind = `${job.priority} ${job.noRent} ${job.shape}`;
    const before = failed.get(kind);
    const high = job.estimate.high ?? Number.POSITIVE_INFINITY;
    if (before && high >= before.high && !old.has(job.id)) {
      round.waits.set(job.id, before.wait);
      continue;
    }
    const found = place(room, job);
    if (found) begin(job, account, found);
    else {
      const why = blocked(job);
      round.waits.set(job.id, why);
      failed.set(kind, {
        wait: { ...why, host: null, at: null, madeWay: false },
        high: why.code === "reserved" ? high : 0,
      });
    }
  }
  round.nextAt = nextMoment(input, round, windows, accounts);
  return round;
}

/**
 * When time alone changes something: a wait that ends, a window that closes over running work, hours of a quota that
 * run out.
 */
function nextMoment(
  input: Input,
  round: Round,
  windows: ReadonlyMap<string, number | null>,
  accounts: ReadonlyMap<string, Account>,
): number | null {
  const moments: number[] = [];
  for (const { until } of round.waits.values()) if (until !== null) moments.push(until);
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
