/** Counts what was used against the budgets that apply to it, and takes it out of what was reserved for it. */
import { eq, sql } from "drizzle-orm";
import { budget, budgetHold, budgetUse } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import { monthAt } from "../meters/months.ts";
import { type BudgetScopes, whereApplies } from "./scopes.ts";

/** Adds micro-dollars and GPU-seconds (negative to take them back) to the budgets of a use, in its transaction. */
export async function countUse(
  tx: Db,
  of: BudgetScopes,
  { at, micros, gpuSeconds }: { at: number; micros: number; gpuSeconds: number },
): Promise<void> {
  if (micros === 0 && gpuSeconds === 0) return;
  const rows = await tx.select({ id: budget.id, period: budget.period }).from(budget).where(whereApplies(of));
  for (const { id, period } of rows)
    await tx
      .insert(budgetUse)
      .values({ budgetId: id, period: period === "total" ? "total" : monthAt(at), micros, gpuSeconds })
      .onConflictDoUpdate({
        target: [budgetUse.budgetId, budgetUse.period],
        set: {
          micros: sql`${budgetUse.micros} + ${micros}`,
          gpuSeconds: sql`${budgetUse.gpuSeconds} + ${gpuSeconds}`,
        },
      });
  if (of.jobId === null || micros < 0 || gpuSeconds < 0) return;
  await tx
    .update(budgetHold)
    .set({
      micros: sql`max(0, ${budgetHold.micros} - ${micros})`,
      gpuSeconds: sql`max(0, ${budgetHold.gpuSeconds} - ${gpuSeconds})`,
    })
    .where(eq(budgetHold.jobId, of.jobId));
}
