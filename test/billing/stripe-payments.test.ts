/** A team stores a card, its statements become invoices, and payments, refunds and disputes come back as events. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { eq, sql } from "drizzle-orm";
import { customerOf } from "../../src/billing/stripe/customers.ts";
import { syncInvoice } from "../../src/billing/stripe/effects.ts";
import { fillGaps, handleEvent, nextEvent } from "../../src/billing/stripe/events.ts";
import { nextRefund, sendRefund } from "../../src/billing/stripe/refunds.ts";
import { sendStatement } from "../../src/billing/stripe/send.ts";
import { credit, statement, statementLine, stripeEvent } from "../../src/db/schema/billing.ts";
import type { FailPoint } from "../../src/lib/fail-points.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { localstripeMissing } from "../support/localstripe.ts";
import { CARDS, SIGNING_SECRET, signed, startStripe, TEST_KEY, type TestStripe } from "../support/stripe-fake.ts";

const NOW = Date.UTC(2026, 11, 3);
const PUBLIC = "https://lab.example.test";
let stripe: TestStripe;
let lab: TestApp;
let clock: FakeClock;
let kill: FailPoint | null = null;
let delivered = 0;
let number = 0;

beforeAll(async () => {
  if (!localstripeMissing) stripe = await startStripe({ now: () => clock.now() });
});
afterAll(() => stripe?.stop());
beforeEach(async () => {
  if (localstripeMissing) return;
  clock = fakeClock(NOW);
  kill = null;
  delivered = stripe.events.length;
  const failPoint = (name: FailPoint) => {
    if (name === kill) throw new Error(`killed at ${name}`);
  };
  const keys = { stripe_secret_key: TEST_KEY, stripe_webhook_secret: SIGNING_SECRET };
  lab = await createTestApp({
    config: { stripe_test_url: stripe.url, public_url: PUBLIC, ...keys },
    ctx: { clock, failPoint, installation: `ins${delivered}${Math.random()}` },
  });
});
afterEach(() => lab?.close());

const settings = (body: object) => lab.json("PATCH", "/v1/billing/settings", { body });
const post = async (payload: string, signature: string | null) =>
  lab.request("POST", "/v1/stripe/webhook", {
    as: "anonymous",
    raw: payload,
    headers: { "content-type": "application/json", ...(signature ? { "stripe-signature": signature } : {}) },
  });

/** Carries out the events that wait. */
async function work(): Promise<void> {
  for (let row = await nextEvent(lab.ctx, []); row; row = await nextEvent(lab.ctx, [])) await handleEvent(lab.ctx, row);
}
/** Delivers what happened at Stripe since the last call. */
async function deliver(order: "as it happened" | "reversed" = "as it happened"): Promise<void> {
  const fresh = stripe.events.slice(delivered);
  delivered = stripe.events.length;
  for (const event of order === "reversed" ? fresh.reverse() : fresh) {
    const { payload, signature } = await signed(event, SIGNING_SECRET, clock.now());
    expect((await post(payload, signature)).status).toBe(200);
  }
  await work();
}

/** A closed month with two lines and a credit: $12.34 to pay. */
async function closed(org = lab.orgs.a) {
  const id = `stm_${delivered}${++number}`;
  const amounts = { subtotalCents: 1334, creditCents: 100, totalCents: 1234 };
  await lab.ctx.write(async (tx) => {
    await tx.insert(statement).values({
      id,
      number: `2026-${String(number).padStart(6, "0")}`,
      org,
      month: `2026-${String((number % 11) + 1).padStart(2, "0")}`,
      mode: "stripe",
      state: "closing",
      closedAt: clock.now(),
      ...amounts,
    });
    for (const [position, cents] of [1000, 334, 0].entries())
      await tx.insert(statementLine).values({
        id: `stml_${id}${position}`,
        statementId: id,
        position,
        kind: "train",
        description: `Training ${position}`,
        quantity: 1,
        unitMicros: cents * 10_000,
        micros: cents * 10_000,
        cents,
      });
  });
  return id;
}
const rowOf = async (id: string) => {
  const [row] = await lab.ctx.db.select().from(statement).where(eq(statement.id, id));
  if (!row) throw new Error(`no ${id}`);
  return row;
};
const send = async (id: string) => sendStatement(lab.ctx, await rowOf(id));
const invoiceOf = async (id: string) => stripe.find((await rowOf(id)).stripeInvoiceId ?? "");
const invoicesOf = (id: string) => [...stripe.invoices.values()].filter((each) => each.metadata?.statement === id);
async function storeCard(card = CARDS.good): Promise<void> {
  const { url } = await lab.json<{ url: string }>("POST", "/v1/billing/checkout");
  await stripe.completeCheckout(url.split("/").at(-1) ?? "", card);
  await deliver();
}
const account = () => lab.json<{ card: object | null; collection: string }>("GET", "/v1/billing/account");
const booked = async (name: string) =>
  (
    await lab.ctx.db.all<{ micros: number }>(
      sql`select coalesce(sum(micros), 0) micros from ledger_entry where org = ${lab.orgs.a} and account = ${name}`,
    )
  )[0]?.micros;
