/**
 * Credits for work that a failure of ours or of a provider lost although it was charged: `credit_failed_work` in the
 * settings. What came after the last checkpoint is not charged at all (`lost-work.ts`).
 */
import { and, eq, gt, inArray, lt, ne, sql } from "drizzle-orm";
import { billingSettings } from "../../billing/settings/service.ts";
import { giveOnce, notCredited } from "../../billing/statements/automatic-credits.ts";
import type { Ctx } from "../../ctx.ts";
import { meterInterval } from "../../db/schema/billing.ts";
import { attempt, job } from "../../db/schema/jobs.ts";
import { startRounds } from "../../lib/background/rounds.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { OUR_REASONS } from "./failures.ts";

const HOUR_MS = 3_600_000;
const WEEK_MS = 7 * DAY_MS;
const EVERY_MS = 60_000;

/** SQL: a checkpoint of the attempt was used: another attempt resumed from it, or another job reads it. */
const kept = sql`exists (select 1 from artifact a where a.attempt_id = ${attempt.id} and (
  exists (select 1 from attempt later where later.resumed_from = a.id)
  or exists (select 1 from job reader where reader.org = ${attempt.org} and reader.id != ${attempt.jobId}
    and reader.created_at >= ${attempt.createdAt} and instr(reader.spec, a.id) > 0)))`;

/**
 * Credits what ended jobs lost, an hour after their end: what they used is recorded by then. An attempt counts when it
 * failed through no fault of its user and nothing used a checkpoint of it. A job that its user canceled gets nothing.
 */
export async function creditLostWork(ctx: Ctx): Promise<void> {
  const { mode, credit_failed_work: isOn } = await billingSettings(ctx);
  if (mode === "off" || !isOn) return;
  const now = ctx.clock.now();
  const micros = sql<number>`sum(${meterInterval.micros})`;
  const lost = await ctx.db
    .select({ org: attempt.org, source: attempt.id, micros })
    .from(job)
    .innerJoin(attempt, eq(attempt.jobId, job.id))
    .innerJoin(meterInterval, eq(meterInterval.attemptId, attempt.id))
    .where(
      and(
        inArray(job.state, ["failed", "succeeded"]),
        // Requests to an endpoint were answered until it failed.
        ne(job.kind, "serve"),
        gt(job.finishedAt, now - WEEK_MS),
        lt(job.finishedAt, now - HOUR_MS),
        inArray(attempt.outcome, [...OUR_REASONS]),
        sql`not ${kept}`,
        notCredited(attempt.id),
      ),
    )
    .groupBy(attempt.id)
    .having(gt(micros, 0));
  for (const each of lost)
    await ctx.write((tx) =>
      giveOnce(tx, ctx, { ...each, reason: "failed_work", note: `Attempt ${each.source} failed` }),
    );
}

/** Gives these credits, now and every minute. @returns the function that stops it */
export const startLostCredits = (ctx: Ctx): (() => Promise<void>) =>
  startRounds(ctx, EVERY_MS, "lost work could not be credited", () => creditLostWork(ctx));
