/** Closing a month: lines and cents, grace, late intervals, modes, numbers, kills, and a ledger that does not agree. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { asc, eq, sql } from "drizzle-orm";
import { reverseUse } from "../../src/billing/ledger/record.ts";
import { closeMonths } from "../../src/billing/statements/pass.ts";
import {
  markFailed,
  markGivenUp,
  markPaid,
  markRefundFailed,
  markSent,
  markUnsent,
  recordRefund,
} from "../../src/billing/statements/transitions.ts";
import { credit, meterInterval, statement, statementLine } from "../../src/db/schema/billing.ts";
import type { FailPoint } from "../../src/lib/fail-points.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { DAY, HOUR, item, setPrices, useFrom } from "../support/billing.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { TEST_KEY } from "../support/stripe-fake.ts";

const NOVEMBER = Date.UTC(2026, 10, 1);
const DECEMBER = Date.UTC(2026, 11, 1);

let t: TestApp;
let clock: FakeClock;
let kill: FailPoint | null = null;

beforeEach(async () => {
  clock = fakeClock(NOVEMBER + 5 * DAY);
  kill = null;
  const failPoint = (name: FailPoint) => {
    if (name === kill) throw new Error(`killed at ${name}`);
  };
  t = await createTestApp({ ctx: { clock, failPoint }, config: { stripe_secret_key: TEST_KEY } });
  await setPrices(t, [
    { ...item, meter: "gpu_seconds", unit_micros: 2_345_678 },
    { ...item, meter: "byte_hours", unit_micros: 100_000 },
    { ...item, meter: "input_tokens", unit_micros: 333_333 },
  ]);
});
afterEach(() => t.close());

const mode = (mode: "off" | "chargeback" | "stripe") => t.json("PATCH", "/v1/billing/settings", { body: { mode } });
const all = () => t.ctx.db.select().from(statement).orderBy(asc(statement.number));
const linesOf = (id: string) =>
  t.ctx.db.select().from(statementLine).where(eq(statementLine.statementId, id)).orderBy(asc(statementLine.position));
const goTo = (at: number) => clock.advance(at - clock.now());
/** Balances of an organization by account. */
async function balances(org: string): Promise<Record<string, number>> {
  const rows = await t.ctx.db.all<{ account: string; micros: number }>(
    sql`select account, sum(micros) micros from ledger_entry where org = ${org} group by account having sum(micros) <> 0`,
  );
  return Object.fromEntries(rows.map(({ account, micros }) => [account, micros]));
}
async function giveCredit(org: string, micros: number, createdAt: number, expiresAt: number | null = null) {
  const id = `crd_${createdAt}`;
  const values = { id, org, kind: "credit", reason: "outage", micros, state: "done", createdBy: "system" } as const;
  await t.ctx.write((tx) => tx.insert(credit).values({ ...values, createdAt, expiresAt }));
  return id;
}

test("a month is closed after the grace, with everything that was used in it while work still runs", async () => {
  await mode("chargeback");
  const { a, b } = t.orgs;
  for (let hour = 0; hour < 3; hour++) await useFrom(t, a, NOVEMBER + 10 * DAY + hour * HOUR);
  await useFrom(t, a, DECEMBER - HOUR);
  await useFrom(t, a, DECEMBER);
  await useFrom(t, a, NOVEMBER, { kind: "storage", meter: "byte_hours", quantity: 5e14, model: "datasets" });
  await useFrom(t, a, NOVEMBER, { kind: "inference", meter: "input_tokens", quantity: 1_234_567, model: "tiny" });
  await useFrom(t, a, NOVEMBER, { meter: "joules", quantity: 999 });
  await useFrom(t, b, NOVEMBER + 20 * DAY);
  goTo(DECEMBER + 48 * HOUR - 1);
  expect(await closeMonths(t.ctx)).toBe(0);
  goTo(DECEMBER + 48 * HOUR);
  expect(await closeMonths(t.ctx)).toBe(2);
  expect(await closeMonths(t.ctx)).toBe(0);

  const rows = await all();
  expect(rows.map(({ number, month, mode, state }) => [number, month, mode, state])).toEqual([
    ["2026-000001", "2026-11", "chargeback", "final"],
    ["2026-000002", "2026-11", "chargeback", "final"],
  ]);
  const own = rows.find(({ org }) => org === a);
  const lines = await linesOf(own?.id ?? "");
  expect(
    lines.map(({ description, quantity, unitMicros, micros, cents }) => [
      description,
      quantity,
      unitMicros,
      micros,
      cents,
    ]),
  ).toEqual([
    ["Inference: million input tokens, tiny", 1_234_567, 333_333, 411_522, 41],
    ["Storage: GiB-months, datasets", 5e14, 100_000, 63_789_217, 6379],
    ["Training: GPU-hours, H100, process", 14_400, 2_345_678, 9_382_712, 938],
  ]);
  expect(own).toMatchObject({ subtotalCents: 7358, creditCents: 0, totalCents: 7358, dueAt: null });
  expect(await balances(a)).toEqual({
    unbilled: 2_345_678,
    receivable: 73_580_000,
    rounding: 3451,
    revenue: -75_929_129,
  });
});

