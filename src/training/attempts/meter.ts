/** The regular pass that meters running attempts, so that a month can close and a budget is seen while they run. */
import { and, isNotNull, ne } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { attempt } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import { meterAttempt, meterOpen } from "../jobs/metering.ts";
import { jobIn } from "../jobs/transitions.ts";

const SHORTEST_MS = 30_000;
const LONGEST_MS = 600_000;
const HOUR_MS = 3_600_000;

/** Begins another interval of the open attempt of a job: what it serves is about to change. */
export async function meterJob(tx: Db, ctx: Ctx, jobId: string): Promise<void> {
  const row = await jobIn(tx, jobId);
  if (row) await meterOpen(tx, ctx, row);
}

/**
 * Whether an attempt is due: after half a minute at first, later after 1/60 of its time (at most ten minutes), so that
 * an endpoint does not fill the table; and when an hour of the clock has ended.
 */
function isDue({ startedAt, meteredMs }: { startedAt: number | null; meteredMs: number }, now: number): boolean {
  if (startedAt === null) return false;
  const elapsed = now - startedAt;
  const pause = Math.min(LONGEST_MS, Math.max(SHORTEST_MS, elapsed / 60));
  return elapsed - meteredMs >= pause || Math.floor(now / HOUR_MS) > Math.floor((startedAt + meteredMs) / HOUR_MS);
}

/**
 * Meters every running attempt that is due, each in a transaction of its own.
 * @param all also those that are not due
 */
export async function meterRunning(ctx: Ctx, all = false): Promise<void> {
  const open = await ctx.db
    .select({ id: attempt.id, jobId: attempt.jobId, startedAt: attempt.startedAt, meteredMs: attempt.meteredMs })
    .from(attempt)
    .where(and(ne(attempt.state, "ended"), isNotNull(attempt.startedAt)));
  for (const { id, jobId, ...at } of open) {
    if (!all && !isDue(at, ctx.clock.now())) continue;
    await ctx.write(async (tx) => {
      const row = await jobIn(tx, jobId);
      if (row) await meterAttempt(tx, ctx, row, id, { now: ctx.clock.now() });
    });
    ctx.failPoint("meter.stored");
  }
}
