/**
 * One function a transition, all in the caller's transaction: the state table is checked, terminal states are written
 * once, and ledger, audit and events go with them.
 */

import { and, eq, isNull, ne, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { writeUsageLine } from "../../billing/ledger/service.ts";
import { releaseGpus } from "../../compute/hosts/allocations.ts";
import { isFinal, type JobState } from "../../contract/job.ts";
import { type Actor, type Ctx, systemActor } from "../../ctx.ts";
import { attempt, command, type JobError, job } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import type { BusMessage } from "../../lib/bus.ts";
import { addEvent } from "../metrics/events.ts";
import { backOffMs, type EndReason, REASONS, stateAfter } from "./failures.ts";
import type { AttemptRow, JobRow } from "./model.ts";
import { canMove } from "./state.ts";

type JobPatch = Partial<Omit<typeof job.$inferInsert, "id" | "state">>;

/** The row of a job inside a transaction. */
export async function jobIn(tx: Db, id: string): Promise<JobRow | null> {
  const [row] = await tx.select().from(job).where(eq(job.id, id)).limit(1);
  return row ?? null;
}

/** The newest attempt of a job, ended or not. */
export async function newestAttempt(tx: Db, jobId: string): Promise<AttemptRow | null> {
  const [row] = await tx
    .select()
    .from(attempt)
    .where(eq(attempt.jobId, jobId))
    .orderBy(sql`${attempt.number} desc`)
    .limit(1);
  return row ?? null;
}

export function changed(row: Pick<JobRow, "org" | "id" | "kind">, state: JobState): BusMessage {
  return { name: "job.changed", event: { org: row.org, jobId: row.id, kind: row.kind, state } };
}

/** Adds a line to the job's own history. */
export function note(
  tx: Db,
  ctx: Ctx,
  row: Pick<JobRow, "id">,
  message: string,
  level: "info" | "warn" | "error" = "info",
): Promise<string> {
  return addEvent(tx, { jobId: row.id, at: ctx.clock.now(), type: "state", level, message });
}

/**
 * Moves `row` when the table allows it and it still is where the caller saw it. The lease is let go with every move.
 * @returns the message to emit after commit, or null when the move is not possible
 */
export async function move(tx: Db, row: JobRow, to: JobState, patch: JobPatch = {}): Promise<BusMessage | null> {
  if (!canMove(row.state, to)) return null;
  const done = await tx
    .update(job)
    .set({ leaseToken: null, leaseUntil: 0, yieldFor: null, ...patch, state: to })
    .where(and(eq(job.id, row.id), eq(job.state, row.state)))
    .returning({ id: job.id });
  return done.length ? changed(row, to) : null;
}

/** How an attempt ended. */
interface AttemptEnd {
  outcome: string;
  exitCode?: number | null;
  detail?: string | null;
  /** It never ran: nothing is charged and nothing has to be terminated. */
  neverRan?: boolean;
}

/** Ends an attempt once and writes its usage line; a second call changes nothing. From here on its token is refused. */
export async function endAttempt(tx: Db, ctx: Ctx, row: JobRow, which: AttemptRow, end: AttemptEnd): Promise<boolean> {
  const now = ctx.clock.now();
  const done = await tx
    .update(attempt)
    .set({
      state: "ended",
      outcome: end.outcome,
      exitCode: end.exitCode ?? null,
      detail: end.detail ?? null,
      endedAt: now,
      ...(end.neverRan ? { goneAt: now } : {}),
    })
    .where(and(eq(attempt.id, which.id), ne(attempt.state, "ended")))
    .returning({ id: attempt.id });
  if (done.length === 0) return false;
  if (end.neverRan) {
    await releaseGpus(tx, which.id);
    return true;
  }
  const progress = row.progress;
  await writeUsageLine(tx, {
    org: row.org,
    jobId: row.id,
    attemptId: which.id,
    userId: row.createdBy,
    kind: row.kind,
    provider: which.provider,
    gpus: which.offer.gpus,
    startedAt: which.startedAt ?? which.createdAt,
    endedAt: now,
    tokens: (progress.tokens_seen ?? 0) - (progress.tokens_before ?? 0),
    pricePerHour: which.offer.pricePerHour,
  });
  return true;
}

interface JobEnd {
  state: "succeeded" | "failed" | "cancelled";
  error?: JobError | null;
  actor?: Actor;
  /** Outcome of an attempt that is still open. */
  attempt?: AttemptEnd;
}

const END_WORDS = { succeeded: "The job succeeded", failed: "The job failed", cancelled: "The job was cancelled" };

/**
 * Ends a job: state, open attempt with its usage line, waiting commands, audit row and event in one transaction.
 * @returns messages to emit after commit; null when the job cannot end that way (it has ended already)
 */
export async function finishJob(tx: Db, ctx: Ctx, row: JobRow, end: JobEnd): Promise<BusMessage[] | null> {
  const now = ctx.clock.now();
  const message = await move(tx, row, end.state, { error: end.error ?? null, finishedAt: now, notBefore: 0 });
  if (!message) return null;
  const open = await newestAttempt(tx, row.id);
  if (open && open.state !== "ended") await endAttempt(tx, ctx, row, open, end.attempt ?? { outcome: end.state });
  await tx
    .update(command)
    .set({ doneAt: now })
    .where(and(eq(command.jobId, row.id), isNull(command.doneAt)));
  const { error } = end;
  await audit(
    tx,
    ctx,
    end.actor ?? systemActor(row.org),
    `job.${end.state}`,
    row.id,
    error ? { code: error.code } : {},
  );
  await note(
    tx,
    ctx,
    row,
    error ? `${END_WORDS[end.state]}: ${error.message}` : END_WORDS[end.state],
    end.state === "failed" ? "error" : "info",
  );
  return [message];
}

/** What an error of an attempt is called on the job. */
export function jobError(reason: EndReason, message: string, advice?: string | null, detail?: string | null): JobError {
  return {
    code: reason,
    message,
    advice: advice ?? REASONS[reason].advice,
    param: reason === "bad_data" ? "training_file" : null,
    detail: detail ? detail.slice(-4000) : null,
  };
}

/** A failure of an attempt, as told by the trainer or found by the server. */
interface Failure {
  reason: EndReason;
  message: string;
  retry: boolean;
  advice?: string | null;
  detail?: string | null;
  exitCode?: number | null;
}

/** Attempts of a job that failed since it was last resumed by a person count against its limit. */
async function failuresOf(tx: Db, row: JobRow): Promise<number> {
  const [count] = await tx
    .select({ n: sql<number>`count(*)` })
    .from(attempt)
    .where(
      and(
        eq(attempt.jobId, row.id),
        sql`${attempt.outcome} not in ('succeeded', 'cancelled', 'paused')`,
        sql`${attempt.createdAt} >= ${row.queuedAt ?? 0}`,
      ),
    );
  return count?.n ?? 0;
}

/** An attempt failed: the job is tried again after a while, or ends, by the table of reasons. */
export async function attemptFailed(
  tx: Db,
  ctx: Ctx,
  row: JobRow,
  which: AttemptRow,
  failure: Failure,
): Promise<BusMessage[]> {
  const ended = await endAttempt(tx, ctx, row, which, {
    outcome: failure.reason,
    exitCode: failure.exitCode,
    detail: failure.detail ?? failure.message,
  });
  if (!ended || isFinal(row.state)) return [];
  const failures = await failuresOf(tx, row);
  const next = stateAfter(row.state, {
    reason: failure.reason,
    retry: failure.retry,
    failures,
    maxAttempts: row.spec.limits.max_attempts,
  });
  if (next === "failed" || next === "cancelled") {
    const error = jobError(failure.reason, failure.message, failure.advice, failure.detail);
    return (await finishJob(tx, ctx, row, { state: next, error: next === "failed" ? error : null })) ?? [];
  }
  // It died while it let go for others: nobody wanted it paused.
  const to = next === "paused" && row.yieldFor ? "queued" : next;
  const wait = to === "queued" ? backOffMs(failures) : 0;
  const message = await move(tx, row, to, { notBefore: ctx.clock.now() + wait, progressAt: ctx.clock.now() });
  if (!message) return [];
  if (next === "paused") await closeCommands(tx, ctx, row.id);
  const word = to === "paused" ? "It is paused." : `Attempt ${failures + 1} follows in ${Math.round(wait / 1000)} s.`;
  await note(tx, ctx, row, `Attempt ${which.number} ended: ${failure.message} ${word}`, "warn");
  return [message];
}

/** Marks all waiting commands of a job as done. */
export async function closeCommands(tx: Db, ctx: Ctx, jobId: string): Promise<void> {
  await tx
    .update(command)
    .set({ doneAt: ctx.clock.now() })
    .where(and(eq(command.jobId, jobId), isNull(command.doneAt)));
}