test("a use that is recorded after the closing is on the next statement, and a month with nothing has none", async () => {
  await mode("chargeback");
  const { a } = t.orgs;
  await useFrom(t, a, NOVEMBER + DAY);
  goTo(DECEMBER + 3 * DAY);
  await closeMonths(t.ctx);
  await useFrom(t, a, NOVEMBER + 2 * DAY);
  expect(await closeMonths(t.ctx)).toBe(0);
  goTo(Date.UTC(2027, 0, 10));
  expect(await closeMonths(t.ctx)).toBe(1);
  goTo(Date.UTC(2027, 2, 10));
  expect(await closeMonths(t.ctx)).toBe(0);
  expect((await all()).map(({ number, month, totalCents }) => [number, month, totalCents])).toEqual([
    ["2026-000001", "2026-11", 235],
    ["2027-000001", "2026-12", 235],
  ]);
});

test("months that passed while the server was down are closed one by one", async () => {
  await mode("chargeback");
  await useFrom(t, t.orgs.a, NOVEMBER + DAY);
  await useFrom(t, t.orgs.a, DECEMBER + DAY);
  await useFrom(t, t.orgs.a, Date.UTC(2027, 1, 5));
  goTo(Date.UTC(2027, 2, 10));
  expect(await closeMonths(t.ctx)).toBe(3);
  expect((await all()).map(({ month }) => month)).toEqual(["2026-11", "2026-12", "2027-02"]);
});

test("nobody is charged for months that were over while the mode was off, and a change leaves statements alone", async () => {
  await useFrom(t, t.orgs.a, NOVEMBER + DAY);
  goTo(DECEMBER + 10 * DAY);
  expect(await closeMonths(t.ctx)).toBe(0);
  const early = await t.request("PATCH", "/v1/billing/settings", {
    body: { mode: "chargeback", first_month: "2026-11" },
  });
  expect([early.status, ((await early.json()) as { error: { param: string } }).error.param]).toEqual([
    400,
    "first_month",
  ]);
  expect(await mode("chargeback")).toMatchObject({ first_month: "2026-12" });
  await useFrom(t, t.orgs.a, DECEMBER + 11 * DAY);
  goTo(Date.UTC(2027, 0, 10));
  await closeMonths(t.ctx);
  const before = await all();
  expect(before.map(({ month, mode }) => [month, mode])).toEqual([["2026-12", "chargeback"]]);
  await useFrom(t, t.orgs.a, Date.UTC(2027, 0, 11));
  await mode("stripe");
  goTo(Date.UTC(2027, 1, 10));
  await closeMonths(t.ctx);
  const after = await all();
  expect(after[0]).toEqual(before[0] as (typeof before)[0]);
  expect(after[1]).toMatchObject({ month: "2027-01", mode: "stripe", state: "closing", dueAt: clock.now() + 14 * DAY });
});

