/** The ledger: each use counts once, sums agree, lost work is taken back, and rows are never changed. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { sql } from "drizzle-orm";
import { recordUse, reverseUse, type Use } from "../../src/billing/ledger/record.ts";
import { amountOf, centsOf, microsFrom } from "../../src/billing/meters/money.ts";
import type { Prices } from "../../src/billing/prices/rate.ts";
import { budget } from "../../src/db/schema/billing.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { addPriceList, HOUR, useOf as hourOf, item } from "../support/billing.ts";

const START = Date.UTC(2026, 10, 3);

let t: TestApp;

beforeAll(async () => {
  t = await createTestApp();
});
afterAll(async () => {
  await t.close();
});

const setPrices = (prices: Prices, org: string | null = null, effectiveAt = 0) =>
  addPriceList(t, prices, org, effectiveAt);
const useOf = (org: string, more: Partial<Use> & Pick<Use, "source">) =>
  hourOf(org, START, { userId: `user of ${org}`, ...more });
const record = (use: Use) => t.ctx.write((tx) => recordUse(tx, START, use));
const sumsOf = async (org: string) => {
  const [row] = await t.ctx.db.all<{ quantity: number; micros: number; free: number; entries: number; owed: number }>(
    sql`select coalesce(sum(quantity), 0) quantity, coalesce(sum(micros), 0) micros, coalesce(sum(free), 0) free,
      (select coalesce(sum(micros), 0) from ledger_entry where org = ${org}) entries,
      (select coalesce(sum(micros), 0) from ledger_entry where org = ${org} and account = 'unbilled') owed
      from meter_interval where org = ${org}`,
  );
  return row;
};

describe("money", () => {
  test("amounts are exact and rounded half to even, whatever the size of the product", () => {
    expect(amountOf(1, 1, 2)).toBe(0);
    expect(amountOf(3, 1, 2)).toBe(2);
    expect(amountOf(-3, 1, 2)).toBe(-2);
    expect(amountOf(9_007_199_254_740_991, 2_000_000, 1024 ** 3 * 730)).toBe(22_982_487_671);
    expect(centsOf(15_000)).toBe(2);
    expect(centsOf(25_000)).toBe(2);
    expect(() => amountOf(9_007_199_254_740_991, 2, 1)).toThrow("larger than nine billion dollars");
  });

  test("dollars with more than six decimals are refused", () => {
    expect(microsFrom(0.000001)).toBe(1);
    expect(microsFrom(2.35)).toBe(2_350_000);
    expect(microsFrom(0.0000001)).toBeNull();
    expect(microsFrom(Number.NaN)).toBeNull();
    expect(microsFrom(1e300)).toBeNull();
  });
});

describe("prices", () => {
  test("the most specific item wins, an organization's list comes first, and a later list holds from its time on", async () => {
    await setPrices({
      items: [
        { ...item, meter: "gpu_seconds", unit_micros: 1_000_000 },
        { ...item, meter: "gpu_seconds", gpu_model: "H100", unit_micros: 3_000_000 },
        { ...item, meter: "gpu_seconds", provider: "cloud", cost_plus_percent: 20 },
      ],
      free: [],
    });
    await setPrices(
      { items: [{ ...item, meter: "gpu_seconds", gpu_model: "H100", unit_micros: 2_000_000 }], free: [] },
      "special",
    );
    await setPrices(
      { items: [{ ...item, meter: "gpu_seconds", unit_micros: 5_000_000 }], free: [] },
      null,
      START + HOUR,
    );
    await record(useOf("plain", { source: "p1" }));
    await record(useOf("plain", { source: "p2", gpuModel: "A10" }));
    await record(useOf("plain", { source: "p3", gpuModel: "A10", provider: "cloud", costMicros: 1_500_000 }));
    await record(useOf("plain", { source: "p4", from: START + HOUR, to: START + 2 * HOUR }));
    await record(useOf("special", { source: "s1" }));
    await record(useOf("special", { source: "s2", gpuModel: "A10" }));
    const rows = await t.ctx.db.all<{ source: string; micros: number }>(
      sql`select source, micros from meter_interval where org in ('plain', 'special') order by n`,
    );
    expect(Object.fromEntries(rows.map(({ source, micros }) => [source, micros]))).toEqual({
      p1: 3_000_000,
      p2: 1_000_000,
      p3: 1_800_000,
      p4: 5_000_000,
      s1: 2_000_000,
      s2: 1_000_000,
    });
  });

  test("a free allowance is used up once in a month, and what is taken back is free again", async () => {
    await setPrices({ items: [], free: [{ meter: "gpu_seconds", quantity: 5000 }] }, "allowed");
    const at = (n: number) => ({ from: START + n * HOUR, to: START + (n + 1) * HOUR });
    await record(useOf("allowed", { source: "a0" }));
    await record(useOf("allowed", { source: "a1", ...at(1) }));
    expect(await sumsOf("allowed")).toMatchObject({ quantity: 7200, free: 5000, micros: 3_055_556 });
    await t.ctx.write((tx) => reverseUse(tx, START, { source: "a0", since: START, why: "lost", sweepId: null }));
    await record(useOf("allowed", { source: "a2", ...at(2) }));
    expect(await sumsOf("allowed")).toMatchObject({ quantity: 7200, free: 5000, entries: 0 });
  });
});

describe("the ledger", () => {
  /** A small seeded generator: the same numbers in every run. */
  function random(seed: number) {
    let state = seed;
    return (below: number) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
  }

  test("holds its sums for any order of uses, repetitions and reversals", async () => {
    await t.ctx.write((tx) =>
      tx.insert(budget).values(
        (["month", "total"] as const).map((period) => ({
          id: `bud_${period}`,
          org: "many",
          scope: "team" as const,
          scopeId: "many",
          period,
          limitMicros: 1,
          createdBy: "system",
          createdAt: 0,
          updatedAt: 0,
        })),
      ),
    );
    const next = random(7);
    const uses = Array.from({ length: 100 }, (_, n): Use => {
      const from = START + n * HOUR + next(1000);
      const charged = next(10) > 0 ? null : "loading";
      return useOf("many", { source: `m${n}`, from, to: from + 1 + next(HOUR), quantity: next(40_000), free: charged });
    });
    for (let step = 0; step < 300; step++) {
      const use = uses[next(uses.length)] as Use;
      if (next(4) > 0) await record(use);
      else
        await t.ctx.write((tx) =>
          reverseUse(tx, START, { source: use.source, since: use.from + next(HOUR), why: "lost", sweepId: null }),
        );
    }
    const sums = await sumsOf("many");
    expect(sums?.micros).toBeGreaterThan(1_000_000);
    expect(sums?.entries).toBe(0);
    expect(sums?.owed).toBe(sums?.micros as number);
    const [twice] = await t.ctx.db.all<{ n: number }>(
      sql`select count(*) n from (select source from meter_interval group by source having count(*) > 1)`,
    );
    expect(twice?.n).toBe(0);
    const counted = await t.ctx.db.all<{ budget: string; micros: number; seconds: number }>(
      sql`select budget_id budget, sum(micros) micros, sum(gpu_seconds) seconds from budget_use group by 1 order by 1`,
    );
    expect(counted).toEqual(
      ["bud_month", "bud_total"].map((id) => ({
        budget: id,
        micros: sums?.micros as number,
        seconds: sums?.quantity as number,
      })),
    );
    const [below] = await t.ctx.db.all<{ n: number }>(sql`select count(*) n from (select 1 from meter_interval
      where org = 'many' group by coalesce(reverses, source) having sum(quantity) < 0 or sum(micros) < 0 or sum(free) < 0)`);
    expect(below?.n).toBe(0);
  });

  test("refuses to change or delete what is written", async () => {
    await record(useOf("kept", { source: "k1" }));
    for (const change of [
      sql`update meter_interval set quantity = 1 where source = 'k1'`,
      sql`delete from meter_interval where source = 'k1'`,
      sql`update ledger_entry set micros = 0 where org = 'kept'`,
      sql`delete from ledger_entry where org = 'kept'`,
    ])
      expect(t.ctx.write((tx) => tx.run(change))).rejects.toMatchObject({
        cause: { message: expect.stringContaining("are never") },
      });
    await t.ctx.write((tx) => tx.run(sql`update meter_interval set statement_id = 'stm_1' where source = 'k1'`));
    expect(
      t.ctx.write((tx) => tx.run(sql`update meter_interval set statement_id = 'stm_2' where source = 'k1'`)),
    ).rejects.toThrow();
  });
});
