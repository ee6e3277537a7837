/**
 * One function per transition, each in the caller's transaction: the state table is checked, terminal states are
 * written once, and the ledger, audit and event rows are part of the same transaction.
 */

import { and, eq, isNull, ne, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { releaseHold } from "../../billing/budgets/reserve.ts";
import { releaseGpus } from "../../compute/hosts/allocations.ts";
import { isFinal, type JobState } from "../../contract/job.ts";
import { type Actor, type Ctx, systemActor } from "../../ctx.ts";
import { attempt, command, type JobError, job } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import type { BusMessage } from "../../lib/bus.ts";
import { addEvent } from "../metrics/events.ts";
import { backOffMs, type EndReason, REASONS, stateAfter } from "./failures.ts";
import { takeBackLost } from "./lost-work.ts";
import { meterAttempt, meterOpen } from "./metering.ts";
import type { AttemptRow, JobRow } from "./model.ts";
import { recordJobEnd } from "./notices.ts";
import { repeatedFailure } from "./repeated-failure.ts";
import { canMove } from "./state.ts";

type JobPatch = Partial<Omit<typeof job.$inferInsert, "id" | "state">>;

/** States in which a job may have an open attempt. */
const WITH_ATTEMPT: ReadonlySet<JobState> = new Set(["starting", "running", "pausing", "stopping"]);

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

/** The message to emit after a job changed its state. */
export function changed(row: Pick<JobRow, "org" | "id" | "kind">, state: JobState): BusMessage {
  return { name: "job.changed", event: { org: row.org, jobId: row.id, kind: row.kind, state } };
}

/** Adds a line to the job's history. */
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
 * Changes the state when the table allows it and the row has not changed since the caller read it. Releases the lease,
 * and begins another interval of the open attempt.
 * @returns the message to emit after the commit, or null when the transition is not possible
 */
export async function move(
  tx: Db,
  ctx: Ctx,
  row: JobRow,
  to: JobState,
  patch: JobPatch = {},
): Promise<BusMessage | null> {
  if (!canMove(row.state, to)) return null;
  if (WITH_ATTEMPT.has(row.state)) await meterOpen(tx, ctx, row);
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
  /** It never ran: nothing is charged, and there is nothing to terminate. */
  neverRan?: boolean;
}

/**
 * Ends an attempt and meters the rest of it; a second call changes nothing. Its token is refused from then on. Work
 * that is lost through no fault of the user is taken back from the ledger.
 */
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
  await releaseHold(tx, row.id);
  if (end.neverRan) {
    await releaseGpus(tx, which.id);
    return true;
  }
  await meterAttempt(tx, ctx, row, which.id, { now, ends: true });
  await takeBackLost(tx, now, row, { id: which.id, outcome: end.outcome });
  return true;
}

interface JobEnd {
  state: "succeeded" | "failed" | "cancelled";
  error?: JobError | null;
  actor?: Actor;
  /** Outcome for an attempt that is still open. */
  attempt?: AttemptEnd;
}

const END_MESSAGES = { succeeded: "The job succeeded", failed: "The job failed", cancelled: "The job was canceled" };

/**
 * Ends a job: state, open attempt with its last interval, waiting commands, audit row and event in one transaction.
 * @returns the messages to emit after the commit; null when the job has already ended
 */
export async function finishJob(tx: Db, ctx: Ctx, row: JobRow, end: JobEnd): Promise<BusMessage[] | null> {
  const now = ctx.clock.now();
  const message = await move(tx, ctx, row, end.state, { error: end.error ?? null, finishedAt: now, notBefore: 0 });
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
    error ? `${END_MESSAGES[end.state]}: ${error.message}` : END_MESSAGES[end.state],
    end.state === "failed" ? "error" : "info",
  );
  const actorId = end.actor && end.actor.via !== "system" ? end.actor.userId : null;
  const noticed = await recordJobEnd(tx, ctx, row, { state: end.state, error, actorId });
  return [message, ...noticed];
}

/** The error to store on a job for a failed attempt. */
export function jobError(reason: EndReason, message: string, advice?: string | null, detail?: string | null): JobError {
  return {
    code: reason,
    message,
    advice: advice ?? REASONS[reason].advice,
    param: reason === "bad_data" ? "training_file" : null,
    detail: detail ? detail.slice(-4000) : null,
  };
}

/** A failure of an attempt, reported by the trainer or detected by the server. */
interface Failure {
  reason: EndReason;
  message: string;
  retry: boolean;
  advice?: string | null;
  detail?: string | null;
  exitCode?: number | null;
}

/**
 * The number of failed attempts since a user last resumed the job; these count against its limit. Machines that were
 * taken back have a limit of their own, and launches that were refused have none.
 */
async function failuresOf(tx: Db, row: JobRow, reason: EndReason): Promise<number> {
  const counted =
    reason === "preempted"
      ? sql`${attempt.outcome} = 'preempted'`
      : sql`${attempt.outcome} not in ('succeeded', 'cancelled', 'paused', 'preempted', 'no_capacity', 'launch_refused')`;
  const [count] = await tx
    .select({ n: sql<number>`count(*)` })
    .from(attempt)
    .where(and(eq(attempt.jobId, row.id), counted, sql`${attempt.createdAt} >= ${row.queuedAt ?? 0}`));
  return count?.n ?? 0;
}

/** Records a failed attempt: the job is retried after a delay or fails, as the table of reasons says. */
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
  const preempted = failure.reason === "preempted";
  const failures = await failuresOf(tx, row, failure.reason);
  const { remember, why } = repeatedFailure(row, which.number, failure);
  const after = stateAfter(row.state, {
    reason: failure.reason,
    retry: failure.retry && !why,
    failures,
    maxAttempts: preempted ? ctx.config.max_preemptions + 1 : row.spec.limits.max_attempts,
  });
  if (after === "failed" || after === "cancelled") {
    const advice = why ? `${why} ${failure.advice ?? REASONS[failure.reason].advice}` : failure.advice;
    const error = jobError(failure.reason, failure.message, advice, failure.detail);
    return (await finishJob(tx, ctx, row, { state: after, error: after === "failed" ? error : null })) ?? [];
  }
  // It died while it was being preempted: no user asked for a pause.
  const to = after === "paused" && row.yieldFor ? "queued" : after;
  const wait = to === "queued" ? backOffMs(preempted ? 1 : failures) : 0;
  const message = await move(tx, ctx, row, to, {
    notBefore: ctx.clock.now() + wait,
    progressAt: ctx.clock.now(),
    ...(remember ? { progress: { ...row.progress, last_failure: remember } } : {}),
  });
  if (!message) return [];
  if (after === "paused") await closeCommands(tx, ctx, row.id);
  const next =
    to === "paused"
      ? "The job is paused."
      : preempted
        ? "The job resumes from its newest checkpoint on the best other offer."
        : `Attempt ${failures + 1} follows in ${Math.round(wait / 1000)} s.`;
  await note(tx, ctx, row, `Attempt ${which.number} failed: ${failure.message} ${next}`, "warn");
  return [message];
}

/** Marks all pending commands of a job as done. */
export async function closeCommands(tx: Db, ctx: Ctx, jobId: string): Promise<void> {
  await tx
    .update(command)
    .set({ doneAt: ctx.clock.now() })
    .where(and(eq(command.jobId, jobId), isNull(command.doneAt)));
}
