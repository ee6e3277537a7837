/** The price lists in force: at a time, or those that a job was started with. */
import { and, desc, eq, inArray, isNull, lte, notExists, type SQL } from "drizzle-orm";
import { jobPrice, priceList } from "../../db/schema/billing.ts";
import { job } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import type { Listed, Prices } from "./rate.ts";

export interface Lists {
  org: Listed;
  base: Listed;
}

const shown = (row: typeof priceList.$inferSelect | undefined): Listed =>
  row ? { id: row.id, prices: row.prices as Prices, effectiveAt: row.effectiveAt } : null;

async function newest(db: Db, of: SQL, at: number): Promise<Listed> {
  const [row] = await db
    .select()
    .from(priceList)
    .where(and(of, lte(priceList.effectiveAt, at), isNull(priceList.withdrawnAt)))
    .orderBy(desc(priceList.effectiveAt), desc(priceList.createdAt))
    .limit(1);
  return shown(row);
}

/** The lists that apply to an organization at a time, in milliseconds since 1970. */
export async function listsAt(db: Db, org: string, at: number): Promise<Lists> {
  return {
    org: await newest(db, eq(priceList.org, org), at),
    base: await newest(db, isNull(priceList.org), at),
  };
}

/** Stores the prices in force as those of a job; they hold for all of its attempts. */
export async function freezePrices(
  tx: Db,
  job: { id: string; org: string; maxMicros: number | null },
  at: number,
): Promise<void> {
  const { org, base } = await listsAt(tx, job.org, at);
  await tx
    .insert(jobPrice)
    .values({
      jobId: job.id,
      org: job.org,
      priceListId: base?.id ?? null,
      orgPriceListId: org?.id ?? null,
      maxMicros: job.maxMicros,
    })
    .onConflictDoNothing();
}

/**
 * The lists that a job was started with; null for jobs of versions that stored none, and for endpoints: these run
 * without an end and follow the prices of the time.
 */
export async function listsOfJob(db: Db, jobId: string): Promise<Lists | null> {
  const endpoint = db
    .select({ id: job.id })
    .from(job)
    .where(and(eq(job.id, jobId), eq(job.kind, "serve")));
  const [frozen] = await db
    .select()
    .from(jobPrice)
    .where(and(eq(jobPrice.jobId, jobId), notExists(endpoint)))
    .limit(1);
  if (!frozen) return null;
  const ids = [frozen.priceListId, frozen.orgPriceListId].filter((id) => id !== null);
  const rows = ids.length ? await db.select().from(priceList).where(inArray(priceList.id, ids)) : [];
  const of = (id: string | null) => shown(rows.find((row) => row.id === id));
  return { org: of(frozen.orgPriceListId), base: of(frozen.priceListId) };
}

/** Ids of the lists that apply: of the organization, then of the installation. */
export const listIds = ({ org, base }: Lists): string[] => [org, base].flatMap((list) => list?.id ?? []);
