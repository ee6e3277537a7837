/** Free allowances of a month: what is left of them, and what a use takes. */
import { and, eq, sql } from "drizzle-orm";
import { allowanceUse } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import type { MeterName } from "../meters/meters.ts";
import type { Lists } from "./lists.ts";
import { allowanceOf } from "./rate.ts";

/**
 * Takes up to `quantity` units of an organization's free allowance for a month.
 * @param month `2026-11`
 * @returns how many units are free
 */
export async function takeAllowance(
  tx: Db,
  lists: Lists,
  { org, month, meter, quantity }: { org: string; month: string; meter: MeterName; quantity: number },
): Promise<number> {
  const granted = allowanceOf(lists, meter);
  if (granted === 0 || quantity <= 0) return 0;
  const [row] = await tx
    .select({ used: allowanceUse.quantity })
    .from(allowanceUse)
    .where(and(eq(allowanceUse.org, org), eq(allowanceUse.month, month), eq(allowanceUse.meter, meter)));
  const free = Math.max(0, Math.min(quantity, granted - (row?.used ?? 0)));
  if (free > 0) await addUse(tx, { org, month, meter, quantity: free });
  return free;
}

/** Gives back units of an allowance that work had taken which is not charged after all. */
export async function returnAllowance(
  tx: Db,
  use: { org: string; month: string; meter: MeterName; quantity: number },
): Promise<void> {
  if (use.quantity > 0) await addUse(tx, { ...use, quantity: -use.quantity });
}

async function addUse(tx: Db, use: { org: string; month: string; meter: MeterName; quantity: number }): Promise<void> {
  await tx
    .insert(allowanceUse)
    .values(use)
    .onConflictDoUpdate({
      target: [allowanceUse.org, allowanceUse.month, allowanceUse.meter],
      set: { quantity: sql`${allowanceUse.quantity} + ${use.quantity}` },
    });
}
