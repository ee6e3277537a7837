/**
 * When waiting jobs should begin: the scheduler itself is run forward, once as if everything were quick and once as if
 * it were slow.
 */

import { compare, YIELD_MS } from "./capacity.ts";
import { schedule } from "./round.ts";
import type { Input, Job, Round, Running, Span, WaitCode } from "./types.ts";

export interface Prediction {
  /** Moments; `high` null = nobody can say how late it may be. */
  low: number | null;
  high: number | null;
  /** Why one of them is missing. */
  why: string | null;
}

/** Jobs looked at, from the front of the queue. */
export const MOST_JOBS = 200;
/** Rounds run for it. */
const MOST_ROUNDS = 400;

interface Living extends Running {
  end: number;
}

const spanTo = (end: number, now: number): Span =>
  Number.isFinite(end) ? { low: Math.max(0, end - now), high: Math.max(0, end - now) } : { low: 0, high: null };

/** Runs forward, a round at a time; gives the moment each job begins, and what never ends. */
function* runForward(input: Input, jobs: readonly Job[], slow: boolean) {
  const lengthOf = (span: Span) => (slow ? (span.high ?? Number.POSITIVE_INFINITY) : span.low);
  const begun = new Map<string, number>();
  let now = input.now;
  let running: Living[] = input.running.map((one) => ({
    ...one,
    end: now + (one.yielding ? (slow ? YIELD_MS : 0) : lengthOf(one.left)),
  }));
  let queued = [...jobs];
  let { reservations } = input;
  let { monthEnds } = input;
  let teams = input.teams;
  let rounds = 0;
  for (; rounds < MOST_ROUNDS && queued.length > 0; rounds++) {
    const round: Round = schedule({
      ...input,
      now,
      monthEnds,
      teams,
      queued,
      reservations,
      running: running.map((one) => ({ ...one, left: spanTo(one.end, now) })),
    });
    yield;
    reservations = round.reservations;
    const byId = new Map(queued.map((job) => [job.id, job]));
    for (const { jobId, hostId, gpus } of round.starts) {
      const job = byId.get(jobId) as Job;
      if (!begun.has(jobId)) begun.set(jobId, now);
      byId.delete(jobId);
      const end = now + lengthOf(job.estimate);
      running.push({
        job,
        hostId,
        gpus,
        startedAt: now,
        left: job.estimate,
        end,
        yieldable: job.kind === "train",
        yielding: false,
      });
    }
    queued = [...byId.values()];
    for (const { jobId } of round.yields) {
      const one = running.find(({ job }) => job.id === jobId);
      if (!one) continue;
      const rest = spanTo(one.end - YIELD_MS, now);
      one.job = { ...one.job, estimate: rest, queuedAt: now };
      one.yielding = true;
      one.end = now + YIELD_MS;
    }
    // A job that only asks the providers, or one whose turn comes by time: whatever is next.
    let next = round.nextAt ?? Number.POSITIVE_INFINITY;
    for (const one of running) if (one.end > now) next = Math.min(next, one.end);
    if (running.some((one) => one.end <= now)) next = Math.min(next, now + 1000);
    if (!Number.isFinite(next)) break;
    now = next;
    const over = running.filter((one) => one.end <= now);
    running = running.filter((one) => one.end > now);
    for (const { job, yielding } of over) if (yielding) queued.push(job);
    if (now >= monthEnds) {
      monthEnds += 30 * 86_400_000;
      teams = teams.map((team) => ({ ...team, usedThisMonth: 0 }));
    }
  }
  const endless = running.filter((one) => !Number.isFinite(one.end)).map((one) => one.job.id);
  return { begun, endless, cut: rounds === MOST_ROUNDS };
}

function* foretell(input: Input, order: readonly string[]) {
  const place = new Map(order.slice(0, MOST_JOBS).map((id, at) => [id, at]));
  const jobs = input.queued
    .filter((job) => place.has(job.id))
    .sort((a, b) => compare(place.get(a.id) ?? 0, place.get(b.id) ?? 0));
  const quick = yield* runForward(input, jobs, false);
  const slow = yield* runForward(input, jobs, true);
  const found = new Map<string, Prediction>();
  for (const { id } of jobs) {
    const [one, other] = [quick.begun.get(id) ?? null, slow.begun.get(id) ?? null];
    const known = [one, other].filter((at) => at !== null);
    const low = known.length > 0 ? Math.min(...known) : null;
    const high = other === null || one === null ? null : Math.max(one, other);
    found.set(id, { low, high, why: high === null ? whyUnknown(low, quick.cut, slow.endless.length > 0) : null });
  }
  return found;
}

function whyUnknown(low: number | null, cut: boolean, endless: boolean): string {
  // Not even when all work ends as early as it may.
  if (low === null && !cut) return "Nothing that is known of would let it begin.";
  if (endless) return "It is not known how long the work before it takes.";
  return "Too much lies before it to say how late it may be.";
}

/**
 * Predictions for the first jobs of the queue, by job. Those further back are not in the map. They hold if nothing more
 * urgent arrives.
 */
export function predict(input: Input, order: readonly string[]): Map<string, Prediction> {
  const work = foretell(input, order);
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
  }
}

/** The same a few milliseconds at a time: `breathe` is awaited in between, so that others get their turn. */
export async function predictGently(
  input: Input,
  order: readonly string[],
  breathe: () => Promise<unknown>,
): Promise<Map<string, Prediction>> {
  const work = foretell(input, order);
  for (let rounds = 1; ; rounds++) {
    const step = work.next();
    if (step.done) return step.value;
    if (rounds % 4 === 0) await breathe();
  }
}

/**
 * Jobs that are not there yet come in between. In a replayed week of a full cluster (bench/scheduler.ts) 61 of 100
 * ranges held as they were foretold, and 81 with the latest start twice as far off.
 */
const OTHERS_COME = 2;
/** Waits that other jobs do not lengthen. */
const ALONE: ReadonlySet<WaitCode> = new Set(["not_before", "window", "retry", "ending", "quota_hours"]);

/** A prediction as it is told to people: with room for those who come in between. */
export function allowForOthers(prediction: Prediction, now: number, code: WaitCode): Prediction {
  if (prediction.high === null || ALONE.has(code)) return prediction;
  return { ...prediction, high: now + OTHERS_COME * Math.max(0, prediction.high - now) };
}
