/**
 * Forecasts when waiting jobs start: simulates the scheduler twice, with the shortest and the longest durations.
 */

import { compare, PREEMPTION_MS } from "./capacity.ts";
import { schedule } from "./round.ts";
import type { Input, Job, Round, Running, Span, WaitCode } from "./types.ts";

export interface Prediction {
  /** Start times; `high` null = the latest start is unknown. */
  low: number | null;
  high: number | null;
  /** Why one of them is unknown. */
  why: string | null;
}

/** Jobs that are forecast, from the front of the queue. */
export const MAX_JOBS = 200;
/** Simulated rounds. */
const MAX_ROUNDS = 400;

interface SimulatedWork extends Running {
  end: number;
}

const spanTo = (end: number, now: number): Span =>
  Number.isFinite(end) ? { low: Math.max(0, end - now), high: Math.max(0, end - now) } : { low: 0, high: null };

/** Simulates the scheduler round by round. Returns the start of each job, and the jobs without a known end. */
function* simulate(input: Input, jobs: readonly Job[], slow: boolean) {
  const lengthOf = (span: Span) => (slow ? (span.high ?? Number.POSITIVE_INFINITY) : span.low);
  const begun = new Map<string, number>();
  let now = input.now;
  let running: SimulatedWork[] = input.running.map((one) => ({
    ...one,
    end: now + (one.preempting ? (slow ? PREEMPTION_MS : 0) : lengthOf(one.left)),
  }));
  let queued = [...jobs];
  let { reservations } = input;
  let { monthEnds } = input;
  let teams = input.teams;
  let rounds = 0;
  for (; rounds < MAX_ROUNDS && queued.length > 0; rounds++) {
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
        preemptible: job.kind === "train",
        stoppable: job.kind !== "serve",
        preempting: false,
      });
    }
    queued = [...byId.values()];
    for (const { jobId } of round.preemptions) {
      const one = running.find(({ job }) => job.id === jobId);
      if (!one) continue;
      const rest = spanTo(one.end - PREEMPTION_MS, now);
      one.job = { ...one.job, estimate: rest, queuedAt: now };
      one.preempting = true;
      one.end = now + PREEMPTION_MS;
    }
    // The next event: a wait that ends by time, or work that ends.
    let next = round.nextAt ?? Number.POSITIVE_INFINITY;
    for (const one of running) if (one.end > now) next = Math.min(next, one.end);
    if (running.some((one) => one.end <= now)) next = Math.min(next, now + 1000);
    if (!Number.isFinite(next)) break;
    now = next;
    const over = running.filter((one) => one.end <= now);
    running = running.filter((one) => one.end > now);
    for (const { job, preempting } of over) if (preempting) queued.push(job);
    if (now >= monthEnds) {
      monthEnds += 30 * 86_400_000;
      teams = teams.map((team) => ({ ...team, usedThisMonth: 0 }));
    }
  }
  const endless = running.filter((one) => !Number.isFinite(one.end)).map((one) => one.job.id);
  return { begun, endless, cut: rounds === MAX_ROUNDS };
}

function* forecast(input: Input, order: readonly string[]) {
  const place = new Map(order.slice(0, MAX_JOBS).map((id, at) => [id, at]));
  const jobs = input.queued
    .filter((job) => place.has(job.id))
    .sort((a, b) => compare(place.get(a.id) ?? 0, place.get(b.id) ?? 0));
  const quick = yield* simulate(input, jobs, false);
  const slow = yield* simulate(input, jobs, true);
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
  // Not even when all work ends as early as possible.
  if (low === null && !cut) return "No known event would allow this job to start.";
  if (endless) return "The duration of the jobs ahead is unknown.";
  return "Too many jobs are ahead to forecast the latest start.";
}

/**
 * Forecasts for the first jobs of the queue, by job id; jobs further back are missing. Valid unless more urgent jobs
 * arrive.
 */
export function predict(input: Input, order: readonly string[]): Map<string, Prediction> {
  const work = forecast(input, order);
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
  }
}

/** The same in steps of a few milliseconds: `breathe` is awaited in between, so that requests are served. */
export async function predictGently(
  input: Input,
  order: readonly string[],
  breathe: () => Promise<unknown>,
): Promise<Map<string, Prediction>> {
  const work = forecast(input, order);
  for (let rounds = 1; ; rounds++) {
    const step = work.next();
    if (step.done) return step.value;
    if (rounds % 4 === 0) await breathe();
  }
}

/**
 * Factor for the latest start, because later jobs may go first. In a replayed week of a full cluster
 * (bench/scheduler.ts), 61 of 100 forecast ranges were right without it, and 81 with it.
 */
const LATER_JOBS_FACTOR = 2;
/** Waits that other jobs cannot lengthen. */
const INDEPENDENT: ReadonlySet<WaitCode> = new Set(["not_before", "window", "retry", "ending", "quota_hours"]);

/** A forecast as shown to users, with an allowance for jobs that are not queued yet. */
export function allowForOthers(prediction: Prediction, now: number, code: WaitCode): Prediction {
  if (prediction.high === null || INDEPENDENT.has(code)) return prediction;
  return { ...prediction, high: now + LATER_JOBS_FACTOR * Math.max(0, prediction.high - now) };
}
