/**
 * A server that dies as by `kill -9` at every step of collecting an invoice. After the restarts there is one invoice at
 * Stripe, and its lines, total and payment equal the ledger to the cent.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { createClient } from "@libsql/client";
import { monthAt, monthRange } from "../../src/billing/meters/months.ts";
import { closeMonths } from "../../src/billing/statements/pass.ts";
import { fillGaps, handleEvent, nextEvent } from "../../src/billing/stripe/events.ts";
import type { FailPoint } from "../../src/lib/fail-points.ts";
import { createTestApp } from "../support/app.ts";
import { DAY, HOUR, item, setPrices, useFrom } from "../support/billing.ts";
import { fakeClock } from "../support/clock.ts";
import { type Live, startLive, until } from "../support/live.ts";
import { localstripeMissing } from "../support/localstripe.ts";
import { SIGNING_SECRET, startStripe, TEST_KEY, type TestStripe } from "../support/stripe-fake.ts";

const GRACE = 48 * HOUR;
/** 1.234567 + 0.617284 + 0.1 dollars: the cents of each line are rounded, their sum is that of the ledger. */
const CENTS = [123, 62, 10];
const TOTAL = 195;

let stripe: TestStripe;
let live: Live;

/** A team with a card, whose last month is closed and not sent yet. @returns its data directory */
async function closedMonth(): Promise<string> {
  const { from: current } = monthRange(monthAt(Date.now() - GRACE));
  const { from: last } = monthRange(monthAt(current - 1));
  const clock = fakeClock(last + 5 * DAY);
  const config = { stripe_test_url: stripe.url, public_url: "https://lab.example.test", stripe_secret_key: TEST_KEY };
  const lab = await createTestApp({ ctx: { clock }, config: { ...config, stripe_webhook_secret: SIGNING_SECRET } });
  await lab.json("PATCH", "/v1/billing/settings", { body: { mode: "stripe" } });
  const { url } = await lab.json<{ url: string }>("POST", "/v1/billing/checkout");
  await stripe.completeCheckout(url.split("/").at(-1) ?? "");
  await fillGaps(lab.ctx);
  for (let row = await nextEvent(lab.ctx, []); row; row = await nextEvent(lab.ctx, [])) await handleEvent(lab.ctx, row);
  await setPrices(lab, [
    { ...item, meter: "gpu_seconds", unit_micros: 1_234_567 },
    { ...item, meter: "byte_hours", unit_micros: 100_000 },
  ]);
  const { a } = lab.orgs;
  await useFrom(lab, a, last + DAY);
  await useFrom(lab, a, last + 2 * DAY, { kind: "evaluate", quantity: 1800 });
  const stored = { kind: "storage", meter: "byte_hours", quantity: 730 * 1024 ** 3, model: "datasets" } as const;
  await useFrom(lab, a, last + 3 * DAY, stored);
  clock.advance(current + GRACE - clock.now());
  expect(await closeMonths(lab.ctx)).toBe(1);
  await lab.ctx.close();
  return lab.dir;
}

beforeAll(async () => {
  if (localstripeMissing) return;
  stripe = await startStripe();
  const dir = await closedMonth();
  // Without a key nothing is sent yet.
  live = await startLive({ prepare: (to) => cpSync(dir, to, { recursive: true }) });
  await live.kill9();
});
afterAll(async () => {
  await live?.close();
  await stripe?.stop();
});

async function rows<T>(sql: string): Promise<T[]> {
  const client = createClient({ url: `file:${join(live.dir, "lab.db")}` });
  try {
    return (await client.execute(sql)).rows as T[];
  } finally {
    client.close();
  }
}

const state = async () =>
  (await rows<{ state: string; invoice: string | null }>("select state, stripe_invoice_id invoice from statement"))[0];
const invoices = () => [...stripe.invoices.values()];
const amounts = () => stripe.itemsOf(invoices()[0]?.id ?? "").map(({ amount }) => amount);
const keys = () => ({ FTL_STRIPE_TEST_URL: stripe.url, FTL_STRIPE_SECRET_KEY: TEST_KEY });

/** Starts the server, which dies at a point; it may die before it answers. Stripe forgets what it was asked before. */
async function dieAt(point: FailPoint, count = 1): Promise<void> {
  await live.start({ ...keys(), FTL_FAIL_POINTS: `${point}@${count}` }).catch(() => {});
  await live.ended();
  stripe.forgetKeys();
}

describe.skipIf(localstripeMissing !== null)("a server that is killed while it collects an invoice", () => {
  test("goes on where it was, at each step", async () => {
    await dieAt("stripe.invoice");
    expect(invoices().map(({ status }) => status)).toEqual(["draft"]);
    expect(amounts()).toEqual([]);
    expect(await state()).toEqual({ state: "closing", invoice: null });

    await dieAt("stripe.item", 2);
    expect(amounts()).toHaveLength(2);

    await dieAt("stripe.checked");
    expect(amounts()).toHaveLength(3);
    expect(invoices().map(({ status, total }) => [status, total])).toEqual([["draft", TOTAL]]);

    await dieAt("stripe.finalized");
    expect(invoices().map(({ status, amount_paid }) => [status, amount_paid])).toEqual([["paid", TOTAL]]);
    expect(await state()).toEqual({ state: "closing", invoice: invoices()[0]?.id ?? "" });

    await dieAt("stripe.event");
    await live.start(keys());
    await until("the payment to be stored", async () => (await state())?.state === "paid");
  });

  test("leaves one invoice, one payment, and a ledger that equals both to the cent", async () => {
    expect(invoices().map(({ status, total, amount_paid }) => [status, total, amount_paid])).toEqual([
      ["paid", TOTAL, TOTAL],
    ]);
    expect(amounts().sort((a, b) => b - a)).toEqual(CENTS);
    expect([...stripe.payments.values()].map(({ amount_paid }) => amount_paid)).toEqual([TOTAL]);
    expect(await rows("select total_cents, paid_cents from statement")).toEqual([
      { total_cents: TOTAL, paid_cents: TOTAL },
    ]);
    const cash =
      "select account, sum(micros) micros from ledger_entry where account in ('cash', 'receivable') group by 1";
    expect(await rows(`${cash} order by 1`)).toEqual([
      { account: "cash", micros: TOTAL * 10_000 },
      { account: "receivable", micros: 0 },
    ]);
    expect(live.cli("billing", "verify")).not.toContain("WRONG");
  });
});