test("credits are used oldest first, in whole cents, and expired ones never", async () => {
  await mode("chargeback");
  const { a } = t.orgs;
  await giveCredit(a, 9_000_000, 1, NOVEMBER + 20 * DAY);
  const second = await giveCredit(a, 1_234_567, 3);
  const first = await giveCredit(a, 500_000, 2);
  await useFrom(t, a, NOVEMBER + DAY);
  goTo(DECEMBER + 3 * DAY);
  await closeMonths(t.ctx);
  expect((await all())[0]).toMatchObject({ subtotalCents: 235, creditCents: 173, totalCents: 62 });
  const left = await t.ctx.db.select().from(credit).orderBy(asc(credit.createdAt));
  expect(left.map(({ id, usedMicros }) => [id, usedMicros])).toEqual([
    ["crd_1", 0],
    [first, 500_000],
    [second, 1_230_000],
  ]);
  expect(await balances(a)).toMatchObject({ receivable: 620_000, credits: 1_730_000, rounding: -4322 });
});

test("work of a closed month that is taken back becomes a credit, which the next statement uses", async () => {
  await mode("stripe");
  const { a } = t.orgs;
  await useFrom(t, a, NOVEMBER + DAY);
  goTo(DECEMBER + 3 * DAY);
  await closeMonths(t.ctx);
  const source = `test ${a} gpu_seconds ${NOVEMBER + DAY}`;
  await t.ctx.write((tx) => reverseUse(tx, clock.now(), { source, since: 0, why: "lost", sweepId: null }));
  goTo(Date.UTC(2027, 0, 10));
  await closeMonths(t.ctx);
  await useFrom(t, a, Date.UTC(2027, 0, 11), { quantity: 7200 });
  goTo(Date.UTC(2027, 1, 10));
  await closeMonths(t.ctx);
  expect(
    (await all()).map(({ state, subtotalCents, creditCents, totalCents }) => [
      state,
      subtotalCents,
      creditCents,
      totalCents,
    ]),
  ).toEqual([
    ["closing", 235, 0, 235],
    ["paid", -235, 0, 0],
    ["closing", 469, 235, 234],
  ]);
  expect(await balances(a)).toMatchObject({ receivable: 4_690_000, revenue: -4_691_356 });
});

test.each(["statement.booked", "statement.closed"] as const)(
  "a kill at %s loses and doubles nothing",
  async (point) => {
    await mode("chargeback");
    const { a, b } = t.orgs;
    await giveCredit(a, 1_000_000, 1);
    await useFrom(t, a, NOVEMBER + DAY);
    await useFrom(t, b, NOVEMBER + DAY);
    goTo(DECEMBER + 3 * DAY);
    for (let round = 0; round < 3; round++) {
      kill = point;
      await closeMonths(t.ctx);
      kill = null;
    }
    await closeMonths(t.ctx);
    const made = await all();
    expect(made.map(({ number }) => number).sort()).toEqual(["2026-000001", "2026-000002"]);
    expect(new Map(made.map(({ org, totalCents, state }) => [org, [totalCents, state]]))).toEqual(
      new Map([
        [a, [135, "final"]],
        [b, [235, "final"]],
      ]),
    );
    expect(await balances(a)).toEqual({
      receivable: 1_350_000,
      credits: 1_000_000,
      rounding: -4322,
      revenue: -2_345_678,
    });
  },
);

