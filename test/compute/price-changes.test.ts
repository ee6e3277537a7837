/** A price that a vendor changes while work runs: metered from then on, reserved again, and stopped at a limit. */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { overLimit } from "../../src/billing/budgets/limits.ts";
import { chargeHold } from "../../src/billing/budgets/reserve.ts";
import { readHolds } from "../../src/billing/budgets/state.ts";
import { freezePrices } from "../../src/billing/prices/lists.ts";
import type { WorkStatus } from "../../src/contract/provider.ts";
import { budget, budgetHold } from "../../src/db/schema/billing.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { event } from "../../src/db/schema/metrics.ts";
import { reserveAttempt } from "../../src/training/attempts/budget.ts";
import { followPrice } from "../../src/training/attempts/taken-back.ts";
import { jobIn } from "../../src/training/jobs/transitions.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { type Launched, metered } from "../support/attempt-metering.ts";
import { fakeClock } from "../support/clock.ts";

const DOLLAR = 1_000_000;
const HALF_HOUR = 1_800_000;
const clock = fakeClock(Date.UTC(2026, 10, 15, 12));
let t: TestApp;
const { launched, phase, sumOf, violations } = metered(() => t, clock);
const RUNNING: WorkStatus = { state: "running", exitCode: null, reason: null, startedAt: null, endedAt: null };

beforeAll(async () => {
  t = await createTestApp({ ctx: { clock } });
});
beforeEach(() => t.ctx.write((tx) => tx.delete(budgetHold)));
afterAll(() => t.close());

async function rows({ id, attemptId }: Launched) {
  const row = await jobIn(t.ctx.db, id);
  const [which] = await t.ctx.db.select().from(attempt).where(eq(attempt.id, attemptId));
  if (!row || !which) throw new Error("no job");
  return { row, which };
}

/** A training of an hour on a machine for one dollar an hour, without a price list: it costs what the vendor takes. */
async function running(maxMicros: number | null = null): Promise<Launched> {
  const of = await launched({ gpus: 1, price: 1 });
  const { spec } = (await rows(of)).row;
  const limits = { ...spec.limits, total_s: 7200 };
  await t.ctx.write((tx) =>
    tx
      .update(job)
      .set({ estimateHighS: 3600, spec: { ...spec, limits } })
      .where(eq(job.id, of.id)),
  );
  const { row, which } = await rows(of);
  await t.ctx.write(async (tx) => {
    await freezePrices(tx, { ...row, maxMicros }, clock.now());
    expect(await reserveAttempt(tx, t.ctx, row, which)).toBeNull();
  });
  await phase(of, "training");
  await t.ctx.write((tx) => chargeHold(tx, of.id, clock.now()));
  return of;
}
async function priceIs(of: Launched, pricePerHour: number) {
  const { row, which } = await rows(of);
  await followPrice(t.ctx, row, which, { ...RUNNING, pricePerHour });
}
const holdOf = async ({ id }: Launched) => (await readHolds(t.ctx.db, clock.now())).find(({ jobId }) => jobId === id);
const notesOf = async ({ id }: Launched) =>
  (await t.ctx.db.select().from(event).where(eq(event.jobId, id))).map(({ message }) => message).join("; ");

test("what was used costs the old price, what follows the new one, and the rest is reserved again", async () => {
  const of = await running();
  expect(await holdOf(of)).toMatchObject({ microsPerHour: DOLLAR, micros: DOLLAR });
  clock.advance(HALF_HOUR);
  await priceIs(of, 3);
  await priceIs(of, 3);
  expect((await sumOf(of.id, "gpu_seconds")).micros).toBe(DOLLAR / 2);
  expect(await holdOf(of)).toMatchObject({ microsPerHour: 3 * DOLLAR, rest: { micros: 3 * DOLLAR } });
  expect((await notesOf(of)).split("costs $3 per hour now").length).toBe(2);
  clock.advance(HALF_HOUR);
  await priceIs(of, 2);
  expect((await sumOf(of.id, "gpu_seconds")).micros).toBe(2 * DOLLAR);
  expect(await holdOf(of)).toMatchObject({ microsPerHour: 2 * DOLLAR, rest: { micros: 2 * DOLLAR } });
  expect(await violations()).toEqual([]);
});

test("a maximum cost that the new price would pass before the next checkpoint stops the job, and says why", async () => {
  const of = await running(2 * DOLLAR);
  clock.advance(HALF_HOUR);
  const ahead = () => 900;
  expect((await overLimit(t.ctx.db, clock.now(), ahead)).size).toBe(0);
  await priceIs(of, 4);
  // 1.50 dollars are left: a checkpoint in a quarter of an hour costs one.
  expect(await holdOf(of)).toMatchObject({ rest: { micros: 1.5 * DOLLAR } });
  expect((await overLimit(t.ctx.db, clock.now(), ahead)).size).toBe(0);
  await priceIs(of, 8);
  expect((await overLimit(t.ctx.db, clock.now(), ahead)).get(of.id)).toContain("maximum cost of $2.00 is reached");
});

test("a budget without room for the new price keeps what was reserved, and stops the job before its limit", async () => {
  const values = { id: "bud_1", org: t.orgs.a, scope: "team" as const, scopeId: t.orgs.a, period: "total" as const };
  const of = await running();
  await t.ctx.write((tx) =>
    tx.insert(budget).values({ ...values, limitMicros: 2 * DOLLAR, createdBy: "system", createdAt: 0, updatedAt: 0 }),
  );
  await priceIs(of, 5);
  expect(await holdOf(of)).toMatchObject({ microsPerHour: 5 * DOLLAR, rest: { micros: DOLLAR } });
  expect((await overLimit(t.ctx.db, clock.now(), () => 900)).size).toBe(0);
  expect((await overLimit(t.ctx.db, clock.now(), () => 1800)).get(of.id)).toContain("budget");
  await t.ctx.write((tx) => tx.delete(budget).where(eq(budget.id, "bud_1")));
});

test("above the price limit of the job it saves a checkpoint and waits in the queue", async () => {
  const of = await running();
  const { row } = await rows(of);
  const spec = { ...row.spec, need: { ...row.spec.need, max_price_per_hour: 2 } };
  await t.ctx.write((tx) => tx.update(job).set({ spec }).where(eq(job.id, of.id)));
  await priceIs(of, 2);
  expect((await rows(of)).row.state).toBe("running");
  await priceIs(of, 2.5);
  expect((await rows(of)).row).toMatchObject({ state: "pausing", yieldFor: "provider" });
  expect(await notesOf(of)).toContain("waits in the queue: that is more than its max_price_per_hour of $2");
});
