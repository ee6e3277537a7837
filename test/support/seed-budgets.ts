/** Seeded budgets: one with room, one nearly used with a reservation, one that is used up. */
import { monthAt } from "../../src/billing/meters/months.ts";
import type { Actor, Ctx } from "../../src/ctx.ts";
import { budget, budgetUse } from "../../src/db/schema/billing.ts";

const DOLLAR = 1_000_000;
const HOUR_S = 3600;

export async function addBudgets(ctx: Ctx, { org, userId }: Actor): Promise<void> {
  const now = ctx.clock.now();
  const at = { org, createdBy: userId, createdAt: now, updatedAt: now };
  await ctx.write(async (tx) => {
    await tx.insert(budget).values([
      {
        id: "bud_seed1",
        ...at,
        scope: "team",
        scopeId: org,
        period: "month",
        limitMicros: 500 * DOLLAR,
        limitGpuSeconds: 400 * HOUR_S,
      },
      { id: "bud_seed2", ...at, scope: "user", scopeId: userId, period: "month", limitMicros: 120 * DOLLAR },
      { id: "bud_seed3", ...at, scope: "installation", scopeId: org, period: "total", limitGpuSeconds: 100 * HOUR_S },
    ]);
    await tx.insert(budgetUse).values([
      { budgetId: "bud_seed1", period: monthAt(now), micros: 214.6 * DOLLAR, gpuSeconds: 131 * HOUR_S, notified: 100 },
      { budgetId: "bud_seed2", period: monthAt(now), micros: 101.2 * DOLLAR, notified: 100 },
      { budgetId: "bud_seed3", period: "total", gpuSeconds: 100 * HOUR_S, notified: 100 },
    ]);
  });
}
