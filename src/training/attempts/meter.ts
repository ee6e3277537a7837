/** The regular pass that meters running attempts, so that a month can close and a budget is seen while they run. */
import { and, isNotNull, ne } from "drizzle-orm";
import { isDue, meterMachines } from "../../compute/machines/meter.ts";
import type { Ctx } from "../../ctx.ts";
import { attempt } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import { meterAttempt, meterOpen } from "../jobs/metering.ts";
import { jobIn } from "../jobs/transitions.ts";

/** Begins another interval of the open attempt of a job: what it serves is about to change. */
export async function meterJob(tx: Db, ctx: Ctx, jobId: string): Promise<void> {
  const row = await jobIn(tx, jobId);
  if (row) await meterOpen(tx, ctx, row);
}

/**
 * Meters every running attempt and every rented machine that is due, each in a transaction of its own.
 * @param all also those that are not due
 */
export async function meterRunning(ctx: Ctx, all = false): Promise<void> {
  const open = await ctx.db
    .select({ id: attempt.id, jobId: attempt.jobId, startedAt: attempt.startedAt, meteredMs: attempt.meteredMs })
    .from(attempt)
    .where(and(ne(attempt.state, "ended"), isNotNull(attempt.startedAt)));
  for (const { id, jobId, startedAt, meteredMs } of open) {
    if (startedAt === null || (!all && !isDue(startedAt, meteredMs, ctx.clock.now()))) continue;
    await ctx.write(async (tx) => {
      const row = await jobIn(tx, jobId);
      if (row) await meterAttempt(tx, ctx, row, id, { now: ctx.clock.now() });
    });
    ctx.failPoint("meter.stored");
  }
  await meterMachines(ctx, all);
}
