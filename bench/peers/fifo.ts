/**
 * Two baseline scheduling policies on the same hosts: first come first served, and the same with backfill behind the
 * first job that does not fit.
 */
import { keep, occupy, openRoom, place, soonest } from "../../src/training/scheduler/capacity.ts";
import type { Input, Round, Running } from "../../src/training/scheduler/types.ts";

function serve(input: Input, backfill: boolean): Round {
  const room = openRoom(input.capacity, input.running);
  const round: Round = { starts: [], yields: [], waits: new Map(), reservations: [], order: [], nextAt: null };
  const queue = [...input.queued].sort((a, b) => a.queuedAt - b.queuedAt || (a.id < b.id ? -1 : 1));
  let first = true;
  for (const job of queue) {
    const found = place(room, job);
    if (found) {
      round.starts.push({ jobId: job.id, hostId: found.hostId, gpus: found.gpus, backfills: null });
      const work: Running = {
        job,
        hostId: found.hostId,
        gpus: found.gpus,
        startedAt: input.now,
        left: job.estimate,
        yieldable: false,
        yielding: false,
      };
      occupy(room, work);
      continue;
    }
    if (!backfill) break;
    if (!first) continue;
    first = false;
    const reservation = soonest(room, job, null);
    if (reservation) keep(room, reservation);
  }
  return round;
}

/** No job starts before an earlier one. */
export const fifo = (input: Input): Round => serve(input, false);
/** EASY backfill: capacity is reserved for the first job that does not fit; jobs that end before then may use it. */
export const fifoBackfill = (input: Input): Round => serve(input, true);
