/** Reservations: whatever starts, runs and ends at the same time, use and holds never pass a limit together. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { sql } from "drizzle-orm";
import { overLimit } from "../../src/billing/budgets/limits.ts";
import { chargeHold, releaseHold, renewHolds, reserve, type Work } from "../../src/billing/budgets/reserve.ts";
import { leftOf, readBudgets, readHolds } from "../../src/billing/budgets/state.ts";
import { exhaustedFor, watchBudgets } from "../../src/billing/budgets/watch.ts";
import { freezePrices } from "../../src/billing/prices/lists.ts";
import { budget } from "../../src/db/schema/billing.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { metered } from "../support/attempt-metering.ts";
import { item, recordHour, setPrices } from "../support/billing.ts";
import { fakeClock } from "../support/clock.ts";

const HOUR = 3_600_000;
const DOLLAR = 1_000_000;

let t: TestApp;
const clock = fakeClock(Date.UTC(2026, 10, 15, 12));

beforeAll(async () => {
  t = await createTestApp({ ctx: { clock } });
  await setPrices(t, [{ ...item, meter: "gpu_seconds", unit_micros: 2 * DOLLAR }]);
});
afterAll(async () => {
  await t.close();
});

/** A small seeded generator: the same numbers in every run. */
function random(seed: number) {
  let state = seed;
  return (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const setBudget = (
  more: Partial<typeof budget.$inferInsert> & { scope: "team" | "user" | "key" | "job"; scopeId: string },
) =>
  t.ctx.write((tx) =>
    tx.insert(budget).values({
      id: `bud_${crypto.randomUUID()}`,
      org: t.orgs.a,
      period: "month",
      createdBy: "system",
      createdAt: 0,
      updatedAt: 0,
      ...more,
    }),
  );
const workOf = (jobId: string, more: Partial<Work> = {}): Work => ({
  org: t.orgs.a,
  userId: t.users.member,
  keyId: null,
  sweepId: null,
  jobId,
  ...more,
});
const pace = { microsPerHour: 2 * DOLLAR, gpus: 1 };
const hours = (n: number) => ({ ...pace, seconds: n * 3600, leastSeconds: 0 });
const start = (work: Work, n: number) => t.ctx.write((tx) => reserve(tx, clock.now(), work, hours(n)));
const end = (jobId: string) => t.ctx.write((tx) => releaseHold(tx, jobId));
const statesNow = async () => readBudgets(t.ctx.db, clock.now(), await readHolds(t.ctx.db, clock.now()));

test("for any order of starts, intervals, renewals and ends, only what an estimate missed passes a limit", async () => {
  const users = [t.users.member, t.users.admin];
  await setBudget({ scope: "team", scopeId: t.orgs.a, limitMicros: 60 * DOLLAR, limitGpuSeconds: 25 * 3600 });
  await setBudget({ scope: "user", scopeId: t.users.member, limitMicros: 30 * DOLLAR, period: "total" });
  await setBudget({ scope: "key", scopeId: "key-1", limitGpuSeconds: 8 * 3600 });
  const next = random(11);
  const running = new Map<string, Work>();
  let [refused, started, missed] = [0, 0, 0];
  for (let step = 0; step < 250; step++) {
    const [jobId, work] = [...running][next(Math.max(1, running.size))] ?? [];
    const what = next(8);
    if (what < 3 || !jobId || !work) {
      const made = workOf(`job-${step}`, { userId: users[next(2)], keyId: next(2) ? "key-1" : null });
      if ((await start(made, 1 + next(5))) === null) {
        started++;
        running.set(made.jobId, made);
        await t.ctx.write((tx) => chargeHold(tx, made.jobId, clock.now()));
      } else refused++;
    } else if (what < 6) {
      clock.advance(next(HOUR / 4));
      const [hold] = (await readHolds(t.ctx.db, clock.now())).filter((one) => one.jobId === jobId);
      const quantity = next(3600);
      missed += Math.max(0, quantity - (hold?.gpuSeconds ?? 0));
      await recordHour(t, { ...work, source: `use ${step}`, quantity, from: clock.now() - 1, to: clock.now() });
    } else if (what === 6) await t.ctx.write((tx) => renewHolds(tx, clock.now()));
    else {
      await end(jobId);
      running.delete(jobId);
    }
    const holds = await t.ctx.db.all<{ job: string }>(sql`select job_id job from budget_hold order by 1`);
    expect(holds.map(({ job }) => job)).toEqual([...running.keys()].sort());
    // Without the use that no interval has: that is what the estimate misses.
    const still = (await readHolds(t.ctx.db, clock.now())).map((one) => ({
      ...one,
      pending: { micros: 0, gpuSeconds: 0 },
      pendingThisMonth: { micros: 0, gpuSeconds: 0 },
      rest: { micros: one.micros, gpuSeconds: one.gpuSeconds },
    }));
    for (const state of await readBudgets(t.ctx.db, clock.now(), still)) {
      const left = leftOf(state);
      expect(left.gpuSeconds ?? 0).toBeGreaterThanOrEqual(-missed);
      expect(left.micros ?? 0).toBeGreaterThanOrEqual(-Math.ceil((missed * 2 * DOLLAR) / 3600));
    }
  }
  expect(started).toBeGreaterThan(15);
  expect(refused).toBeGreaterThan(20);
  for (const jobId of running.keys()) await end(jobId);
  expect((await statesNow()).map(({ reserved }) => reserved)).toEqual(
    Array.from({ length: 3 }, () => ({ micros: 0, gpuSeconds: 0 })),
  );
  await t.ctx.write((tx) => tx.delete(budget));
});

test("work waits with what it needs and what is left, and fits again after the limit is raised", async () => {
  await setBudget({ id: "bud_team", scope: "team", scopeId: t.orgs.a, limitMicros: 10 * DOLLAR });
  await setBudget({ scope: "job", scopeId: "job-b", limitGpuSeconds: 3600, createdAt: 1 });
  clock.advance(Date.UTC(2026, 11, 1) - clock.now());
  expect(await start(workOf("job-a"), 3)).toBeNull();
  expect(await start(workOf("job-b"), 3)).toBe(
    "Waiting for the team's budget of December: $6.00 needed, $4.00 left. Raise it under Usage, Budgets",
  );
  await t.ctx.write((tx) =>
    tx
      .update(budget)
      .set({ limitMicros: 20 * DOLLAR })
      .where(sql`id = 'bud_team'`),
  );
  expect(await start(workOf("job-b"), 3)).toBe(
    "Waiting for the job's budget of December: 3 GPU-hours needed, 1 GPU-hours left. Raise it under Usage, Budgets",
  );
  expect(await start(workOf("job-b"), 1)).toBeNull();
  expect(await start(workOf("elsewhere", { org: t.orgs.b }), 1000)).toBeNull();
  for (const jobId of ["job-a", "job-b", "elsewhere"]) await end(jobId);
  await t.ctx.write((tx) => tx.delete(budget));
});

test("a maximum cost bounds the reservation, and a job without the means for its next checkpoint waits", async () => {
  const priced = { id: "job-max", org: t.orgs.a, maxMicros: 5 * DOLLAR };
  await t.ctx.write((tx) => freezePrices(tx, priced, clock.now()));
  expect(await start(workOf("job-max"), 100)).toBeNull();
  expect(await readHolds(t.ctx.db, clock.now())).toMatchObject([{ micros: 5 * DOLLAR, gpuSeconds: 2.5 * 3600 }]);
  await recordHour(t, { ...workOf("job-max"), source: "max 1", quantity: 8000 });
  const again = { ...pace, seconds: 36_000, leastSeconds: 1800 };
  expect(await t.ctx.write((tx) => reserve(tx, clock.now(), workOf("job-max"), again))).toBe(
    "Waiting for a higher maximum cost: $4.44 of $5.00 used. Raise it on the job's page",
  );
  expect(
    await t.ctx.write((tx) => reserve(tx, clock.now(), workOf("job-max"), { ...again, leastSeconds: 900 })),
  ).toBeNull();
  await end("job-max");
});

test("running work stops when its next checkpoint would be past a limit, the newest first", async () => {
  await setBudget({ scope: "user", scopeId: t.users.other, org: t.orgs.b, limitMicros: 10 * DOLLAR });
  const other = { org: t.orgs.b, userId: t.users.other };
  for (const jobId of ["old", "new"]) {
    clock.advance(1000);
    expect(await start(workOf(jobId, other), 2)).toBeNull();
    await t.ctx.write((tx) => chargeHold(tx, jobId, clock.now()));
  }
  const stops = async (aheadS: number) => [...(await overLimit(t.ctx.db, clock.now(), () => aheadS))];
  expect(await stops(1800)).toEqual([]);
  clock.advance(2.2 * HOUR);
  expect(await stops(1800)).toEqual([
    ["new", "the limit of the user's budget of December ($10.00) is reached. Raise it under Usage, Budgets"],
  ]);
  clock.advance(0.4 * HOUR);
  expect((await stops(1800)).map(([jobId]) => jobId)).toEqual(["old", "new"]);
  expect(await stops(0)).toEqual([]);
  for (const jobId of ["old", "new"]) await end(jobId);
  await t.ctx.write((tx) => tx.delete(budget));
});

test("thresholds are announced once in a period, to those who manage the team and to the user of the budget", async () => {
  const events = async () =>
    (
      await t.ctx.db.all<{ line: string }>(sql`select type || ' ' || title || ' ' || user_id line from notice_event
        where type like 'billing.budget%' order by rowid`)
    ).map(({ line }) =>
      line.replace("billing.budget.", "").replace(t.users.member, "member").replace(t.users.admin, "admin"),
    );
  await setBudget({ scope: "user", scopeId: t.users.member, limitMicros: 4 * DOLLAR });
  const steps: string[][] = [];
  for (const [n, quantity] of [1000, 2700, 100, 2000, 3000].entries()) {
    await recordHour(t, { source: `threshold ${n}`, quantity, from: clock.now(), to: clock.now() + 1 });
    const before = (await events()).length;
    await watchBudgets(t.ctx);
    await watchBudgets(t.ctx);
    steps.push((await events()).slice(before).sort());
  }
  expect(steps).toEqual([
    [],
    [
      "threshold 50% of the user's budget of December is used admin",
      "threshold 50% of the user's budget of December is used member",
    ],
    [],
    [
      "threshold 80% of the user's budget of December is used admin",
      "threshold 80% of the user's budget of December is used member",
    ],
    [
      "exhausted The user's budget of December is used up admin",
      "exhausted The user's budget of December is used up member",
    ],
  ]);
});

test("a monthly budget starts again at 0 with the month, and work over the turn counts in each month what it used there", async () => {
  await t.ctx.write((tx) => tx.delete(budget));
  const NEW_YEAR = Date.UTC(2027, 0, 1);
  clock.advance(NEW_YEAR - HOUR - clock.now());
  const team = { scope: "team" as const, scopeId: t.orgs.a };
  await setBudget({ id: "bud_month", ...team, limitMicros: 5 * DOLLAR });
  await setBudget({ id: "bud_total", ...team, period: "total", limitMicros: 8 * DOLLAR, createdAt: 1 });
  await recordHour(t, { source: "before the turn", quantity: 3600 });
  expect(await start(workOf("over"), 1.5)).toBeNull();
  await t.ctx.write((tx) => chargeHold(tx, "over", clock.now()));
  expect(await start(workOf("waits"), 1)).toContain("the team's budget of December: $2.00 needed, nothing left");
  clock.advance(HOUR - 1000);
  // Exhausted once it is announced.
  await recordHour(t, { source: "the rest of December", quantity: 3600, from: clock.now(), to: clock.now() + 1 });
  await watchBudgets(t.ctx);
  expect(exhaustedFor(t.ctx, { org: t.orgs.a, userId: "", keyId: null })).toContain(
    "budget of December ($5.00) is reached",
  );

  const used = async () =>
    (await statesNow()).map(({ period, used: { micros }, notified }) => [period, micros / DOLLAR, notified]);
  // Nothing is recorded since 23:00: an hour belongs to December, half a minute to January.
  clock.advance(31_000);
  const halfMinute = Math.ceil((30 * 2 * DOLLAR) / 3600) / DOLLAR;
  const [month, total] = await used();
  expect(month).toEqual(["2027-01", expect.closeTo(halfMinute, 5), 0]);
  expect(total).toEqual(["total", expect.closeTo(4 + 2 + halfMinute, 4), 50]);
  expect((await statesNow())[0]?.reserved.micros).toBe(3 * DOLLAR - Math.ceil((3630 * 2 * DOLLAR) / 3600));
  await watchBudgets(t.ctx);
  expect(exhaustedFor(t.ctx, { org: t.orgs.a, userId: "", keyId: null })).toBeNull();
  expect([...(await overLimit(t.ctx.db, clock.now(), () => 60))]).toEqual([]);
  // The intervals are cut at the turn: the sums stay, and each month has its own.
  const cut = { ...workOf("over"), attemptId: "a", quantity: 3600 };
  await recordHour(t, { ...cut, source: "over 1", from: NEW_YEAR - HOUR, to: NEW_YEAR });
  await recordHour(t, { ...cut, source: "over 2", from: NEW_YEAR, to: NEW_YEAR + 30_000, quantity: 30 });
  expect(await used()).toEqual([
    ["2027-01", expect.closeTo(halfMinute, 5), 0],
    ["total", expect.closeTo(4 + 2 + halfMinute, 4), 50],
  ]);
  const december = await t.ctx.db.all(
    sql`select micros from budget_use where budget_id = 'bud_month' and period = '2026-12'`,
  );
  expect(december).toEqual([{ micros: 6 * DOLLAR }]);
  await t.ctx.write((tx) =>
    tx
      .update(budget)
      .set({ limitMicros: 20 * DOLLAR })
      .where(sql`id = 'bud_total'`),
  );
  expect(await start(workOf("waits"), 1)).toBeNull();
  for (const jobId of ["over", "waits"]) await end(jobId);
  expect((await statesNow()).map(({ reserved }) => reserved.micros)).toEqual([0, 0]);
  await t.ctx.write((tx) => tx.delete(budget));
});

test("budgets count the time of an attempt from the beginning of its work, as the ledger does", async () => {
  await setBudget({ scope: "team", scopeId: t.orgs.a, limitMicros: 100 * DOLLAR });
  const { launched, phase } = metered(() => t, clock);
  const of = await launched({ gpus: 1 });
  expect(await start(workOf(of.id), 1)).toBeNull();
  const usedNow = async () => (await statesNow())[0]?.used.micros;
  const before = await usedNow();
  await phase(of, "loading_model");
  clock.advance(600_000);
  expect(await usedNow()).toBe(before);
  await phase(of, "training");
  clock.advance(1_800_000);
  expect(await usedNow()).toBe((before ?? 0) + DOLLAR);
  await end(of.id);
  await t.ctx.write((tx) => tx.delete(budget));
});
