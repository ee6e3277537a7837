/**
 * Input and output of the scheduler: plain data, without clock or database. Times in milliseconds since 1970, durations
 * in milliseconds.
 */
import type { JobKind } from "../../contract/spec.ts";
import type { BurstPolicy } from "../../lib/text/burst-policy.ts";

/** Range of a duration. `high` null = unknown. */
export interface Span {
  low: number;
  high: number | null;
}

export const UNKNOWN: Span = { low: 0, high: null };

/**
 * Hours of the day in which a job may run. A window with `from` after `until` ends on the next day; `days` are those on
 * which it opens.
 */
export interface DailyWindow {
  /** `HH:MM`, local time of `tz`. */
  from: string;
  until: string;
  /** IANA name, such as `Europe/Berlin`. */
  tz: string;
  /** 0 = Sunday; absent = every day. */
  days?: number[];
}

/** The slot of a job without GPUs; endpoints have their own. */
type Slot = "train" | "serve";
export const slotOf = (kind: JobKind): Slot => (kind === "serve" ? "serve" : "train");

export interface Gpu {
  /** `GPU-…`, or `MIG-…` for a slice, which only runs jobs on a single GPU. */
  uuid: string;
  model: string;
  memoryMb: number;
  /** Jobs that may share it; 1 by default. */
  shares: number;
}

export interface Host {
  id: string;
  provider: string;
  state: "ready" | "cordoned" | "draining" | "silent";
  cpus: number;
  memoryMb: number;
  gpus: readonly Gpu[];
  /**
   * The pool that counts its slots for jobs without GPUs. Hosts on the server's machine share a pool; others have their
   * own, named like the host. Null = no limit.
   */
  pool: string | null;
  /** Its capacity is only known from offers (rented machines), so any job may try it. */
  ask: boolean;
  /** Why it is not ready, in words, where that is known. */
  why?: string;
  /** Its provider charges for it. */
  rented?: boolean;
}

/** All hosts, preferred ones first. */
export interface Capacity {
  hosts: readonly Host[];
  pools: Readonly<Record<string, Readonly<Record<Slot, number>>>>;
}

/** Memory in MiB. */
export interface Wants {
  gpus: number;
  gpuMemoryMb: number;
  cpus: number;
  memoryMb: number;
  provider: string | null;
}

export interface Job {
  id: string;
  team: string;
  kind: JobKind;
  /** -100 to 100, 0 is normal. */
  priority: number;
  queuedAt: number;
  /** Earliest start set by its owner; null = none. */
  startAfter: number | null;
  /** Earliest retry. */
  retryAt: number;
  window: DailyWindow | null;
  /** When it should end, as set by its owner. */
  deadline: number | null;
  wants: Wants;
  estimate: Span;
  /** See `shapeOf`. */
  shape: string;
  /** It ran before; such jobs go first within their team. */
  begun: boolean;
  /** The work of its last attempt is still being terminated. */
  ending: boolean;
  /** Providers that are asked for offers can never run it. */
  noRent: boolean;
  /** Why it may not run: its account or organization is suspended or about to be deleted; absent = it may. */
  held?: string;
  /** Why a budget keeps it from running; absent = none does. */
  overBudget?: string;
  /** Why it may not start on a rented machine: an invoice of its team is unpaid; absent = it may. */
  late?: string;
  /** Its data stays on the server's machine, so it runs on no other. */
  hereOnly?: boolean;
  /** Own machines that are asked for offers can never run it. */
  noOwnAsk?: boolean;
  /** Providers that had nothing for it, and when each may be asked again; absent = none. */
  closed?: ReadonlyMap<string, number>;
  /** Its own burst policy; absent or null = as its team does. */
  policy?: BurstPolicy | null;
  /** Where its burst policy lets it start; absent = anywhere, own machines first. */
  burst?: BurstMark;
  /** Why its burst policy makes it stay or leave, as a sentence; absent = not decided. */
  burstWhy?: string;
}

/**
 * `own`: never on rented machines. `stays`: on own machines for now. `leaves`: on rented machines. `compares`: nowhere
 * until offers are compared.
 */
