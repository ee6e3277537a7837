/**
 * Stores one batch of a trainer's events inside a transaction: points, log lines, events, answers, and the last
 * sequence number of the attempt.
 */

import { sql } from "drizzle-orm";
import { isFinal } from "../../contract/job.ts";
import type { TrainerEvent } from "../../contract/trainer.ts";
import { answer } from "../../db/schema/evaluations.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import type { BusMessage } from "../../lib/bus.ts";
import { addEvents, eventOf, type NewEvent } from "./events.ts";
import { cutMessage, MAX_LOG_LINES, type NewLine, plainMessage, writeLogs } from "./logs.ts";
import type { BatchPayload } from "./payload.ts";
import { MAX_SERIES, type NewPoints, trimPoints, writePoints } from "./points.ts";
import type { Draft } from "./state.ts";

const HOUR = 3_600_000;
/** The attempt a batch comes from. */
export interface AttemptRef {
  id: string;
  jobId: string;
  org: string;
}

/** Applies state changes in the transaction that stores the events; returns what to emit after the commit. */
export type BatchHook = (tx: Db, events: TrainerEvent[]) => Promise<BusMessage[]>;

export interface Stored {
  lastSeq: number;
  batchId: number | null;
  /** The events that were new. */
  events: TrainerEvent[];
  payload: BatchPayload | null;
  messages: BusMessage[];
}

/** The error for a token whose attempt is over: a newer attempt replaced it (409), or the job has ended (410). */
export function refusal(reason: "stale" | "ended"): AppError {
  return reason === "ended"
    ? new AppError("gone", "job_ended", "The job has ended. Exit with code 3.")
    : new AppError("conflict", "attempt_replaced", "A newer attempt has replaced this one. Exit with code 3.");
}

interface AttemptState {
  last_seq: number;
  trim_step: number | null;
  state: string;
  job_state: string;
  replaced: number;
}

/** The events that follow `lastSeq` in order, without duplicates and without anything after a gap. */
function following(events: readonly TrainerEvent[], lastSeq: number): TrainerEvent[] {
  const fresh = events.filter((one) => one.seq > lastSeq).sort((a, b) => a.seq - b.seq);
  const taken: TrainerEvent[] = [];
  let next = lastSeq + 1;
  for (const one of fresh) {
    if (one.seq > next) break;
    if (one.seq < next) continue;
    taken.push(one);
    next++;
  }
  return taken;
}

/**
 * Stores the new events of a batch. An empty batch is a heartbeat.
 * @param now server time in milliseconds; trainers' times are limited to the week before it
 * @returns what was stored, or the refusal (nothing is written) when the attempt has ended and the batch has new events
 */
export async function storeEvents(
  tx: Db,
  draft: Draft,
  who: AttemptRef,
  events: readonly TrainerEvent[],
  hook: BatchHook,
  now: number,
): Promise<Stored | AppError> {
  const [state] = await tx.all<AttemptState>(sql`
    select a.last_seq, a.trim_step, a.state, j.state as job_state, a.number < j.attempts as replaced
    from attempt a join job j on j.id = a.job_id where a.id = ${who.id}`);
  if (!state) return refusal("stale");
  const taken = following(events, state.last_seq);
  if (state.state === "ended" || state.replaced) {
    // The reply to the last batch may have been lost, so stored events are acknowledged again.
    if (events.length > 0 && events.every((one) => one.seq <= state.last_seq))
      return { lastSeq: state.last_seq, batchId: null, events: [], payload: null, messages: [] };
    return refusal(isFinal(state.job_state) ? "ended" : "stale");
  }
  const first = taken[0];
  const last = taken.at(-1);
  if (!first || !last) {
    await tx.run(sql`update attempt set heartbeat_at = ${now} where id = ${who.id}`);
    return { lastSeq: state.last_seq, batchId: null, events: [], payload: null, messages: [] };
  }
  const { jobId } = who;
  const sorted = sortOut(taken, now);
  const batchId = await insertBatch(tx, who, first.seq, last.seq, sorted, now);
  if (state.trim_step !== null) {
    await trimPoints(tx, draft, jobId, state.trim_step);
    await tx.run(sql`delete from event where job_id = ${jobId} and type = 'metrics' and step > ${state.trim_step}`);
  }
  const written = await writePoints(tx, draft, { jobId, batchId, points: sorted.points, times: sorted.times });
  const logs = await writeLogs(tx, draft, { jobId, attemptId: who.id, batchId, lines: sorted.lines });
  const notes = await notesOf(tx, jobId, written.broken, written.refused, logs.trimmed);
  const common = { jobId, attemptId: who.id, batchId };
  await addEvents(
    tx,
    jobId,
    [...sorted.events, ...notes].map((one) => ({ at: now, ...one, ...common })),
  );
  if (sorted.answers.length > 0) await writeAnswers(tx, jobId, sorted.answers);
  await tx.run(
    sql`update attempt set last_seq = ${last.seq}, heartbeat_at = ${now}, trim_step = null where id = ${who.id}`,
  );
  const messages = await hook(tx, taken);
  const payload: BatchPayload = {
    batchId,
    jobId,
    points: written.refused.length === 0 ? sorted.points : without(sorted.points, written.refused),
    logs: logs.lines,
    samples: sorted.samples,
    progress: sorted.progress,
    phase: sorted.phase,
  };
  return { lastSeq: last.seq, batchId, events: taken, payload, messages };
}

