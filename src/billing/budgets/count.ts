/** Counts what was used against the budgets that apply to it. */
import { and, eq, or, sql } from "drizzle-orm";
import { budget, budgetUse } from "../../db/schema/billing.ts";
import type { Db } from "../../db/types.ts";
import { monthAt } from "../meters/months.ts";

/** Whom a use belongs to: what budgets can be for. */
interface BudgetScopes {
  org: string;
  userId: string | null;
  keyId: string | null;
  jobId: string | null;
  sweepId: string | null;
}

/** The budgets that apply to work of these scopes. */
async function budgetsOf(db: Db, of: BudgetScopes): Promise<(typeof budget.$inferSelect)[]> {
  const is = (scope: "team" | "user" | "key" | "job" | "sweep", id: string | null) =>
    id === null ? undefined : and(eq(budget.scope, scope), eq(budget.scopeId, id));
  return db
    .select()
    .from(budget)
    .where(
      and(
        eq(budget.org, of.org),
        or(
          is("team", of.org),
          is("user", of.userId),
          is("key", of.keyId),
          is("job", of.jobId),
          is("sweep", of.sweepId),
        ),
      ),
    );
}

/** Adds micro-dollars and GPU-seconds (negative to take them back) to the budgets of a use, in its transaction. */
export async function countUse(
  tx: Db,
  of: BudgetScopes,
  { at, micros, gpuSeconds }: { at: number; micros: number; gpuSeconds: number },
): Promise<void> {
  if (micros === 0 && gpuSeconds === 0) return;
  for (const { id, period } of await budgetsOf(tx, of))
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
}
