/**
 * The capacity of the cluster in one scheduling round: what is free, who uses the rest and until when, and what is
 * reserved for whom.
 */
import { type Capacity, type Gpu, type Host, type Job, type Reservation, type Running, slotOf } from "./types.ts";

/** A GPU and its free shares. */
export interface Device {
  gpu: Gpu;
  free: number;
  holders: Running[];
  reservation: Reservation | null;
}

/** Equal GPUs in one host: jobs on several GPUs get equal ones. */
export interface Group {
  host: Host;
  memoryMb: number;
  slice: boolean;
  devices: Device[];
}

export interface Cluster {
  capacity: Capacity;
  hosts: Map<string, Host>;
  groups: Group[];
  devices: Map<string, Device>;
  /** Free slots by pool and kind. */
  slots: Map<string, { train: number; serve: number }>;
  running: readonly Running[];
  now: number;
  /** How many more jobs may ask providers for offers in this round. */
  asks: number;
}

export interface Place {
  hostId: string;
  gpus: string[];
  /** The job whose reserved capacity it uses meanwhile. */
  backfills: string | null;
}

/** Jobs that may ask for offers per round, because offers need network calls. */
const ASKS = 8;
/** Time a preempted job may take to save its checkpoint and stop. */
export const PREEMPTION_MS = 120_000;

/** The capacity at the beginning of a round, with the running jobs placed. */
export function openCluster(capacity: Capacity, running: readonly Running[], now: number): Cluster {
  const cluster: Cluster = {
    capacity,
    hosts: new Map(capacity.hosts.map((host) => [host.id, host])),
    groups: [],
    devices: new Map(),
    slots: new Map(Object.entries(capacity.pools).map(([pool, { train, serve }]) => [pool, { train, serve }])),
    running,
    now,
    asks: ASKS,
  };
  for (const host of capacity.hosts) {
    const kinds = new Map<string, Group>();
    for (const gpu of host.gpus) {
      const kind = `${gpu.model} ${gpu.memoryMb}`;
      const group = kinds.get(kind) ?? {
        host,
        memoryMb: gpu.memoryMb,
        slice: gpu.uuid.startsWith("MIG-"),
        devices: [],
      };
      kinds.set(kind, group);
      const device: Device = { gpu, free: gpu.shares, holders: [], reservation: null };
      group.devices.push(device);
      cluster.devices.set(gpu.uuid, device);
    }
    cluster.groups.push(...kinds.values());
  }
  // Small GPUs first: the large ones stay free for jobs that need them.
  cluster.groups.sort((a, b) => a.memoryMb - b.memoryMb);
  for (const one of running) occupy(cluster, one);
  return cluster;
}

/** Adds running work to the GPUs or slot that it uses. */
export function occupy(cluster: Cluster, one: Running): void {
  for (const uuid of one.gpus) {
    const device = cluster.devices.get(uuid);
    if (!device) continue;
    device.free--;
    device.holders.push(one);
  }
  const host = one.hostId === null ? undefined : cluster.hosts.get(one.hostId);
  if (one.job.wants.gpus === 0 && host?.pool) {
    const slots = cluster.slots.get(host.pool);
    if (slots) slots[slotOf(one.job.kind)]--;
  }
}

/** Whether the host could run the job if it were empty and ready, GPUs aside. */
export function suits(host: Host, job: Job): boolean {
  const { wants } = job;
  if (wants.provider !== null && host.provider !== wants.provider) return false;
  // An endpoint listens on a socket of the server's machine; a host with a pool of its own is another machine.
  if (job.kind === "serve" && host.pool === host.id) return false;
  // Every host on the server's machine is in the pool `local`.
  if (job.hereOnly && host.pool !== "local") return false;
  if (job.burst === "own" && host.rented) return false;
  // Providers without a pool rent machines; the others have their own.
  if (host.ask) return !job.noRent && (host.rented || !job.noOwnAsk) && (job.late === undefined || host.pool !== null);
  return wants.cpus <= host.cpus && wants.memoryMb <= host.memoryMb;
}

