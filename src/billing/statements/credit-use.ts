/** What statements use of an organization's credits: the oldest first, those that have expired never. */
import { and, asc, eq, gt, isNull, lt, or, type SQL, sql } from "drizzle-orm";
import { credit, creditUse } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import { MICROS_PER_CENT } from "../meters/money.ts";

/** The condition for credits with something left. */
export const usableCredits = (org: string, now: number): SQL | undefined =>
  and(
    eq(credit.org, org),
    eq(credit.kind, "credit"),
    eq(credit.state, "done"),
    lt(credit.usedMicros, credit.micros),
    or(isNull(credit.expiresAt), gt(credit.expiresAt, now)),
  );

/**
 * Uses credits for a statement, in whole cents.
 * @param cents at most
 * @returns the cents that were used
 */
export async function applyCredits(
  tx: Db,
  { id, org }: { id: string; org: string },
  cents: number,
  now: number,
): Promise<number> {
  const rows = await tx
    .select()
    .from(credit)
    .where(usableCredits(org, now))
    .orderBy(asc(credit.createdAt), asc(credit.id));
  const available = rows.reduce((sum, row) => sum + row.micros - row.usedMicros, 0);
  const used = Math.max(0, Math.min(cents, Math.floor(available / MICROS_PER_CENT)));
  let left = used * MICROS_PER_CENT;
  for (const row of rows) {
    const micros = Math.min(left, row.micros - row.usedMicros);
    if (micros === 0) break;
    await tx
      .update(credit)
      .set({ usedMicros: sql`${credit.usedMicros} + ${micros}` })
      .where(eq(credit.id, row.id));
    await tx.insert(creditUse).values({ creditId: row.id, statementId: id, org, micros });
    left -= micros;
  }
  return used;
}
