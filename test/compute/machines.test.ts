/** What rented machines cost: metered from the vendor's first second until they are gone, whoever they belong to. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { marginsOf } from "../../src/billing/statements/overview.ts";
import { useOf } from "../../src/compute/limits/service.ts";
import { costOfAttempts, meterMachines } from "../../src/compute/machines/meter.ts";
import { endMachines, followMachine, reconcileMachines } from "../../src/compute/machines/record.ts";
import type { MachineCost, OwnedWork, WorkStatus } from "../../src/contract/provider.ts";
import { meterInterval } from "../../src/db/schema/billing.ts";
import { rentedMachine } from "../../src/db/schema/hosts.ts";
import { attempt } from "../../src/db/schema/jobs.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { type Launched, metered } from "../support/attempt-metering.ts";
import { fakeClock } from "../support/clock.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const clock = fakeClock(Date.UTC(2026, 9, 31, 21, 30));
let t: TestApp;
let tests = 0;
/** Each test has a vendor of its own: intervals are never deleted. */
let provider = "";
const { violations, launched, phase, finish, sumOf } = metered(() => t, clock);

beforeAll(async () => {
  t = await createTestApp({ ctx: { clock } });
});
beforeEach(() => {
  provider = `cloud-${++tests}`;
  clock.advance(MINUTE);
});
afterAll(() => t.close());

const RUNNING: WorkStatus = { state: "running", exitCode: null, reason: null, startedAt: null, endedAt: null };

const rowOf = async ({ attemptId }: Launched) => {
  const [row] = await t.ctx.db.select().from(attempt).where(eq(attempt.id, attemptId));
  if (!row) throw new Error("no attempt");
  return row;
};
const handleOf = ({ attemptId }: Launched) => ({ provider, key: attemptId.replace("_", "-"), machine: "m-1" });
async function sees(of: Launched, status: Partial<WorkStatus> = {}, asOf = clock.now()) {
  const handle = handleOf(of);
  await t.ctx.write((tx) => tx.update(attempt).set({ handle }).where(eq(attempt.id, of.attemptId)));
  await followMachine(t.ctx, await rowOf(of), handle, { ...RUNNING, machine: "m-1", ...status }, asOf);
}
const ends = async (of: Launched) => {
  await phase(of, "training");
  await finish(of);
};
const gone = async (of: Launched) => {
  const row = await rowOf(of);
  await t.ctx.write(async (tx) => {
    await tx.update(attempt).set({ goneAt: clock.now() }).where(eq(attempt.id, of.attemptId));
    await endMachines(tx, t.ctx, row);
  });
};
const owned = (key: string, ...machines: MachineCost[]): OwnedWork => ({
  handle: { provider, key },
  labels: {},
  state: "running",
  machines,
});
const list = (...works: OwnedWork[]) => reconcileMachines(t.ctx, provider, works, clock.now());
const charged = async () => {
  const rows = await t.ctx.db.select().from(meterInterval).where(eq(meterInterval.provider, provider));
  return rows.reduce((sum, { quantity, meter }) => sum + (meter === "provider_micros" ? quantity : 0), 0);
};

describe("the machine of an attempt", () => {
  test("is metered until it is gone, at the price of each time; the customer pays for the attempt alone", async () => {
    const of = await launched({ gpus: 1, price: 3.6, provider });
    const from = clock.now() - 20_000;
    await sees(of, { chargedFrom: from });
    await phase(of, "training");
    clock.advance(2 * HOUR);
    await meterMachines(t.ctx);
    // The vendor raises its price; a second look says the same.
    await sees(of, { pricePerHour: 7.2 });
    await sees(of, { pricePerHour: 7.2 });
    clock.advance(HOUR);
    await finish(of);
    const paid = await sumOf(of.id, "gpu_seconds");
    // The key of the account is refused for ten minutes: nothing can be deleted.
    clock.advance(10 * MINUTE);
    await meterMachines(t.ctx, true);
    clock.advance(5 * MINUTE);
    await gone(of);
    await gone(of);
    const expected = Math.floor(3.6e6 * (2 + 20 / 3600)) + 7.2e6 * 1.25;
    expect(Math.abs((await charged()) - expected)).toBeLessThan(10);
    expect(await sumOf(of.id, "gpu_seconds")).toEqual(paid);
    expect(paid.micros).toBe(3.6e6 * 3);
    expect((await sumOf(of.id, "provider_micros")).micros).toBe(0);
    expect(await violations()).toEqual([]);
    clock.advance(HOUR);
    await meterMachines(t.ctx, true);
    expect(Math.abs((await charged()) - expected)).toBeLessThan(10);
  });

  test("that a list which lags does not show is there as long as its provider says so", async () => {
    const of = await launched({ gpus: 1, price: 3.6, provider });
    await sees(of);
    clock.advance(MINUTE);
    await list();
    clock.advance(MINUTE);
    await sees(of, { state: "absent", machine: undefined });
    // It was not there in one answer, and is in the next.
    clock.advance(MINUTE);
    await sees(of);
    await ends(of);
    clock.advance(MINUTE);
    await gone(of);
    expect(await charged()).toBe(240_000);
    expect(await violations()).toEqual([]);
  });

  test("that has ended and was listed is over when a list no longer shows it", async () => {
    const of = await launched({ gpus: 1, price: 3.6, provider });
    const { key } = handleOf(of);
    await sees(of);
    await list(owned(key, { machine: "m-1", pricePerHour: 3.6 }));
    await ends(of);
    clock.advance(MINUTE);
    const asked = clock.now();
    await list();
    clock.advance(MINUTE);
    // An answer that was asked for earlier arrives late.
    await sees(of, {}, asked);
    await gone(of);
    expect(await charged()).toBe(60_000);
    expect(await violations()).toEqual([]);
  });

  test("of a provider that reports no cost is metered at the price of its offer, from the launch", async () => {
    const of = await launched({ gpus: 1, price: 3.6, provider });
    clock.advance(MINUTE);
    await ends(of);
    clock.advance(MINUTE);
    await gone(of);
    expect(await charged()).toBe(120_000);
    expect(await violations()).toEqual([]);
  });

  test("whose charge an earlier version metered with the attempt continues where that ended", async () => {
    const of = await launched({ gpus: 1, price: 3.6, provider });
    const [from, to] = [clock.now(), clock.now() + MINUTE];
    await t.ctx.write((tx) =>
      tx.insert(meterInterval).values({
        source: `${of.attemptId} provider_micros 0`,
        org: t.orgs.a,
        userId: t.users.admin,
        kind: "train",
        meter: "provider_micros",
        jobId: of.id,
        attemptId: of.attemptId,
        provider,
        from,
        to,
        quantity: 60_000,
        at: to,
      }),
    );
    clock.advance(2 * MINUTE);
    await sees(of, { chargedFrom: from });
    await ends(of);
    clock.advance(MINUTE);
    await gone(of);
    expect(await charged()).toBe(180_000);
    expect(await violations()).toEqual([]);
  });
});