/** Whether the burst policy lets the job start there now. */
export function burstAllows({ rented = false }: Host, { burst }: Job): boolean {
  if (burst === undefined) return true;
  return rented ? burst === "leaves" : burst === "own" || burst === "stays";
}

/** When a provider may be asked for a job again that had nothing for it; 0 = now. */
export const asksAgainAt = ({ provider }: Host, { closed }: Job): number => closed?.get(provider) ?? 0;

/** When the first of the closed providers may be asked for a job again; null = it waits for none. */
export function opensFor(cluster: Cluster, job: Job): number | null {
  if (job.closed === undefined) return null;
  const moments = cluster.capacity.hosts
    .filter((host) => host.ask && host.state === "ready" && burstAllows(host, job) && suits(host, job))
    .map((host) => asksAgainAt(host, job))
    .filter((until) => until > cluster.now);
  return moments.length > 0 ? Math.min(...moments) : null;
}

const groupSuits = (group: Group, job: Job) =>
  suits(group.host, job) &&
  group.memoryMb >= job.wants.gpuMemoryMb &&
  group.devices.length >= job.wants.gpus &&
  !(group.slice && job.wants.gpus > 1);

/** Whether the host could run the job if it were empty, GPUs included. */
export function fitsHost(cluster: Cluster, host: Host, job: Job): boolean {
  if (host.ask || job.wants.gpus === 0) return suits(host, job);
  return cluster.groups.some((group) => group.host === host && groupSuits(group, job));
}

/** Whether any host, ready or not, could ever run the job. */
export function everFits(cluster: Cluster, job: Job): boolean {
  return cluster.capacity.hosts.some((host) => fitsHost(cluster, host, job));
}

/**
 * Whether the job may use a GPU. One that is reserved for another job: only if this job surely ends before the other
 * could start.
 */
function mayUse(device: Device, job: Job): boolean {
  const { reservation } = device;
  if (!reservation || reservation.jobId === job.id) return true;
  return job.estimate.high !== null && job.estimate.high <= reservation.at.low;
}

/** Where the job can start now; null = nowhere. */
export function place(cluster: Cluster, job: Job, ignoreReservations = false): Place | null {
  return (
    (job.wants.gpus > 0 ? placeOnGpus(cluster, job, ignoreReservations) : placeOnSlot(cluster, job)) ??
    placeByAsking(cluster, job)
  );
}

function placeOnGpus(cluster: Cluster, job: Job, ignoreReservations: boolean): Place | null {
  const { gpus } = job.wants;
  let best: { group: Group; devices: Device[]; borrowed: number; spare: number } | null = null;
  for (const group of cluster.groups) {
    if (group.host.state !== "ready" || !burstAllows(group.host, job) || !groupSuits(group, job)) continue;
    if (best && group.memoryMb > best.group.memoryMb && best.borrowed === 0) break;
    const free = group.devices.filter((device) => device.free > 0 && (ignoreReservations || mayUse(device, job)));
    if (free.length < gpus) continue;
    // GPUs reserved for others last; shared ones in use first, so that unused GPUs stay unused.
    const borrowed = (device: Device) => (device.reservation && device.reservation.jobId !== job.id ? 1 : 0);
    free.sort((a, b) => borrowed(a) - borrowed(b) || a.free - b.free);
    const devices = free.slice(0, gpus);
    const found = {
      group,
      devices,
      borrowed: devices.reduce((sum, device) => sum + borrowed(device), 0),
      spare: free.length - gpus,
    };
    // The tightest fit, so that large groups of free GPUs remain.
    const better =
      !best ||
      found.borrowed < best.borrowed ||
      (found.borrowed === best.borrowed && group.memoryMb === best.group.memoryMb && found.spare < best.spare);
    if (better) best = found;
  }
  if (!best) return null;
  const lender =
    best.devices.find((device) => device.reservation && device.reservation.jobId !== job.id)?.reservation?.jobId ??
    null;
  return { hostId: best.group.host.id, gpus: best.devices.map((device) => device.gpu.uuid), backfills: lender };
}

