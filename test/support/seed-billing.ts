/** Seeded billing: the statement of the month before, for charge-back, with a credit. */
import { recordUse } from "../../src/billing/ledger/record.ts";
import { monthAt, monthRange } from "../../src/billing/meters/months.ts";
import { DEFAULT_SETTINGS } from "../../src/billing/settings/model.ts";
import { giveCredit } from "../../src/billing/statements/credits.ts";
import { closeMonths } from "../../src/billing/statements/pass.ts";
import { type Actor, type Ctx, systemActor } from "../../src/ctx.ts";
import { installation } from "../../src/db/schema/audit.ts";
import { priceList } from "../../src/db/schema/billing.ts";
import { HOUR } from "./seed-rows.ts";

const item = { gpu_model: null, provider: null, model: null, cost_plus_percent: null };

/** The use of two GPUs and of storage, in the month before and in this one. */
export async function addStatements(ctx: Ctx, actor: Actor): Promise<void> {
  const { from: thisMonth } = monthRange(monthAt(ctx.clock.now()));
  const month = monthAt(thisMonth - 1);
  const { from } = monthRange(month);
  const items = [
    { ...item, meter: "gpu_seconds", unit_micros: 2_490_000 },
    { ...item, meter: "byte_hours", unit_micros: 80_000 },
  ];
  const value = JSON.stringify({ ...DEFAULT_SETTINGS, mode: "chargeback", first_month: month, grace_hours: 0 });
  await ctx.write(async (tx) => {
    await tx.insert(installation).values({ key: "billing", value });
    await tx.insert(priceList).values({
      id: "prices_seed_statements",
      prices: { items, free: [] },
      effectiveAt: from,
      createdBy: actor.userId,
      createdAt: from,
    });
    const use = {
      org: actor.org,
      userId: actor.userId,
      keyId: null,
      jobId: null,
      attemptId: null,
      deploymentId: null,
      sweepId: null,
      free: null,
      costMicros: null,
    };
    for (const [n, at] of [from, from + 5 * HOUR, thisMonth].entries()) {
      const time = { from: at, to: at + HOUR };
      const gpu = { kind: "train", meter: "gpu_seconds", model: null, gpuModel: n % 2 ? "H100" : "L4" } as const;
      await recordUse(tx, at, {
        ...use,
        ...time,
        ...gpu,
        source: `seed gpu ${n}`,
        provider: "process",
        quantity: 3300,
      });
      const stored = { kind: "storage", meter: "byte_hours", model: "datasets", gpuModel: null } as const;
      await recordUse(tx, at, {
        ...use,
        ...time,
        ...stored,
        source: `seed bytes ${n}`,
        provider: null,
        quantity: 4e12,
      });
    }
  });
  const given = { organization: actor.org, amount_usd: 1.5, expires_at: null, statement: null };
  await giveCredit(ctx, systemActor(), { ...given, reason: "outage", note: "GPUs were down on the 4th" });
  await closeMonths(ctx);
}
