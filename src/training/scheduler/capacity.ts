/**
 * The scheduler's book of one round: what is free where, who holds the rest and until when, and what is kept for whom.
 */
import { type Capacity, type Gpu, type Host, type Job, type Reservation, type Running, slotOf } from "./types.ts";

/** One card with what is free of it now. */
export interface Card {
  gpu: Gpu;
  free: number;
  holders: Running[];
  kept: Reservation | null;
}

/** Cards of one kind in one host: work on several GPUs gets equal ones. */
export interface Group {
  host: Host;
  memoryMb: number;
  slice: boolean;
  cards: Card[];
}

export interface Room {
  capacity: Capacity;
  hosts: Map<string, Host>;
  groups: Group[];
  cards: Map<string, Card>;
  /** Free slots by pool and kind. */
  slots: Map<string, { train: number; serve: number }>;
  running: readonly Running[];
  /** How many more jobs may ask the providers whose room is not known. */
  asks: number;
}

export interface Place {
  hostId: string;
  gpus: string[];
  /** The job whose kept room it uses meanwhile. */
  backfills: string | null;
}

/** Offers are asked for over the network: so many jobs at a time. */
const ASKS = 8;
/** Time a job that was asked to save and let go may take. */
export const YIELD_MS = 120_000;

export function openRoom(capacity: Capacity, running: readonly Running[]): Room {
  const room: Room = {
    capacity,
    hosts: new Map(capacity.hosts.map((host) => [host.id, host])),
    groups: [],
    cards: new Map(),
    slots: new Map(Object.entries(capacity.pools).map(([pool, { train, serve }]) => [pool, { train, serve }])),
    running,
    asks: ASKS,
  };
  for (const host of capacity.hosts) {
    const kinds = new Map<string, Group>();
    for (const gpu of host.gpus) {
      const kind = `${gpu.model} ${gpu.memoryMb}`;
      const group = kinds.get(kind) ?? { host, memoryMb: gpu.memoryMb, slice: gpu.uuid.startsWith("MIG-"), cards: [] };
      kinds.set(kind, group);
      const card: Card = { gpu, free: gpu.shares, holders: [], kept: null };
      group.cards.push(card);
      room.cards.set(gpu.uuid, card);
    }
    room.groups.push(...kinds.values());
  }
  // Small cards first: the large ones stay for those who need them.
  room.groups.sort((a, b) => a.memoryMb - b.memoryMb);
  for (const one of running) occupy(room, one);
  return room;
}

/** Writes down that `one` holds what it holds. */
export function occupy(room: Room, one: Running): void {
  for (const uuid of one.gpus) {
    const card = room.cards.get(uuid);
    if (!card) continue;
    card.free--;
    card.holders.push(one);
  }
  const host = one.hostId === null ? undefined : room.hosts.get(one.hostId);
  if (one.job.wants.gpus === 0 && host?.pool) {
    const slots = room.slots.get(host.pool);
    if (slots) slots[slotOf(one.job.kind)]--;
  }
}

/** Whether the host could run the job if it were empty and ready. */
export function suits(host: Host, job: Job): boolean {
  const { wants } = job;
  if (wants.provider !== null && host.provider !== wants.provider) return false;
  // An endpoint answers on a socket of the server's own machine; a host that shares no pool is another.
  if (job.kind === "serve" && host.pool === host.id) return false;
  if (host.ask) return !job.noRent;
  return wants.cpus <= host.cpus && wants.memoryMb <= host.memoryMb;
}

const groupSuits = (group: Group, job: Job) =>
  suits(group.host, job) &&
  group.memoryMb >= job.wants.gpuMemoryMb &&
  group.cards.length >= job.wants.gpus &&
  !(group.slice && job.wants.gpus > 1);

/** Whether the host could run the job if it were empty. */
export function fitsHost(room: Room, host: Host, job: Job): boolean {
  if (host.ask || job.wants.gpus === 0) return suits(host, job);
  return room.groups.some((group) => group.host === host && groupSuits(group, job));
}

/** Whether any host, ready or not, could ever run it. */
export function everFits(room: Room, job: Job): boolean {
  return room.capacity.hosts.some((host) => fitsHost(room, host, job));
}

/**
 * Whether the job may use a card that is kept for another: only when it is surely gone before the other could begin.
 */
function mayUse(card: Card, job: Job): boolean {
  const { kept } = card;
  if (!kept || kept.jobId === job.id) return true;
  return job.estimate.high !== null && job.estimate.high <= kept.at.low;
}

/** Where the job can begin now; null = nowhere. With `ignoreKept` as if nothing were kept. */
export function place(room: Room, job: Job, ignoreKept = false): Place | null {
  return (job.wants.gpus > 0 ? placeOnGpus(room, job, ignoreKept) : placeOnSlot(room, job)) ?? placeByAsking(room, job);
}

