/** What budgets say about endpoints: which have to stop, and which may not start yet. */
import { and, desc, eq, or, sql } from "drizzle-orm";
import { budgetMarks } from "../../billing/budgets/limits.ts";
import { stillShort } from "../../billing/budgets/reserve.ts";
import { exhaustedFor } from "../../billing/budgets/watch.ts";
import type { Ctx } from "../../ctx.ts";
import { attempt, job } from "../../db/schema/jobs.ts";
import { wantedBy } from "../../training/attempts/budget.ts";
import type { DeploymentRow } from "./model.ts";

/** Why a budget stops an endpoint that runs; null = none does. */
export function overBudget(ctx: Ctx, { org, createdBy, jobId }: DeploymentRow): string | null {
  const stops = jobId === null ? undefined : budgetMarks(ctx).stopping.get(jobId);
  return stops ?? exhaustedFor(ctx, { org, userId: createdBy, keyId: null });
}

/**
 * Why a budget keeps an endpoint from starting again: its next hour, on a machine as its last one, does not fit in what
 * is left. Read from the database alone, so that a stop or a restart of the server forgets nothing.
 * @returns null for one that never ran: its job waits in the queue for a budget
 */
export async function shortOfBudget(ctx: Ctx, row: DeploymentRow): Promise<string | null> {
  const [last] = await ctx.db
    .select({ job, attempt })
    .from(job)
    .innerJoin(attempt, eq(attempt.jobId, job.id))
    .where(
      and(
        eq(job.org, row.org),
        eq(job.kind, "serve"),
        or(
          row.jobId === null ? undefined : eq(job.id, row.jobId),
          sql`json_extract(${job.metadata}, '$.deployment_id') = ${row.id}`,
        ),
      ),
    )
    .orderBy(desc(job.createdAt), desc(job.id), desc(attempt.number))
    .limit(1);
  if (!last) return null;
  const now = ctx.clock.now();
  const work = { org: row.org, userId: row.createdBy, keyId: null, jobId: row.id, sweepId: null };
  const wanted = await wantedBy(ctx.db, { ...last.job, id: row.id }, last.attempt, now);
  return (await stillShort(ctx.db, now, [{ work, wanted }])).get(row.id) ?? null;
}
