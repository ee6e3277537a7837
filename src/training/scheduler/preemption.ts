/**
 * Selects the running jobs to preempt for one of higher priority: the lowest priority first, then the fewest GPUs, then
 * the latest start; never one of equal priority.
 */
import { type Cluster, compare, type Device, freeIn, type Group, PREEMPTION_MS, suits } from "./capacity.ts";
import { type Job, type Reservation, type Running, slotOf } from "./types.ts";

/** A job is not preempted this soon after its start, because each preemption costs a checkpoint and a restart. */
const SETTLE_MS = 10 * 60_000;

interface Plan {
  victims: string[];
  /** Where the job will run; null for jobs without GPUs, which run in any slot. */
  reservation: Reservation | null;
}

function isPreemptible(one: Running, job: Job, now: number): boolean {
  return one.preemptible && one.job.priority < job.priority && now - one.startedAt >= SETTLE_MS;
}

/** Lowest priority first, then the fewest GPUs, then the latest start. */
const byCost = (a: Running, b: Running) =>
  a.job.priority - b.job.priority ||
  a.gpus.length - b.gpus.length ||
  b.startedAt - a.startedAt ||
  (a.job.id < b.job.id ? -1 : 1);

/**
 * The jobs to preempt for `job`; null when that is not possible. Without victims, the jobs preempted already suffice.
 * `asked`: jobs preempted in this round.
 */
export function planPreemption(cluster: Cluster, job: Job, asked: ReadonlySet<string>, now: number): Plan | null {
  return job.wants.gpus > 0 ? preemptGpus(cluster, job, asked, now) : preemptSlot(cluster, job, asked, now);
}

function preemptSlot(cluster: Cluster, job: Job, asked: ReadonlySet<string>, now: number): Plan | null {
  const slot = slotOf(job.kind);
  const here = cluster.running.filter((one) => {
    const host = one.hostId === null ? undefined : cluster.hosts.get(one.hostId);
    const ready = host && !host.ask && host.state === "ready" && suits(host, job);
    return ready && one.job.wants.gpus === 0 && slotOf(one.job.kind) === slot;
  });
  // A slot that is being released is for the job that waits for it, which is scheduled first.
  if (here.some((one) => one.preempting || asked.has(one.job.id))) return null;
  const [victim] = here.filter((one) => isPreemptible(one, job, now)).sort(byCost);
  return victim ? { victims: [victim.job.id], reservation: null } : null;
}

/** The job to preempt to free one GPU, or nothing if it is free or being released; null = it cannot be freed. */
function costOf(device: Device, job: Job, asked: ReadonlySet<string>, now: number): Running[] | null {
  if (device.reservation && device.reservation.jobId !== job.id) return null;
  if (device.free > 0 || device.holders.some((one) => one.preempting || asked.has(one.job.id))) return [];
  const [victim] = device.holders.filter((one) => isPreemptible(one, job, now)).sort(byCost);
  return victim ? [victim] : null;
}

function preemptInGroup(
  group: Group,
  job: Job,
  asked: ReadonlySet<string>,
  now: number,
): { plan: Plan; cost: number[] } | null {
  const { gpus } = job.wants;
  if (group.host.state !== "ready" || !suits(group.host, job) || group.memoryMb < job.wants.gpuMemoryMb) return null;
  if (group.slice && gpus > 1) return null;
  const open = group.devices.flatMap((device) => {
    const cost = costOf(device, job, asked, now);
    return cost ? [{ device, victim: cost[0] ?? null }] : [];
  });
  if (open.length < gpus) return null;
  const victims = new Map<string, Running>();
  const chosen: Device[] = open
    .filter((one) => one.victim === null)
    .map((one) => one.device)
    .slice(0, gpus);
  const occupied = open
    .filter((one) => one.victim !== null)
    .sort((a, b) => byCost(a.victim as Running, b.victim as Running));
  for (const { device, victim } of occupied) {
    if (chosen.length >= gpus) break;
    if (victim) victims.set(victim.job.id, victim);
    chosen.push(device);
  }
  const all = [...victims.values()];
  const at = chosen.map((device) => freeIn(device));
  return {
    plan: {
      victims: [...victims.keys()],
      reservation: {
        jobId: job.id,
        hostId: group.host.id,
        gpus: chosen.map((device) => device.gpu.uuid),
        at: { low: victims.size > 0 ? 0 : Math.max(...at.map((one) => one.low)), high: PREEMPTION_MS },
      },
    },
    cost: [
      Math.max(Number.NEGATIVE_INFINITY, ...all.map((one) => one.job.priority)),
      all.reduce((sum, one) => sum + one.gpus.length, 0),
    ],
  };
}

function preemptGpus(cluster: Cluster, job: Job, asked: ReadonlySet<string>, now: number): Plan | null {
  let best: { plan: Plan; cost: number[] } | null = null;
  for (const group of cluster.groups) {
    const found = preemptInGroup(group, job, asked, now);
    if (!found) continue;
    const [a = 0, b = 0] = found.cost;
    const [x = 0, y = 0] = best?.cost ?? [];
    if (!best || (compare(a, x) || compare(b, y)) < 0) best = found;
  }
  return best?.plan ?? null;
}
