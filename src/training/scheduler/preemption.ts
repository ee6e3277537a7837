/**
 * Which running jobs make room for one of higher priority: the lowest priority first, then as few GPUs as possible,
 * then the youngest; never one that is equal.
 */
import { type Card, compare, freeIn, type Group, type Room, suits, YIELD_MS } from "./capacity.ts";
import { type Job, type Reservation, type Running, slotOf } from "./types.ts";

/** A job is left alone for so long after it began: each stop costs it a checkpoint and a start. */
const SETTLE_MS = 10 * 60_000;

interface Way {
  victims: string[];
  /** Where the job will run; null for work without GPUs, which runs on any slot. */
  reservation: Reservation | null;
}

function mayGo(one: Running, job: Job, now: number): boolean {
  return one.yieldable && one.job.priority < job.priority && now - one.startedAt >= SETTLE_MS;
}

/** Lowest priority first, then the smallest, then the one that began last. */
const byCost = (a: Running, b: Running) =>
  a.job.priority - b.job.priority ||
  a.gpus.length - b.gpus.length ||
  b.startedAt - a.startedAt ||
  (a.job.id < b.job.id ? -1 : 1);

/**
 * A way to make room; null when there is none. No victims = enough was asked to go already. `asked` have been asked in
 * this round.
 */
export function makeRoom(room: Room, job: Job, asked: ReadonlySet<string>, now: number): Way | null {
  return job.wants.gpus > 0 ? clearCards(room, job, asked, now) : clearSlot(room, job, asked, now);
}

function clearSlot(room: Room, job: Job, asked: ReadonlySet<string>, now: number): Way | null {
  const slot = slotOf(job.kind);
  const here = room.running.filter((one) => {
    const host = one.hostId === null ? undefined : room.hosts.get(one.hostId);
    const ready = host && !host.ask && host.state === "ready" && suits(host, job);
    return ready && one.job.wants.gpus === 0 && slotOf(one.job.kind) === slot;
  });
  // One that goes already makes room for the first that waits for it; that one is looked at first.
  if (here.some((one) => one.yielding || asked.has(one.job.id))) return null;
  const [victim] = here.filter((one) => mayGo(one, job, now)).sort(byCost);
  return victim ? { victims: [victim.job.id], reservation: null } : null;
}

/** What it takes to clear one card: nothing, somebody who goes already, victims; null = it cannot be cleared. */
function costOf(card: Card, job: Job, asked: ReadonlySet<string>, now: number): Running[] | null {
  if (card.kept && card.kept.jobId !== job.id) return null;
  if (card.free > 0 || card.holders.some((one) => one.yielding || asked.has(one.job.id))) return [];
  const [victim] = card.holders.filter((one) => mayGo(one, job, now)).sort(byCost);
  return victim ? [victim] : null;
}

function clearGroup(
  group: Group,
  job: Job,
  asked: ReadonlySet<string>,
  now: number,
): { way: Way; cost: number[] } | null {
  const { gpus } = job.wants;
  if (group.host.state !== "ready" || !suits(group.host, job) || group.memoryMb < job.wants.gpuMemoryMb) return null;
  if (group.slice && gpus > 1) return null;
  const open = group.cards.flatMap((card) => {
    const cost = costOf(card, job, asked, now);
    return cost ? [{ card, victim: cost[0] ?? null }] : [];
  });
  if (open.length < gpus) return null;
  const victims = new Map<string, Running>();
  const chosen: Card[] = open
    .filter((one) => one.victim === null)
    .map((one) => one.card)
    .slice(0, gpus);
  const dear = open
    .filter((one) => one.victim !== null)
    .sort((a, b) => byCost(a.victim as Running, b.victim as Running));
  for (const { card, victim } of dear) {
    if (chosen.length >= gpus) break;
    if (victim) victims.set(victim.job.id, victim);
    chosen.push(card);
  }
  const all = [...victims.values()];
  const at = chosen.map((card) => freeIn(card));
  return {
    way: {
      victims: [...victims.keys()],
      reservation: {
        jobId: job.id,
        hostId: group.host.id,
        gpus: chosen.map((card) => card.gpu.uuid),
        at: { low: victims.size > 0 ? 0 : Math.max(...at.map((one) => one.low)), high: YIELD_MS },
      },
    },
    cost: [
      Math.max(Number.NEGATIVE_INFINITY, ...all.map((one) => one.job.priority)),
      all.reduce((sum, one) => sum + one.gpus.length, 0),
    ],
  };
}

function clearCards(room: Room, job: Job, asked: ReadonlySet<string>, now: number): Way | null {
  let best: { way: Way; cost: number[] } | null = null;
  for (const group of room.groups) {
    const found = clearGroup(group, job, asked, now);
    if (!found) continue;
    const [a = 0, b = 0] = found.cost;
    const [x = 0, y = 0] = best?.cost ?? [];
    if (!best || (compare(a, x) || compare(b, y)) < 0) best = found;
  }
  return best?.way ?? null;
}
