/** The event of a job that ended, for webhooks and for the user who created it. */
import { and, desc, eq } from "drizzle-orm";
import type { FinalState } from "../../contract/job.ts";
import type { Ctx } from "../../ctx.ts";
import { evaluation } from "../../db/schema/evaluations.ts";
import { command, type JobError } from "../../db/schema/jobs.ts";
import { trial } from "../../db/schema/sweeps.ts";
import type { Db } from "../../db/types.ts";
import type { BusMessage } from "../../lib/bus.ts";
import { recordEvent } from "../../notices/events/store.ts";
import type { JobRow } from "./model.ts";

interface End {
  state: FinalState;
  error?: JobError | null;
  actorId: string | null;
}

const PREFIX = { train: "fine_tuning.job", evaluate: "evaluation", export: "export" } as const;
const NOUN = { train: "Run", evaluate: "Evaluation", export: "Export" } as const;
const VERB = { succeeded: "succeeded", failed: "failed", cancelled: "was canceled" } as const;

/** Who canceled a job: the actor of this change, or of the command that stopped it. */
async function canceledBy(tx: Db, row: JobRow, end: End): Promise<string | null> {
  if (end.actorId) return end.actorId;
  const [found] = await tx
    .select({ by: command.createdBy })
    .from(command)
    .where(and(eq(command.jobId, row.id), eq(command.type, "cancel")))
    .orderBy(desc(command.createdAt))
    .limit(1);
  return found?.by ?? null;
}

/** The user to notify: not of what they did themselves, of each trial of a sweep, or of an automatic evaluation. */
async function whoWaits(tx: Db, row: JobRow, end: End): Promise<string | null> {
  if (row.kind === "evaluate" && row.idempotencyKey && end.state !== "failed") return null;
  if (end.state === "cancelled" && (await canceledBy(tx, row, end)) === row.createdBy) return null;
  const [found] = await tx.select({ sweep: trial.sweepId }).from(trial).where(eq(trial.jobId, row.id)).limit(1);
  return found ? null : row.createdBy;
}

/** The id that clients know, and its page. */
async function objectOf(tx: Db, row: JobRow): Promise<{ subject: string; path: string }> {
  if (row.kind === "evaluate") {
    const [found] = await tx
      .select({ id: evaluation.id })
      .from(evaluation)
      .where(eq(evaluation.jobId, row.id))
      .limit(1);
    if (found) return { subject: found.id, path: `/evaluations/${found.id}` };
  }
  return { subject: row.id, path: `/jobs/${row.id}` };
}

/**
 * Stores the event in the transaction that ends the job. Serve jobs have none: their endpoint reports problems.
 * @returns the messages to emit after the commit
 */
export async function recordJobEnd(tx: Db, ctx: Ctx, row: JobRow, end: End): Promise<BusMessage[]> {
  if (row.kind === "serve") return [];
  const advice = end.error?.advice;
  const message = await recordEvent(tx, ctx, {
    org: row.org,
    type: `${PREFIX[row.kind]}.${end.state}`,
    ...(await objectOf(tx, row)),
    userId: await whoWaits(tx, row, end),
    title: `${NOUN[row.kind]} ${row.name} ${VERB[end.state]}`,
    body: end.error ? (advice ? `${end.error.message} ${advice}` : end.error.message) : "",
  });
  return [message];
}