function placeOnGpus(room: Room, job: Job, ignoreKept: boolean): Place | null {
  const { gpus } = job.wants;
  let best: { group: Group; cards: Card[]; borrowed: number; spare: number } | null = null;
  for (const group of room.groups) {
    if (group.host.state !== "ready" || !groupSuits(group, job)) continue;
    if (best && group.memoryMb > best.group.memoryMb && best.borrowed === 0) break;
    const free = group.cards.filter((card) => card.free > 0 && (ignoreKept || mayUse(card, job)));
    if (free.length < gpus) continue;
    // Cards kept for others last, shared ones that are in use already first: whole cards stay whole.
    const borrowed = (card: Card) => (card.kept && card.kept.jobId !== job.id ? 1 : 0);
    free.sort((a, b) => borrowed(a) - borrowed(b) || a.free - b.free);
    const cards = free.slice(0, gpus);
    const found = {
      group,
      cards,
      borrowed: cards.reduce((sum, card) => sum + borrowed(card), 0),
      spare: free.length - gpus,
    };
    // The tightest fit, so that holes large enough for many GPUs stay.
    const better =
      !best ||
      found.borrowed < best.borrowed ||
      (found.borrowed === best.borrowed && group.memoryMb === best.group.memoryMb && found.spare < best.spare);
    if (better) best = found;
  }
  if (!best) return null;
  const lender = best.cards.find((card) => card.kept && card.kept.jobId !== job.id)?.kept?.jobId ?? null;
  return { hostId: best.group.host.id, gpus: best.cards.map((card) => card.gpu.uuid), backfills: lender };
}

function placeOnSlot(room: Room, job: Job): Place | null {
  const slot = slotOf(job.kind);
  for (const host of room.capacity.hosts) {
    if (host.ask || host.state !== "ready" || !suits(host, job)) continue;
    if (host.pool === null || (room.slots.get(host.pool)?.[slot] ?? 0) > 0)
      return { hostId: host.id, gpus: [], backfills: null };
  }
  return null;
}

function placeByAsking(room: Room, job: Job): Place | null {
  if (room.asks <= 0) return null;
  const slot = slotOf(job.kind);
  for (const host of room.capacity.hosts) {
    if (!host.ask || !suits(host, job)) continue;
    if (host.pool !== null && (room.slots.get(host.pool)?.[slot] ?? 0) <= 0) continue;
    room.asks--;
    return { hostId: host.id, gpus: [], backfills: null };
  }
  return null;
}

/** When a card is free for one more job, from now: its soonest holder's end. */
export function freeIn(card: Card): { low: number; high: number } {
  if (card.free > 0) return { low: 0, high: 0 };
  let [low, high] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (const { left, yielding } of card.holders) {
    low = Math.min(low, yielding ? 0 : left.low);
    high = Math.min(high, yielding ? YIELD_MS : (left.high ?? Number.POSITIVE_INFINITY));
  }
  return { low, high };
}

/**
 * The cards that come free together soonest for a job, and when; null when no ready host could. `prefer` is a host it
 * keeps to.
 */
export function soonest(room: Room, job: Job, prefer: string | null): Reservation | null {
  const { gpus } = job.wants;
  let best: { reservation: Reservation; low: number; high: number } | null = null;
  for (const group of room.groups) {
    if (group.host.state !== "ready" || !groupSuits(group, job)) continue;
    const ours = group.cards.filter((card) => !card.kept || card.kept.jobId === job.id);
    if (ours.length < gpus) continue;
    const coming = ours.map((card) => ({ card, ...freeIn(card) }));
    coming.sort((a, b) => compare(a.high, b.high) || compare(a.low, b.low));
    const chosen = coming.slice(0, gpus);
    const low = Math.max(...chosen.map((one) => one.low));
    const high = Math.max(...chosen.map((one) => one.high));
    const kept = group.host.id === prefer;
    if (best && best.reservation.hostId === prefer && !kept) continue;
    if (best && !kept && (compare(high, best.high) || compare(low, best.low)) >= 0) continue;
    if (best && kept && best.reservation.hostId === prefer && compare(high, best.high) >= 0) continue;
    const at = { low, high: Number.isFinite(high) ? high : null };
    const uuids = chosen.map(({ card }) => card.gpu.uuid);
    best = { reservation: { jobId: job.id, hostId: group.host.id, gpus: uuids, at }, low, high };
  }
  return best?.reservation ?? null;
}

/** Numbers in order; two infinities are equal. */
export const compare = (a: number, b: number) => (a === b ? 0 : a < b ? -1 : 1);

/** Keeps the cards of a reservation for its job. */
export function keep(room: Room, reservation: Reservation): void {
  for (const uuid of reservation.gpus) {
    const card = room.cards.get(uuid);
    if (card) card.kept = reservation;
  }
}
