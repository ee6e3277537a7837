/** The largest cost that the owner of a job allows it: stored with the prices that it was started with. */
import { eq, inArray, sql } from "drizzle-orm";
import * as v from "valibot";
import { jobPrice } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import { microsFrom } from "../meters/money.ts";
import { amountUpTo } from "../meters/usd.ts";
import { freezePrices } from "../prices/lists.ts";

/** A maximum cost in dollars, as requests have it; null = none. */
export const MaxCostUsd = v.nullable(v.pipe(amountUpTo(1_000_000_000), v.gtValue(0, "must be greater than 0")));

/** In micro-dollars; null without one. */
export const maxMicrosOf = (usd: number | null | undefined): number | null =>
  usd === null || usd === undefined ? null : microsFrom(usd);

/** The maximum cost of a job and what it has used, in micro-dollars. */
export interface MaxCost {
  micros: number;
  used: number;
}

/** The maximum costs of those of the jobs that have one. */
export async function maxCostsOf(db: Db, jobIds: readonly string[]): Promise<Map<string, MaxCost>> {
  if (jobIds.length === 0) return new Map();
  const used = sql<number>`(select coalesce(sum(m.micros), 0) from meter_interval m where m.job_id = job_price.job_id)`;
  const rows = await db
    .select({ jobId: jobPrice.jobId, micros: jobPrice.maxMicros, used })
    .from(jobPrice)
    .where(inArray(jobPrice.jobId, [...jobIds]));
  return new Map(
    rows.flatMap(({ jobId, micros, used: sum }) => (micros === null ? [] : [[jobId, { micros, used: sum }]])),
  );
}

/** Sets or removes the maximum cost of a job. */
export async function setMaxCost(tx: Db, job: { id: string; org: string }, maxMicros: number | null, at: number) {
  await freezePrices(tx, { ...job, maxMicros }, at);
  await tx.update(jobPrice).set({ maxMicros }).where(eq(jobPrice.jobId, job.id));
}
