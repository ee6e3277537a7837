/** What a job costs: what is recorded, the part that runs since then, and the estimate to its end. */
import { and, desc, eq, inArray, ne, sql } from "drizzle-orm";
import * as v from "valibot";
import { usdOf } from "../../billing/meters/money.ts";
import { chargeOf, isFree, type Work } from "../../billing/prices/charge.ts";
import { listIds, listsAt, listsOfJob } from "../../billing/prices/lists.ts";
import type { Ctx } from "../../ctx.ts";
import { meterInterval } from "../../db/schema/billing.ts";
import { attempt } from "../../db/schema/jobs.ts";
import { coresOf } from "./metering.ts";
import type { AttemptRow, JobRow } from "./model.ts";
import { timeLeftMs } from "./time-left.ts";

/** Range of the time left: the rate of the last report is rarely that of the end. */
const SPREAD = [0.9, 1.3] as const;

/** In US dollars, at the prices that the job was started with; an endpoint follows those of the time. */
export const JobCost = v.strictObject({
  /** Recorded, and what runs since the last record. */
  so_far_usd: v.number(),
  /** What an hour on its machine is charged; null when it has none. */
  per_hour_usd: v.nullable(v.number()),
  /** Cost at its end, before free allowances; null while it is unknown. */
  at_end_usd: v.nullable(v.tuple([v.number(), v.number()])),
  /** Ids of the price lists that it was started with, or that apply to the endpoint now. */
  price_lists: v.array(v.string()),
});
export type JobCost = v.InferOutput<typeof JobCost>;

const workOn = (row: JobRow, { provider, offer }: AttemptRow): Work => ({
  provider,
  gpus: offer.gpus,
  gpuModel: offer.gpuName,
  cores: coresOf(row),
  model: row.spec.base_model.id,
  pricePerHour: offer.pricePerHour,
  endpoint: null,
});

/** Micro-dollars and training tokens of a job that are recorded. */
async function recorded(ctx: Ctx, jobId: string): Promise<{ micros: number; tokens: number }> {
  const { micros, meter, quantity } = meterInterval;
  const [found] = await ctx.db
    .select({
      micros: sql<number>`coalesce(sum(${micros}), 0)`,
      tokens: sql<number>`coalesce(sum(iif(${meter} = 'training_tokens', ${quantity}, 0)), 0)`,
    })
    .from(meterInterval)
    .where(eq(meterInterval.jobId, jobId));
  return found ?? { micros: 0, tokens: 0 };
}

/**
 * Seconds of an open attempt since its last record that will be charged. What a trainer needs to start up is free, so
 * nothing is counted before the first record of work.
 */
async function unrecordedSeconds(ctx: Ctx, { id }: AttemptRow): Promise<number> {
  const [last] = await ctx.db
    .select({
      to: meterInterval.to,
      free: meterInterval.free,
      quantity: meterInterval.quantity,
      why: meterInterval.freeReason,
    })
    .from(meterInterval)
    .where(and(eq(meterInterval.attemptId, id), inArray(meterInterval.meter, ["gpu_seconds", "cpu_seconds"])))
    .orderBy(desc(meterInterval.to))
    .limit(1);
  if (!last || (last.why !== null && last.why !== "allowance")) return 0;
  return Math.max(0, (ctx.clock.now() - last.to) / 1000);
}

/** The cost of a job so far, and to its end while it runs. */
export async function jobCost(ctx: Ctx, row: JobRow): Promise<JobCost> {
  const at = row.kind === "serve" ? ctx.clock.now() : row.createdAt;
  const lists = (await listsOfJob(ctx.db, row.id)) ?? (await listsAt(ctx.db, row.org, at));
  const { micros, tokens } = await recorded(ctx, row.id);
  const cost: JobCost = {
    so_far_usd: usdOf(micros),
    per_hour_usd: null,
    at_end_usd: null,
    price_lists: listIds(lists),
  };
  const [open] = await ctx.db
    .select()
    .from(attempt)
    .where(and(eq(attempt.jobId, row.id), ne(attempt.state, "ended")))
    .limit(1);
  if (!open) return cost;
  const work = workOn(row, open);
  const { tokens_seen: seen = 0, step = 0, total_steps: steps = 0 } = row.progress;
  const newTokens = row.kind === "train" ? Math.max(0, seen - tokens) : 0;
  const now = micros + chargeOf(lists, work, await unrecordedSeconds(ctx, open), newTokens);
  const left = timeLeftMs(row.progress, row.progressAt, ctx.clock.now());
  const tokensLeft = row.kind === "train" && step > 0 ? (seen / step) * Math.max(0, steps - step) : 0;
  const atEnd = (factor: number) => usdOf(now + chargeOf(lists, work, ((left ?? 0) / 1000) * factor, tokensLeft));
  return {
    ...cost,
    so_far_usd: usdOf(now),
    per_hour_usd: usdOf(chargeOf(lists, work, 3600)),
    at_end_usd: isFree(lists) ? [0, 0] : left === null ? null : [atEnd(SPREAD[0]), atEnd(SPREAD[1])],
  };
}