/** Inserts the row of a batch; its log range is added later. Plain SQL, because this runs for every batch. */
async function insertBatch(
  tx: Db,
  who: AttemptRef,
  firstSeq: number,
  lastSeq: number,
  { points, times }: Sorted,
  now: number,
): Promise<number> {
  let count = 0;
  for (const values of points.values()) count += values.size;
  let [from, to]: (number | null)[] = [null, null];
  if (count > 0)
    for (const step of times.keys()) {
      from = Math.min(from ?? step, step);
      to = Math.max(to ?? step, step);
    }
  const result = await tx.run(sql`
    insert into batch (job_id, attempt_id, first_seq, last_seq, at, points, first_step, last_step)
    values (${who.jobId}, ${who.id}, ${firstSeq}, ${lastSeq}, ${now}, ${count}, ${from}, ${to})`);
  return Number(result.lastInsertRowid);
}

interface Sorted {
  points: NewPoints;
  times: Map<number, number>;
  lines: NewLine[];
  events: Omit<NewEvent, "jobId">[];
  answers: Extract<TrainerEvent, { type: "answer" }>[];
  samples: BatchPayload["samples"];
  progress: BatchPayload["progress"];
  phase: string | null;
}

/** Sorts the events of a batch by the tables they are stored in. */
function sortOut(events: TrainerEvent[], now: number): Sorted {
  const sorted: Sorted = {
    points: new Map(),
    times: new Map(),
    lines: [],
    events: [],
    answers: [],
    samples: [],
    progress: null,
    phase: null,
  };
  for (const one of events) {
    // A trainer's clock may be wrong and its spool a day old. Limits keep events out of the future and the far past.
    const at = Math.max(now - 7 * 24 * HOUR, Math.min(one.at, now + 60_000));
    if (one.type === "metrics") {
      sorted.times.set(one.step, at);
      for (const [key, value] of Object.entries(one.values)) {
        let values = sorted.points.get(key);
        if (!values) {
          values = new Map();
          sorted.points.set(key, values);
        }
        values.set(one.step, typeof value === "number" ? value : null);
      }
    } else if (one.type === "log") sorted.lines.push({ at, level: one.level, message: plainMessage(one.message) });
    else if (one.type === "answer") sorted.answers.push(one);
    else if (one.type === "progress") {
      const { seq: _seq, at: _at, type: _type, ...progress } = one;
      sorted.progress = progress;
    } else if (one.type === "phase") sorted.phase = one.phase;
    const row = eventOf(one);
    if (!row) continue;
    sorted.events.push({ ...row, at });
    if (one.type === "sample") sorted.samples.push({ step: one.step, ...row.data });
  }
  return sorted;
}

function without(points: NewPoints, keys: string[]): NewPoints {
  return new Map([...points].filter(([key]) => !keys.includes(key)));
}

/** Warnings about data that could not be stored: non-finite values, too many names, deleted log lines. */
async function notesOf(
  tx: Db,
  jobId: string,
  broken: { key: string; step: number }[],
  refused: string[],
  trimmed: boolean,
): Promise<Omit<NewEvent, "jobId">[]> {
  const notes: Omit<NewEvent, "jobId">[] = [];
  const noted = async (type: string, limit: number) => {
    const rows = await tx.all(sql`select 1 from event where job_id = ${jobId} and type = ${type} limit ${limit}`);
    return rows.length >= limit;
  };
  if (broken.length > 0 && !(await noted("non_finite", 100)))
    for (const { key, step } of broken.slice(0, 20))
      notes.push({
        type: "non_finite",
        level: "warn",
        step,
        message: `${key} is not a finite number at step ${step}; the chart shows a gap`,
        data: { key, step },
      });
  if (refused.length > 0 && !(await noted("series_limit", 1)))
    notes.push({
      type: "series_limit",
      level: "warn",
      message: `More than ${MAX_SERIES} metric names: "${cutMessage(refused[0] ?? "", 100)}" and further metrics are not stored`,
    });
  if (trimmed && !(await noted("logs_trimmed", 1)))
    notes.push({
      type: "logs_trimmed",
      level: "warn",
      message: `Only the last ${MAX_LOG_LINES.toLocaleString("en-US")} log lines are kept; older ones were deleted`,
    });
  return notes;
}

async function writeAnswers(tx: Db, jobId: string, answers: Sorted["answers"]): Promise<void> {
  const number = (value: number | string) => (typeof value === "number" ? value : null);
  const rows = answers.map((one) => ({
    jobId,
    rowId: one.row_id,
    side: one.side,
    prompt: one.prompt,
    expected: one.expected,
    output: one.output,
    exact: one.exact,
    loss: number(one.loss),
    tokenAccuracy: one.token_accuracy,
    tokens: one.tokens,
  }));
  for (let from = 0; from < rows.length; from += 100)
    await tx
      .insert(answer)
      .values(rows.slice(from, from + 100))
      .onConflictDoUpdate({
        target: [answer.jobId, answer.rowId, answer.side],
        set: {
          prompt: sql`excluded.prompt`,
          expected: sql`excluded.expected`,
          output: sql`excluded.output`,
          exact: sql`excluded.exact`,
          loss: sql`excluded.loss`,
          tokenAccuracy: sql`excluded.token_accuracy`,
          tokens: sql`excluded.tokens`,
        },
      });
}