export type BurstMark = "own" | "stays" | "leaves" | "compares";

/** A job that uses capacity. */
export interface Running {
  job: Job;
  /** Null when its host is unknown. */
  hostId: string | null;
  gpus: readonly string[];
  startedAt: number;
  left: Span;
  /** It can save a checkpoint and release its capacity. */
  preemptible: boolean;
  /** It can be asked to stop: what cannot save a checkpoint begins again later. */
  stoppable?: boolean;
  /** It is being preempted. */
  preempting: boolean;
  /** Why nothing may run at its provider now; absent = it may. */
  providerStops?: string;
}

/** The fair share and limits of an organization. Usage in GPU-hours. */
export interface Team {
  id: string;
  /** Share weight: a team with weight 2 gets twice as much as one with weight 1. */
  weight: number;
  /** Recent usage, older usage counting less; running jobs up to now included. */
  used: number;
  /** Limits; null = none. */
  maxGpus: number | null;
  monthGpuHours: number | null;
  usedThisMonth: number;
}

/** GPUs reserved for a waiting job. */
export interface Reservation {
  jobId: string;
  hostId: string;
  gpus: readonly string[];
  /** When they will be free. */
  at: Span;
}

export interface Input {
  now: number;
  /** Start of the next month, when the GPU-hour limits reset. */
  monthEnds: number;
  capacity: Capacity;
  running: readonly Running[];
  queued: readonly Job[];
  teams: readonly Team[];
  /** Reservations of the previous round; their jobs keep their position. */
  reservations: readonly Reservation[];
  /** Windows that have not ended, the next one first. */
  maintenance: readonly Maintenance[];
}

/** A time in which the installation starts no jobs. */
export interface Maintenance {
  from: number;
  until: number;
  /** Jobs without an estimate do not start for this long before it. */
  leadMs: number;
  /** What trainings do before it that cannot end in time: wait, or start and be preempted. */
  trainings: "wait" | "interrupt";
  /** Whether endpoints stop in it. */
  endpoints: "stay" | "stop";
}

interface Start {
  jobId: string;
  hostId: string;
  gpus: readonly string[];
  /** The job whose reserved capacity is used until it is needed. */
  backfills: string | null;
}

/** A job to preempt. `forJob` is set with cause `priority`. */
export interface Preemption {
  jobId: string;
  cause: "priority" | "window" | "drain" | "quota" | "held" | "budget" | "provider" | "maintenance";
  forJob: string | null;
  /** The reason in words, with the causes `budget` and `provider`. */
  why?: string;
}

export type WaitCode =
  | "ending"
  | "held"
  | "budget"
  | "retry"
  | "not_before"
  | "window"
  | "maintenance"
  | "quota_gpus"
  | "quota_gpus_never"
  | "quota_hours"
  | "capacity"
  | "reserved"
  | "hosts_away"
  | "burst"
  | "never";

export interface Wait {
  code: WaitCode;
  /** When the wait ends, if known. */
  until: number | null;
  /** When the maintenance begins that it waits for. */
  from: number | null;
  /** The host with its reservation, and when the GPUs there will be free. */
  host: string | null;
  at: Span | null;
  /** Jobs that use what it waits for, or that have it reserved. */
  behind: readonly string[];
  /** A running job is preempted for it. */
  preempts: boolean;
}

export interface Round {
  starts: Start[];
  preemptions: Preemption[];
  waits: Map<string, Wait>;
  reservations: Reservation[];
  /** Queued jobs in scheduling order. */
  order: string[];
  /** Earliest time at which the result changes without an event; null = never. */
  nextAt: number | null;
}

/** Jobs with the same shape can run in the same places. */
export function shapeOf(kind: JobKind, wants: Wants): string {
  const { gpus, gpuMemoryMb, cpus, memoryMb, provider } = wants;
  return `${slotOf(kind)} ${gpus} ${gpuMemoryMb} ${cpus} ${memoryMb} ${provider ?? ""}`;
}