test("a statement that does not equal the ledger is kept back with one alarm, and closed when it does", async () => {
  await mode("stripe");
  const { a } = t.orgs;
  await useFrom(t, a, NOVEMBER + DAY);
  const [row] = await t.ctx.db.select().from(meterInterval);
  const { n: _n, ...same } = row as NonNullable<typeof row>;
  await t.ctx.write((tx) => tx.insert(meterInterval).values({ ...same, source: "not in the ledger" }));
  goTo(DECEMBER + 3 * DAY);
  await closeMonths(t.ctx);
  goTo(DECEMBER + 4 * DAY);
  await closeMonths(t.ctx);
  expect(await all()).toMatchObject([
    {
      number: "2026-000001",
      state: "failed",
      tries: 2,
      error: "The uses of 2026-11 cost 4691356 micro-dollars and the ledger has 2345678.",
    },
  ]);
  const alarms = await t.ctx.db.all<{ user_id: string }>(
    sql`select user_id from notice_event where type = 'billing.close_failed'`,
  );
  expect(alarms.map(({ user_id }) => user_id).sort()).toEqual([t.users.admin, t.users.otherAdmin].sort());
  expect((await balances(a)).receivable).toBeUndefined();
  const { book } = await import("../../src/billing/ledger/entries.ts");
  const entry = { name: "use not in the ledger", org: a, at: clock.now() };
  await t.ctx.write((tx) => book(tx, entry, { unbilled: 2_345_678, revenue: -2_345_678 }));
  goTo(DECEMBER + 5 * DAY);
  await closeMonths(t.ctx);
  expect(await all()).toMatchObject([{ number: "2026-000001", state: "closing", totalCents: 469, error: null }]);
});

describe("after the closing", () => {
  test("sent, failed, paid and refunded: each step counts once and the ledger follows", async () => {
    await mode("stripe");
    const { a } = t.orgs;
    await useFrom(t, a, NOVEMBER + DAY);
    goTo(DECEMBER + 3 * DAY);
    await closeMonths(t.ctx);
    const id = (await all())[0]?.id ?? "";
    const twice = async (step: (tx: Parameters<Parameters<typeof t.ctx.write>[0]>[0]) => Promise<unknown>) => {
      await t.ctx.write(step);
      await t.ctx.write(step);
      return (await all())[0];
    };
    await t.ctx.write((tx) => markUnsent(tx, id, "Stripe does not answer.", clock.now() + HOUR));
    expect((await all())[0]).toMatchObject({ state: "closing", error: "Stripe does not answer.", tries: 1 });
    const sent = { invoiceId: "in_1", url: null, taxCents: 45, dueAt: clock.now() + DAY };
    expect(await twice((tx) => markSent(tx, t.ctx, id, sent))).toMatchObject({ state: "open", totalCents: 280 });
    expect(await twice((tx) => markFailed(tx, t.ctx, id, "Your card was declined."))).toMatchObject({
      state: "past_due",
    });
    const pay = (payment: string, cents: number) => twice((tx) => markPaid(tx, t.ctx, id, { payment, cents }));
    expect(await pay("pi_1", 100)).toMatchObject({ state: "past_due", paidCents: 100 });
    expect(await pay("pi_2", 180)).toMatchObject({ state: "paid", paidCents: 280, paidAt: clock.now(), error: null });
    const refunded = await twice((tx) => recordRefund(tx, t.ctx, id, { cents: 80, refundId: "re_1" }));
    expect(refunded).toMatchObject({ state: "paid", refundedCents: 80 });
    expect(t.ctx.write((tx) => recordRefund(tx, t.ctx, id, { cents: 201, refundId: "re_2" }))).rejects.toMatchObject({
      code: "refund_too_large",
    });
    expect(await balances(a)).toEqual({
      cash: 2_000_000,
      tax: -450_000,
      refunds: 800_000,
      rounding: -4322,
      revenue: -2_345_678,
    });
    const [made] = await t.ctx.db.select().from(credit).where(eq(credit.stripeRefundId, "re_1"));
    const back = await twice((tx) => markRefundFailed(tx, t.ctx, made?.id ?? "", "The card is closed."));
    expect(back).toMatchObject({ refundedCents: 0 });
    expect(await balances(a)).toMatchObject({ cash: 2_800_000 });
  });

  test("what is given up is written off", async () => {
    await mode("stripe");
    await useFrom(t, t.orgs.a, NOVEMBER + DAY);
    goTo(DECEMBER + 3 * DAY);
    await closeMonths(t.ctx);
    const id = (await all())[0]?.id ?? "";
    await t.ctx.write((tx) => markGivenUp(tx, t.ctx, id, "uncollectible"));
    expect((await all())[0]).toMatchObject({ state: "uncollectible" });
    expect(await balances(t.orgs.a)).toMatchObject({ written_off: 2_350_000 });
  });
});
