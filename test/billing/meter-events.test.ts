/** Meter events: each metered use is counted by Stripe once, through crashes, lost answers and refusals. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { asc, sql } from "drizzle-orm";
import { recordUse, reverseUse } from "../../src/billing/ledger/record.ts";
import { nextEventToSend, sendMeterEvent, takeOver } from "../../src/billing/stripe/meter-events.ts";
import { meterEvent } from "../../src/db/schema/billing.ts";
import type { FailPoint } from "../../src/lib/fail-points.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { DAY, HOUR, setPrices, useFrom, useOf } from "../support/billing.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { localstripeMissing } from "../support/localstripe.ts";
import { startStripe, TEST_KEY, type TestStripe } from "../support/stripe-fake.ts";

const NOW = Date.UTC(2026, 11, 20);
const SENT = /meter_events$/;
let stripe: TestStripe;
let lab: TestApp;
let clock: FakeClock;
let kill: FailPoint | null = null;

beforeAll(async () => {
  if (!localstripeMissing) stripe = await startStripe({ now: () => clock.now() });
});
afterAll(() => stripe?.stop());
beforeEach(async () => {
  if (localstripeMissing) return;
  clock = fakeClock(NOW);
  kill = null;
  stripe.counted.length = 0;
  stripe.failNoMore();
  const failPoint = (name: FailPoint) => {
    if (name === kill) throw new Error(`killed at ${name}`);
  };
  const installation = `ins${crypto.randomUUID().slice(0, 8)}`;
  const config = { stripe_test_url: stripe.url, stripe_secret_key: TEST_KEY };
  lab = await createTestApp({ config, ctx: { clock, failPoint, installation } });
  await setPrices(lab, []);
  await settings({ mode: "stripe", meter_events: true });
});
afterEach(() => lab?.close());

const settings = (body: object) => lab.json("PATCH", "/v1/billing/settings", { body });
const use = (hours: number, more = {}) => useFrom(lab, lab.orgs.a, NOW - hours * HOUR, more);
/** Everything that is due, as the background does it. */
async function pass(): Promise<void> {
  await takeOver(lab.ctx);
  for (let row = await nextEventToSend(lab.ctx, []); row; row = await nextEventToSend(lab.ctx, []))
    await sendMeterEvent(lab.ctx, row);
}
const counted = () => stripe.counted.map(({ event_name, payload }) => [event_name, payload.value]);
const left = () => lab.ctx.db.select().from(meterEvent).orderBy(asc(meterEvent.n));
const shown = async () =>
  (await lab.json<{ meter_events: Record<string, unknown> }>("GET", "/v1/admin/stripe")).meter_events;

describe.skipIf(localstripeMissing !== null)("meter events", () => {
  test("each use since it was switched on is sent once, with its customer, time and charged units", async () => {
    await settings({ meter_events: false });
    await use(9);
    await settings({ meter_events: true });
    await use(8, { quantity: 3000 });
    await use(7, { meter: "byte_hours", kind: "storage", quantity: 5_000_000_000_000_000 });
    await use(6, { free: "start_up" });
    await use(6, { meter: "joules", quantity: 7 });
    await lab.ctx.write((tx) =>
      recordUse(tx, NOW, useOf(lab.orgs.b, NOW - 5 * HOUR, { source: "b", meter: "input_tokens", quantity: 12 })),
    );
    const source = `test ${lab.orgs.a} gpu_seconds ${NOW - 8 * HOUR}`;
    const since = NOW - 8 * HOUR + HOUR / 2;
    await lab.ctx.write((tx) => reverseUse(tx, NOW, { source, since, why: "lost", sweepId: null }));
    await pass();
    await pass();
    expect(counted()).toEqual([
      ["ftl_gpu_seconds", "3000"],
      ["ftl_byte_hours", "5000000000000000"],
      ["ftl_input_tokens", "12"],
      ["ftl_gpu_seconds", "-1500"],
    ]);
    const [first, , third] = stripe.counted;
    expect(first).toMatchObject({ timestamp: (NOW - 8 * HOUR) / 1000, identifier: `${lab.ctx.installation}-2` });
    const account = await lab.ctx.db.all<{ org: string; id: string }>(
      sql`select org, stripe_customer_id id from billing_account`,
    );
    const customer = (org: string) => account.find((row) => row.org === org)?.id ?? "none";
    expect(first?.payload.stripe_customer_id).toBe(customer(lab.orgs.a));
    expect(third?.payload.stripe_customer_id).toBe(customer(lab.orgs.b));
    expect(await left()).toEqual([]);
    expect(await shown()).toEqual({ enabled: true, waiting: 0, failed: 0, oldest_at: null, error: null });
  });

  test("a crash after Stripe counted it, a lost answer and an answer that never came count nothing twice", async () => {
    await use(3);
    await use(2);
    kill = "stripe.meter_event";
    expect(await pass().then(() => "done", String)).toContain("killed");
    expect(stripe.counted).toHaveLength(1);
    kill = null;
    // Every try of the client.
    for (let n = 0; n < 3; n++) stripe.failNext(SENT, "after");
    await pass();
    clock.advance(HOUR);
    for (let n = 0; n < 3; n++) stripe.failNext(SENT, "before");
    await use(1);
    await pass();
    clock.advance(HOUR);
    await pass();
    expect(counted()).toEqual(new Array(3).fill(["ftl_gpu_seconds", "3600"]));
    expect(await left()).toEqual([]);
  });

  test("what is not known to have arrived is not sent again after a day: administrators see it", async () => {
    await use(3);
    for (let n = 0; n < 3; n++) stripe.failNext(SENT, "after");
    await takeOver(lab.ctx);
    const row = await nextEventToSend(lab.ctx, []);
    if (!row) throw new Error("nothing waits");
    await sendMeterEvent(lab.ctx, row);
    clock.advance(DAY);
    await pass();
    expect(stripe.counted).toHaveLength(1);
    expect(await shown()).toMatchObject({ waiting: 0, failed: 1, error: expect.stringContaining("not known whether") });
  });

  test("a refusal is tried again, later each time, and shown; a meter that was archived is made again", async () => {
    await use(3);
    await pass();
    for (const meter of stripe.meters.values()) meter.status = "inactive";
    await use(2);
    await pass();
    expect(await shown()).toMatchObject({
      enabled: true,
      waiting: 1,
      error: expect.stringContaining("No active meter"),
    });
    const page = await (await lab.request("GET", "/admin/payments")).text();
    expect(page).toContain("Uses could not be sent");
    expect(page).toContain("No active meter found");
    clock.advance(2 * DAY);
    await pass();
    expect(counted()).toEqual(new Array(2).fill(["ftl_gpu_seconds", "3600"]));
    expect(await shown()).toMatchObject({ waiting: 0, failed: 0, error: null });
  });

  test("uses older than 35 days are never sent, and nothing is sent in another mode", async () => {
    await use(36 * 24);
    await pass();
    expect(await shown()).toMatchObject({ failed: 1, error: "Stripe takes no use that is older than 35 days." });
    await settings({ mode: "chargeback" });
    await use(1);
    await pass();
    expect(stripe.counted).toEqual([]);
    expect(await shown()).toMatchObject({ enabled: false });
  });
});
