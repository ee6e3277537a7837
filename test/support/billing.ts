/** Prices and recorded use for tests of billing. */
import { recordUse, type Use } from "../../src/billing/ledger/record.ts";
import type { Prices } from "../../src/billing/prices/rate.ts";
import { priceList, statement, statementLine } from "../../src/db/schema/billing.ts";
import type { TestApp } from "./app.ts";

export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;

/** An item that matches everything, without a price. */
export const item = { gpu_model: null, provider: null, model: null, unit_micros: null, cost_plus_percent: null };

/** Stores a price list, in force from the beginning unless a time is given. */
export async function addPriceList(
  t: TestApp,
  prices: Prices,
  org: string | null = null,
  effectiveAt = 0,
): Promise<void> {
  const id = `prices_${crypto.randomUUID()}`;
  await t.ctx.write((tx) =>
    tx.insert(priceList).values({ id, org, prices, effectiveAt, createdBy: "system", createdAt: effectiveAt }),
  );
}

/** The same without free allowances. */
export const setPrices = (t: TestApp, items: Prices["items"], org: string | null = null): Promise<void> =>
  addPriceList(t, { items, free: [] }, org);

/** One hour on a GPU from a time on, with other fields as given. */
export function useOf(org: string, from: number, more: Partial<Use> & Pick<Use, "source">): Use {
  return {
    org,
    userId: null,
    keyId: null,
    kind: "train",
    meter: "gpu_seconds",
    jobId: null,
    attemptId: null,
    deploymentId: null,
    sweepId: null,
    model: null,
    provider: "process",
    gpuModel: "H100",
    from,
    to: from + HOUR,
    quantity: 3600,
    free: null,
    costMicros: null,
    ...more,
  };
}

/** Records one hour on a GPU that ends now, with other fields as given. */
export function recordHour(t: TestApp, more: Partial<Use> & Pick<Use, "source">): Promise<boolean> {
  const now = t.ctx.clock.now();
  const use = useOf(t.orgs.a, now - HOUR, { userId: t.users.member, ...more });
  return t.ctx.write((tx) => recordUse(tx, now, use));
}

/** Records one hour on a GPU of an organization from a time on, with other fields as given. */
export const useFrom = (t: TestApp, org: string, from: number, more: Partial<Use> = {}): Promise<boolean> =>
  recordHour(t, {
    source: `test ${org} ${more.meter ?? "gpu_seconds"} ${from}`,
    org,
    userId: null,
    from,
    to: from + HOUR,
    ...more,
  });

/** Stores an open invoice over `cents`, of which `charges` are fees and interest. @param n its number, 1 to 9 */
export async function addInvoice(
  t: TestApp,
  given: { n: number; org: string; cents: number; dueAt: number; charges?: number },
): Promise<string> {
  const { n, org, cents, dueAt, charges = 0 } = given;
  const id = `stm_${n}`;
  const lines = [
    { kind: "train", cents: cents - charges },
    { kind: "interest", cents: charges },
  ];
  await t.ctx.write(async (tx) => {
    await tx.insert(statement).values({
      id,
      number: `2026-00000${n}`,
      org,
      month: `2026-0${n}`,
      mode: "stripe",
      state: "open",
      subtotalCents: cents,
      totalCents: cents,
      closedAt: dueAt - 14 * DAY,
      dueAt,
    });
    for (const [position, line] of lines.entries()) {
      const micros = line.cents * 10_000;
      const row = { ...line, id: `stml_${id}${position}`, statementId: id, position, description: line.kind };
      await tx.insert(statementLine).values({ ...row, quantity: 1, unitMicros: micros, micros });
    }
  });
  return id;
}
