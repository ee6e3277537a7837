/** Why an endpoint that is wanted does not start: a budget, or an overdue invoice. Requests are answered with it. */
import { eq } from "drizzle-orm";
import { budgetMarks } from "../../billing/budgets/limits.ts";
import { sentence } from "../../billing/budgets/texts.ts";
import { exhaustedFor } from "../../billing/budgets/watch.ts";
import { lateWork } from "../../billing/late/state.ts";
import type { Ctx } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";
import { AppError } from "../../errors.ts";
import { shortOfBudget } from "./budget.ts";
import type { DeploymentRow } from "./model.ts";

/** A sentence without a period; null = neither keeps it from starting. */
async function reasonOf(ctx: Ctx, row: DeploymentRow): Promise<string | null> {
  const usedUp = exhaustedFor(ctx, { org: row.org, userId: row.createdBy, keyId: null });
  if (usedUp !== null) return sentence(usedUp);
  const short = budgetMarks(ctx).why.get(row.jobId ?? "") ?? (row.jobId === null && (await shortOfBudget(ctx, row)));
  if (short) return short;
  const unpaid = (await lateWork(ctx)).why.get(row.org);
  if (unpaid === undefined) return null;
  // Work on own hosts may be exempt: the queue knows whether this engine waits for the payment.
  const [engine] = await ctx.db
    .select({ progress: job.progress })
    .from(job)
    .where(eq(job.id, row.jobId ?? ""))
    .limit(1);
  return engine?.progress.waiting === unpaid ? unpaid : null;
}

/**
 * Refuses a request to an endpoint whose start waits for money.
 * @throws AppError `insufficient_quota` (429), which clients do not repeat by themselves
 */
export async function requirePaid(ctx: Ctx, row: DeploymentRow): Promise<void> {
  if (row.wanted !== "running" || row.state === "ready") return;
  const why = await reasonOf(ctx, row);
  if (why === null) return;
  throw new AppError("over_quota", "insufficient_quota", `The endpoint of ${row.model} does not start. ${why}.`, {
    param: "model",
  });
}