function placeOnSlot(cluster: Cluster, job: Job): Place | null {
  const slot = slotOf(job.kind);
  for (const host of cluster.capacity.hosts) {
    if (host.ask || host.state !== "ready" || !burstAllows(host, job) || !suits(host, job)) continue;
    if (host.pool === null || (cluster.slots.get(host.pool)?.[slot] ?? 0) > 0)
      return { hostId: host.id, gpus: [], backfills: null };
  }
  return null;
}

function placeByAsking(cluster: Cluster, job: Job): Place | null {
  if (cluster.asks <= 0) return null;
  const slot = slotOf(job.kind);
  for (const host of cluster.capacity.hosts) {
    if (!host.ask || host.state !== "ready" || !burstAllows(host, job) || !suits(host, job)) continue;
    if (asksAgainAt(host, job) > cluster.now) continue;
    if (host.pool !== null && (cluster.slots.get(host.pool)?.[slot] ?? 0) <= 0) continue;
    cluster.asks--;
    return { hostId: host.id, gpus: [], backfills: null };
  }
  return null;
}

/** Time until a GPU has a free share: the earliest end of the jobs that use it. */
export function freeIn(device: Device): { low: number; high: number } {
  if (device.free > 0) return { low: 0, high: 0 };
  let [low, high] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (const { left, preempting } of device.holders) {
    low = Math.min(low, preempting ? 0 : left.low);
    high = Math.min(high, preempting ? PREEMPTION_MS : (left.high ?? Number.POSITIVE_INFINITY));
  }
  return { low, high };
}

/**
 * The GPUs that become free together soonest for a job, and when; null when no ready host has enough. `prefer`: the
 * host of its current reservation, which it keeps.
 */
export function soonest(cluster: Cluster, job: Job, prefer: string | null): Reservation | null {
  const { gpus } = job.wants;
  let best: { reservation: Reservation; low: number; high: number } | null = null;
  for (const group of cluster.groups) {
    if (group.host.state !== "ready" || !groupSuits(group, job)) continue;
    const usable = group.devices.filter((device) => !device.reservation || device.reservation.jobId === job.id);
    if (usable.length < gpus) continue;
    const candidates = usable.map((device) => ({ device, ...freeIn(device) }));
    candidates.sort((a, b) => compare(a.high, b.high) || compare(a.low, b.low));
    const chosen = candidates.slice(0, gpus);
    const low = Math.max(...chosen.map((one) => one.low));
    const high = Math.max(...chosen.map((one) => one.high));
    const preferred = group.host.id === prefer;
    if (best && best.reservation.hostId === prefer && !preferred) continue;
    if (best && !preferred && (compare(high, best.high) || compare(low, best.low)) >= 0) continue;
    if (best && preferred && best.reservation.hostId === prefer && compare(high, best.high) >= 0) continue;
    const at = { low, high: Number.isFinite(high) ? high : null };
    const uuids = chosen.map(({ device }) => device.gpu.uuid);
    best = { reservation: { jobId: job.id, hostId: group.host.id, gpus: uuids, at }, low, high };
  }
  return best?.reservation ?? null;
}

/** Compares numbers; two infinities are equal. */
export const compare = (a: number, b: number) => (a === b ? 0 : a < b ? -1 : 1);

/** Reserves the GPUs of a reservation for its job. */
export function reserve(cluster: Cluster, reservation: Reservation): void {
  for (const uuid of reservation.gpus) {
    const device = cluster.devices.get(uuid);
    if (device) device.reservation = reservation;
  }
}