describe("a machine beside", () => {
  test("a second one of a launch belongs to the job, also when it was deleted before any list showed it", async () => {
    const of = await launched({ gpus: 1, price: 3.6, provider });
    const { key } = handleOf(of);
    const from = clock.now();
    await sees(of);
    clock.advance(MINUTE);
    const second = { machine: "m-2", pricePerHour: 7.2, chargedFrom: from, charged: false, endedAt: from + 10_000 };
    for (let n = 0; n < 2; n++) await list(owned(key, { machine: "m-1", pricePerHour: 3.6 }, second));
    await ends(of);
    await gone(of);
    expect((await sumOf(of.id, "provider_micros")).all).toBe(60_000 + 20_000);
    expect(await violations()).toEqual([]);
  });

  test("one that no job owns is the installation's cost: today, in the month's limit, and on no statement", async () => {
    const from = clock.now() - 30 * MINUTE;
    const stray = owned("att-unknown", { machine: "m-9", pricePerHour: 6, chargedFrom: from });
    await list(stray);
    clock.advance(30 * MINUTE);
    const use = await useOf(t.ctx.db, provider, clock.now());
    expect(use).toMatchObject({ machines: 1, perHourUsd: 6 });
    expect(use.monthUsd).toBeGreaterThan(0);
    await list(stray);
    await list();
    expect(await charged()).toBe(6_000_000);
    const rows = await t.ctx.db.select().from(meterInterval).where(eq(meterInterval.provider, provider));
    expect(rows.every(({ org, jobId, micros, statementId }) => org === "" && !jobId && !micros && statementId)).toBe(
      true,
    );
    expect((await useOf(t.ctx.db, provider, clock.now())).machines).toBe(0);
    const months = await Promise.all(["2026-10", "2026-11"].map((month) => marginsOf(t.ctx, t.actor("admin"), month)));
    const mine = months.flat().filter((margin) => margin.provider === provider);
    expect(mine.reduce((sum, { costMicros }) => sum + costMicros, 0)).toBe(6_000_000);
    expect(await violations()).toEqual([]);
  });

  test("one that its vendor stopped costs nothing from then on", async () => {
    const stopped = { machine: "m-5", pricePerHour: 6, chargedFrom: clock.now() };
    await list(owned("att-unknown", stopped));
    clock.advance(10 * MINUTE);
    await list(owned("att-unknown", { ...stopped, charged: false }));
    clock.advance(HOUR);
    await list(owned("att-unknown", { ...stopped, charged: false }));
    await list();
    expect(await charged()).toBe(1_000_000);
  });
});

test("costs so far include what no interval has yet, and the check of the ledger finds what is missing", async () => {
  const of = await launched({ gpus: 1, price: 3.6, provider });
  await sees(of);
  clock.advance(10 * MINUTE);
  expect((await costOfAttempts(t.ctx, [of.attemptId])).get(of.attemptId)).toBeCloseTo(0.6, 6);
  await meterMachines(t.ctx, true);
  clock.advance(10 * MINUTE);
  expect((await costOfAttempts(t.ctx, [of.attemptId])).get(of.attemptId)).toBeCloseTo(1.2, 6);
  await ends(of);
  await gone(of);
  expect(await violations()).toEqual([]);
  const mine = eq(rentedMachine.provider, provider);
  await t.ctx.write((tx) => tx.update(rentedMachine).set({ meteredMs: 5 }).where(mine));
  expect((await violations()).join("; ")).toContain("is metered for 1200000 of");
  await t.ctx.write((tx) => tx.delete(rentedMachine).where(mine));
  expect((await violations()).join("; ")).toContain("has a price and no machine");
});
