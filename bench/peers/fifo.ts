/**
 * Two simple schedulers on the same cluster model: first come, first served, and the same with backfill behind
 * the first job that does not fit.
 */
import { occupy, openCluster, place, reserve, soonest } from "../../src/training/scheduler/capacity.ts";
import type { Input, Round, Running } from "../../src/training/scheduler/types.ts";

function serve(input: Input, backfill: boolean): Round {
  const cluster = openCluster(input.capacity, input.running, input.now);
  const round: Round = { starts: [], preemptions: [], waits: new Map(), reservations: [], order: [], nextAt: null };
  const queue = [...input.queued].sort((a, b) => a.queuedAt - b.queuedAt || (a.id < b.id ? -1 : 1));
  let first = true;
  for (const job of queue) {
    const found = place(cluster, job);
    if (found) {
      round.starts.push({ jobId: job.id, hostId: found.hostId, gpus: found.gpus, backfills: null });
      const work: Running = {
        job,
        hostId: found.hostId,
        gpus: found.gpus,
        startedAt: input.now,
        left: job.estimate,
        preemptible: false,
        preempting: false,
      };
      occupy(cluster, work);
      continue;
    }
    if (!backfill) break;
    if (!first) continue;
    first = false;
    const reservation = soonest(cluster, job, null);
    if (reservation) reserve(cluster, reservation);
  }
  return round;
}

/** Strictly first come, first served. */
export const fifo = (input: Input): Round => serve(input, false);
/** EASY backfill: capacity is reserved for the first job that does not fit; jobs that surely end before may use it. */
export const fifoBackfill = (input: Input): Round => serve(input, true);
