/**
 * What the scheduler takes and gives: plain data. Times in milliseconds since 1970, lengths in milliseconds; it reads
 * no clock and no database.
 */
import type { JobKind } from "../../contract/spec.ts";

/** How long something may take: at least `low`, at most `high`; `high` null = nobody knows. */
export interface Span {
  low: number;
  high: number | null;
}

export const UNKNOWN: Span = { low: 0, high: null };

/**
 * Hours of the day in which a job may run. `from` after `until` goes over midnight; then `days` are those on which it
 * begins.
 */
export interface DailyWindow {
  /** `HH:MM`, local time of `tz`. */
  from: string;
  until: string;
  /** IANA name, such as `Europe/Berlin`. */
  tz: string;
  /** 0 = Sunday; left out = every day. */
  days?: number[];
}

/** Room a job without GPUs takes: endpoints have slots of their own. */
type Slot = "train" | "serve";
export const slotOf = (kind: JobKind): Slot => (kind === "serve" ? "serve" : "train");

export interface Gpu {
  /** `GPU-…`, or `MIG-…` for a slice, which serves work of one GPU alone. */
  uuid: string;
  model: string;
  memoryMb: number;
  /** Jobs that may hold it at once: 1 unless its administrator said otherwise. */
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
   * Where its slots for work without GPUs are counted; hosts of the server's machine share a pool, others have one
   * named like them. Null = no limit.
   */
  pool: string | null;
  /** What it has is only known by asking its providers for offers (rented machines): any job may try it. */
  ask: boolean;
}

/** All there is to give, those to prefer first. */
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
  /** Its owner wants it to wait until then; null = no. */
  startAfter: number | null;
  /** It is tried again from then on. */
  retryAt: number;
  window: DailyWindow | null;
  /** When its owner wants it done. */
  deadline: number | null;
  wants: Wants;
  estimate: Span;
  /** See `shapeOf`. */
  shape: string;
  /** It ran before: what was begun is finished first within its team. */
  begun: boolean;
  /** The work of its last attempt still ends somewhere. */
  ending: boolean;
  /** Providers that are asked have said that they can never run it. */
  noRent: boolean;
}

/** Work that holds something. */
export interface Running {
  job: Job;
  /** Null when its host is no longer known. */
  hostId: string | null;
  gpus: readonly string[];
  startedAt: number;
  left: Span;
  /** It can save a checkpoint and let go. */
  yieldable: boolean;
  /** It has been asked to. */
  yielding: boolean;
}

/** An organization in the queue. Usage in GPU-hours. */
export interface Team {
  id: string;
  /** A team of weight 2 is due twice as much as one of weight 1. */
  weight: number;
  /** Used lately, with what is older counting less; running work up to now included. */
  used: number;
  /** Quotas; null = none. */
  maxGpus: number | null;
  monthGpuHours: number | null;
  usedThisMonth: number;
}

/** GPUs kept for a job that needs more of them than are free together. */
export interface Reservation {
  jobId: string;
  hostId: string;
  gpus: readonly string[];
  /** When they should be free. */
  at: Span;
}

export interface Input {
  now: number;
  /** First moment of the next month, when the hours of quotas begin anew. */
  monthEnds: number;
  capacity: Capacity;
  running: readonly Running[];
  queued: readonly Job[];
  teams: readonly Team[];
  /** Those of the round before: a job that has one keeps its place. */
  reservations: readonly Reservation[];
}

interface Start {
  jobId: string;
  hostId: string;
  gpus: readonly string[];
  /** Room kept for this job is used until it is needed. */
  backfills: string | null;
}

/** Why a running job shall save and let go. `forJob` with cause `priority`. */
export interface Yield {
  jobId: string;
  cause: "priority" | "window" | "drain" | "quota";
  forJob: string | null;
}

export type WaitCode =
  | "ending"
  | "retry"
  | "not_before"
  | "window"
  | "quota_gpus"
  | "quota_gpus_never"
  | "quota_hours"
  | "capacity"
  | "reserved"
  | "hosts_away"
  | "never";

export interface Wait {
  code: WaitCode;
  /** When that is over, where it is known. */
  until: number | null;
  /** The host it is to run on, with the time its GPUs should be free. */
  host: string | null;
  at: Span | null;
  /** Jobs that hold what it waits for, or that room is kept for. */
  behind: readonly string[];
  /** A running job was asked to make room. */
  madeWay: boolean;
}

export interface Round {
  starts: Start[];
  yields: Yield[];
  waits: Map<string, Wait>;
  reservations: Reservation[];
  /** Queued jobs in the order they were looked at. */
  order: string[];
  /** Earliest moment at which time alone changes anything; null = never. */
  nextAt: number | null;
}

/** Jobs of one shape can run in the same places. */
export function shapeOf(kind: JobKind, wants: Wants): string {
  const { gpus, gpuMemoryMb, cpus, memoryMb, provider } = wants;
  return `${slotOf(kind)} ${gpus} ${gpuMemoryMb} ${cpus} ${memoryMb} ${provider ?? ""}`;
}