const notices = async (type: string) =>
  (await lab.ctx.db.all<{ title: string }>(sql`select distinct title from notice_event where type = ${type}`)).map(
    ({ title }) => title,
  );

describe.skipIf(localstripeMissing !== null)("payments with Stripe", () => {
  test("a card is stored in Checkout; only brand, last four and expiry are kept, and members may not", async () => {
    expect(await account()).toMatchObject({ mode: "test", card: null });
    await storeCard();
    expect((await account()).card).toEqual({ brand: "visa", last4: "4242", expires: "2031-04" });
    const dump = JSON.stringify(await lab.ctx.db.all(sql`select * from billing_account`));
    expect(dump).not.toContain(CARDS.good);
    const portal = await lab.json<{ url: string; mode: string }>("POST", "/v1/billing/portal");
    expect(portal).toMatchObject({ mode: "test", url: expect.stringContaining("https://billing.stripe.com/") });
    const page = await (await lab.request("GET", "/billing/payment")).text();
    for (const shown of ["Test mode", "visa •••• 4242", "2031-04", "Replace the card"]) expect(page).toContain(shown);
    const post = { headers: { host: "lab.example.test", origin: PUBLIC, "sec-fetch-site": "same-origin" } };
    const leaving = await lab.request("POST", "/billing/payment/card", post);
    expect(leaving.headers.get("refresh")).toStartWith("0; url=https://checkout.stripe.com/");
    const ids = await Promise.all([customerOf(lab.ctx, lab.orgs.a), customerOf(lab.ctx, lab.orgs.a)]);
    expect(new Set(ids).size).toBe(1);
    for (const path of ["/v1/billing/checkout", "/v1/billing/portal"])
      expect((await lab.request("POST", path, { as: "member" })).status).toBe(403);
  });

  test("a statement becomes an invoice with the same lines, is charged, and is paid here to the cent", async () => {
    await storeCard();
    const pending = { customer: await customerOf(lab.ctx, lab.orgs.a), amount: "9999", currency: "usd" };
    await stripe.addItem(pending);
    const id = await closed();
    await send(id);
    const invoice = await invoiceOf(id);
    expect(stripe.itemsOf(invoice.id).map(({ amount, description }) => [description, amount])).toEqual([
      ["Training 0", 1000],
      ["Training 1", 334],
      ["Credit", -100],
    ]);
    expect(invoice).toMatchObject({ status: "paid", amount_paid: 1234 });
    expect(await rowOf(id)).toMatchObject({
      state: "paid",
      paidCents: 1234,
      totalCents: 1234,
      stripeUrl: invoice.hosted_invoice_url,
    });
    await deliver();
    await deliver();
    expect(await booked("cash")).toBe(12_340_000);
  });

  test("with payment terms the invoice is sent; tax is added where the team is not exempt", async () => {
    await settings({ automatic_tax: true, collection: "send" });
    const taxed = await closed();
    await send(taxed);
    expect(await invoiceOf(taxed)).toMatchObject({ status: "open", collection_method: "send_invoice" });
    expect(await rowOf(taxed)).toMatchObject({
      state: "open",
      taxCents: 247,
      totalCents: 1481,
      dueAt: NOW + 14 * 86_400_000,
    });
    await lab.json("POST", `/v1/admin/orgs/${lab.orgs.a}/billing`, { body: { tax_exempt: true } });
    const exempt = await closed();
    await send(exempt);
    expect(await rowOf(exempt)).toMatchObject({ taxCents: 0, totalCents: 1234 });
  });

  test("an invoice that differs from the ledger is deleted with an alarm, and sent once it agrees", async () => {
    const id = await closed();
    await lab.ctx.write((tx) => tx.update(statement).set({ totalCents: 1235 }).where(eq(statement.id, id)));
    await send(id);
    expect(invoicesOf(id)).toEqual([]);
    expect(await rowOf(id)).toMatchObject({
      state: "closing",
      error: "The invoice at Stripe is $12.34 and the ledger says $12.35.",
      notBefore: NOW + 3_600_000,
    });
    expect(await notices("billing.close_failed")).toHaveLength(1);
    await lab.ctx.write((tx) => tx.update(statement).set({ totalCents: 1234 }).where(eq(statement.id, id)));
    await send(id);
    expect(invoicesOf(id)).toHaveLength(1);
    expect((await rowOf(id)).state).not.toBe("closing");
  });

  test.each([false, true])(
    "a crash at any step makes no second invoice or line (keys forgotten: %p)",
    async (forget) => {
      await storeCard();
      const id = await closed();
      for (const point of ["stripe.invoice", "stripe.item", "stripe.checked", "stripe.finalized"] as const) {
        kill = point;
        await send(id);
        if (forget) stripe.forgetKeys();
        for (const path of [/^POST .*\/invoices$/, /^POST .*\/invoiceitems$/]) stripe.failNext(path, "after");
        await send(id);
        if (forget) stripe.forgetKeys();
      }
      kill = null;
      stripe.failNoMore();
      await send(id);
      expect(invoicesOf(id)).toHaveLength(1);
      expect(
        stripe
          .itemsOf((await invoiceOf(id)).id)
          .map(({ amount }) => amount)
          .sort(),
      ).toEqual([-100, 1000, 334]);
      expect(await rowOf(id)).toMatchObject({ state: "paid", paidCents: 1234 });
      expect(new Set(invoicesOf(id).map(({ customer }) => customer)).size).toBe(1);
    },
  );

  test("a declined card makes the invoice overdue, and a new card pays it and the statement at once", async () => {
    await storeCard(CARDS.declined);
    const id = await closed();
    await send(id);
    const dueAt = clock.now() + 86_400_000;
    expect(await rowOf(id)).toMatchObject({ state: "past_due", error: "The payment method was declined.", dueAt });
    await storeCard();
    expect(await rowOf(id)).toMatchObject({ state: "paid", paidCents: 1234 });
    expect(await notices("billing.payment_failed")).toHaveLength(1);
  });

  test("an invoice that was partly credited at Stripe is settled by the payment of the rest", async () => {
    await settings({ collection: "send" });
    const id = await closed();
    await send(id);
    const invoice = await invoiceOf(id);
    Object.assign(invoice, { status: "paid", amount_paid: 1000, amount_remaining: 0 });
    for (let n = 0; n < 2; n++) await syncInvoice(lab.ctx, invoice.id);
    expect(await rowOf(id)).toMatchObject({ state: "paid", paidCents: 1000, paidAt: clock.now() });
    expect([await booked("cash"), await booked("credits"), await booked("receivable")]).toEqual([
      10_000_000, 2_340_000, -12_340_000,
    ]);
  });

  test("events in the wrong order, twice and late have the effect of the present state", async () => {
    await storeCard();
    const id = await closed();
    await send(id);
    await deliver("reversed");
    delivered -= 4;
    await deliver();
    expect(await rowOf(id)).toMatchObject({ state: "paid", paidCents: 1234 });
    expect(await booked("cash")).toBe(12_340_000);
    const states = await lab.ctx.db.select({ state: stripeEvent.state }).from(stripeEvent);
    expect(new Set(states.map(({ state }) => state))).toEqual(new Set(["done", "ignored"]));
  });

  test("an event that was never delivered is found in Stripe's list", async () => {
    const { url } = await lab.json<{ url: string }>("POST", "/v1/billing/checkout");
    await stripe.completeCheckout(url.split("/").at(-1) ?? "");
    expect(await fillGaps(lab.ctx)).toBeGreaterThan(0);
    await work();
    expect((await account()).card).toMatchObject({ last4: "4242" });
    // Making the card the default is an event of its own.
    expect(await fillGaps(lab.ctx)).toBe(1);
    expect(await fillGaps(lab.ctx)).toBe(0);
  });

  test("an event that was never delivered is found although much later ones were", async () => {
    await fillGaps(lab.ctx);
    const { url } = await lab.json<{ url: string }>("POST", "/v1/billing/checkout");
    const session = url.split("/").at(-1) ?? "";
    await stripe.completeCheckout(session);
    delivered = stripe.events.length;
    clock.advance(2 * 3_600_000);
    stripe.emit("customer.updated", { id: await customerOf(lab.ctx, lab.orgs.a) });
    await deliver();
    const states = async () =>
      (await lab.ctx.db.select().from(stripeEvent).where(eq(stripeEvent.objectId, session))).map(({ state }) => state);
    expect(await states()).toEqual([]);
    await fillGaps(lab.ctx);
    await work();
    expect(await states()).toEqual(["done"]);
    expect((await account()).card).toMatchObject({ last4: "4242" });
  });

  test("only a fresh signature of Stripe over exactly these bytes is accepted", async () => {
    const id = await customerOf(lab.ctx, lab.orgs.a);
    stripe.emit("customer.updated", { id });
    const event = stripe.events.at(-1) as object;
    const good = await signed(event, SIGNING_SECRET, clock.now());
    const stored = async () => (await lab.ctx.db.select().from(stripeEvent)).length;
    const before = await stored();
    const old = await signed(event, SIGNING_SECRET, clock.now() - 301_000);
    const foreign = await signed(event, "whsec_ofSomebodyElse123", clock.now());
    const wrong: [string, string | null][] = [
      [good.payload, null],
      [good.payload, "t=1,v1=00"],
      [good.payload, "rubbish"],
      [old.payload, old.signature],
      [foreign.payload, foreign.signature],
      [JSON.stringify(event), good.signature],
      [`${good.payload} `, good.signature],
    ];
    for (const [payload, signature] of wrong) {
      const answer = await post(payload, signature);
      expect(answer.status).toBe(400);
      expect(await answer.text()).not.toContain("whsec_");
    }
    expect((await post(`{"a":"${"x".repeat(600_000)}"}`, good.signature)).status).toBe(413);
    const empty = await signed("[]", SIGNING_SECRET, clock.now());
    expect((await post(empty.payload, empty.signature)).status).toBe(400);
    expect(await stored()).toBe(before);
    for (let n = 0; n < 3; n++) expect((await post(good.payload, good.signature)).status).toBe(200);
    expect(await stored()).toBe(before + 1);
  });

  test("unknown types, live events and objects of other accounts are stored and change nothing", async () => {
    stripe.emit("customer.updated", { id: "cus_ofSomebodyElse" });
    stripe.emit("invoice.paid", { id: "in_ofSomebodyElse" });
    stripe.emit("charge.refunded", { id: "ch_ofSomebodyElse" });
    stripe.emit("product.created", { id: "prod_1" });
    stripe.emit("customer.updated", { id: await customerOf(lab.ctx, lab.orgs.a) });
    Object.assign(stripe.events.at(-1) as object, { livemode: true });
    await deliver();
    const rows = await lab.ctx.db.select().from(stripeEvent);
    expect(rows.map(({ state }) => state)).toEqual(["ignored", "ignored", "ignored", "ignored", "ignored"]);
  });

  test("a refund is made at Stripe once, with a credit note, also when a crash came between", async () => {
    await storeCard();
    const id = await closed();
    await send(id);
    const row = { id: `crd_${id}`, org: lab.orgs.a, kind: "refund", reason: "outage", micros: 4_000_000 } as const;
    await lab.ctx.write((tx) =>
      tx.insert(credit).values({ ...row, statementId: id, state: "pending", createdBy: "system", createdAt: NOW }),
    );
    const waiting = await nextRefund(lab.ctx, []);
    if (!waiting) throw new Error("no refund waits");
    kill = "stripe.refunded";
    expect(await sendRefund(lab.ctx, waiting).then(() => "done", String)).toContain("killed");
    stripe.forgetKeys();
    kill = null;
    await sendRefund(lab.ctx, waiting);
    await deliver();
    const made = stripe.refunds.filter(({ metadata }) => metadata?.credit === row.id);
    expect(made.map(({ amount }) => amount)).toEqual([400]);
    expect([...stripe.notes.values()].filter(({ metadata }) => metadata?.credit === row.id)).toHaveLength(1);
    expect(await rowOf(id)).toMatchObject({ refundedCents: 400 });
    expect(await booked("refunds")).toBe(4_000_000);
    const [done] = await lab.ctx.db.select().from(credit).where(eq(credit.id, row.id));
    expect(done).toMatchObject({ state: "done", stripeRefundId: made[0]?.id });
  });

  test("a dispute notifies administrators, and the card is not charged any more", async () => {
    await storeCard();
    const id = await closed();
    await send(id);
    const dispute = await stripe.openDispute((await invoiceOf(id)).id);
    await deliver();
    expect((await account()).collection).toBe("send");
    expect(await notices("billing.dispute")).toEqual([expect.stringContaining("is disputed")]);
    const next = await closed();
    await send(next);
    expect(await invoiceOf(next)).toMatchObject({ status: "open", collection_method: "send_invoice" });
    stripe.closeDispute(dispute.id, "won");
    await deliver();
    expect(await notices("billing.dispute")).toHaveLength(2);
  });
});
