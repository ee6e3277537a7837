/** Late payment: notice, no new paid work, suspension and the way back; fee and interest on the next statement. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { asc, eq, sql } from "drizzle-orm";
import { activeHold } from "../../src/accounts/holds/service.ts";
import { checkLate } from "../../src/billing/late/pass.ts";
import { lateTeam, lateWork } from "../../src/billing/late/state.ts";
import { verifyLedger } from "../../src/billing/ledger/verify.ts";
import { allTeams } from "../../src/billing/statements/overview.ts";
import { closeMonths } from "../../src/billing/statements/pass.ts";
import { markGivenUp, markPaid, markSettled } from "../../src/billing/statements/transitions.ts";
import { member } from "../../src/db/schema/auth.ts";
import { billingAccount, lateCharge, statement, statementLine } from "../../src/db/schema/billing.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { addInvoice, DAY, HOUR, item, setPrices, useFrom } from "../support/billing.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { browserOf } from "../support/cookies.ts";
import { TEST_KEY } from "../support/stripe-fake.ts";

const DUE = Date.UTC(2026, 11, 10, 12);
const LEGAL = "Interest is due under section 288.";
let t: TestApp;
let clock: FakeClock;
let number = 0;

beforeEach(async () => {
  number = 0;
  clock = fakeClock(DUE - 5 * DAY);
  t = await createTestApp({ ctx: { clock }, config: { stripe_secret_key: TEST_KEY } });
  await settings({ mode: "stripe", late: { legal_text: LEGAL } });
  await t.ctx.write((tx) => tx.update(member).set({ role: "owner" }).where(eq(member.userId, t.users.other)));
  await checkLate(t.ctx);
});
afterEach(() => t.close());

const settings = (body: object) => t.json("PATCH", "/v1/billing/settings", { body });
const invoice = (cents: number, dueAt = DUE, charges = 0) =>
  addInvoice(t, { n: ++number, org: t.orgs.b, cents, dueAt, charges });
const at = async (ms: number) => {
  clock.advance(ms - clock.now());
  await checkLate(t.ctx);
};
const pay = (id: string, cents: number) =>
  t.ctx.write((tx) => markPaid(tx, t.ctx, id, { payment: `pi ${id} ${cents}`, cents }));
const step = async () => {
  const [row] = await t.ctx.db.select().from(billingAccount).where(eq(billingAccount.org, t.orgs.b));
  return row?.lateStep ?? null;
};
const stateOf = async (id: string) =>
  (await t.ctx.db.select().from(statement).where(eq(statement.id, id)))[0]?.state ?? "";
const notices = async () =>
  (
    await t.ctx.db.all<{ title: string }>(
      sql`select title from notice_event where type in ('billing.late', 'billing.suspended', 'billing.restored')
        and user_id = ${t.users.other} order by rowid`,
    )
  ).map(({ title }) => title);
const waits = async () => (await lateWork(t.ctx)).why.get(t.orgs.b) ?? null;
const held = async () => (await activeHold(t.ctx.db, "unpaid", "organization", t.orgs.b))?.reason ?? null;
const charges = async () =>
  (await t.ctx.db.select().from(lateCharge).orderBy(asc(lateCharge.at), asc(lateCharge.source))).map(
    ({ source, micros }) => [source, micros],
  );
const violations = async () => (await verifyLedger(t.ctx.db)).flatMap((check) => check.violations);

describe("an invoice that stays unpaid", () => {
  test("leads to a notice, no new work and a suspension, once each, and payment leads back within one look", async () => {
    const id = await invoice(1234);
    await at(DUE - 1);
    expect([await stateOf(id), await step(), await notices()]).toEqual(["open", null, []]);
    await at(DUE);
    await at(DUE + 1);
    const teams = await allTeams(t.ctx, t.actor("admin"));
    expect(teams.map(({ org, unpaidCents }) => [org, unpaidCents]).sort()).toEqual(
      [
        [t.orgs.a, 0],
        [t.orgs.b, 1234],
      ].sort(),
    );
    expect([await stateOf(id), await step(), await waits()]).toEqual(["past_due", "notice", null]);
    await at(DUE + 3 * DAY);
    await at(DUE + 4 * DAY);
    expect(await step()).toBe("no_new_work");
    expect(await waits()).toBe(
      "Waiting for a payment: invoice 2026-000001 was due on 2026-12-10, and $12.34 of it is unpaid. Pay it under Billing (/billing)",
    );
    await at(DUE + 14 * DAY - 1);
    expect(await held()).toBeNull();
    await at(DUE + 14 * DAY);
    await at(DUE + 15 * DAY);
    expect([await step(), await held()]).toEqual([
      "suspended",
      "Invoice 2026-000001 was due on 2026-12-10 and is unpaid.",
    ]);
    await pay(id, 1234);
    await at(DUE + 15 * DAY + 1);
    expect([await stateOf(id), await step(), await held(), await waits()]).toEqual(["paid", null, null, null]);
    expect(await notices()).toEqual([
      "Invoice 2026-000001 is overdue",
      "No new paid work starts: invoice 2026-000001 is unpaid",
      "Your team is suspended: invoice 2026-000001 is unpaid",
      "The suspension of your team is lifted",
    ]);
    const bodies = await t.ctx.db.all<{ body: string }>(sql`select body from notice_event
      where type = 'billing.late' and user_id = ${t.users.other} order by rowid limit 1`);
    expect(bodies[0]?.body).toBe(
      `Invoice 2026-000001 was due on 2026-12-10, and $12.34 of it is unpaid. Pay it, or change the payment method, under Billing. From 2026-12-13 on no new paid work starts. On 2026-12-24 the team is suspended: training saves a checkpoint, and jobs and endpoints stop. ${LEGAL}`,
    );
  });

  test("suspends keys, and leaves those who manage payments the pages on which they pay", async () => {
    const id = await invoice(1234);
    const signedIn = async () => {
      const browser = browserOf(t);
      expect((await browser.signIn("other")).status).toBe(303);
      return (path: string) => browser.send("GET", path, { headers: { accept: "text/html" } });
    };
    await at(DUE);
    const early = await (await (await signedIn())("/jobs")).text();
    expect(early).toContain("An invoice is overdue");
    expect(early).toContain(LEGAL);
    await at(DUE + 14 * DAY);
    const open = await signedIn();
    const refused = await t.request("GET", "/v1/models", { as: "other" });
    expect(refused.status).toBe(403);
    const { error } = (await refused.json()) as { error: { code: string; message: string } };
    expect(error.code).toBe("account_suspended");
    expect(error.message).toContain("Invoice 2026-000001 was due on 2026-12-10");
    expect(error.message).toContain("Pay it under Billing (/billing)");
    for (const path of ["/billing", `/billing/statements/${id}`, "/billing/payment", "/v1/billing/statements"])
      expect([path, (await open(path)).status]).toEqual([path, 200]);
    const page = await (await open("/billing")).text();
    expect(page).toContain("The team is suspended: an invoice is overdue");
    expect(page).toContain(LEGAL);
    expect(page).toContain("Store a card");
    const shut = await open("/jobs");
    expect(shut.status).toBe(403);
    expect(await shut.text()).toContain("Pay under Billing");
    for (const path of ["/datasets", "/v1/jobs", "/v1/files"])
      expect([path, (await open(path)).status]).toEqual([path, 403]);
    await t.ctx.write((tx) => tx.update(member).set({ role: "member" }).where(eq(member.userId, t.users.other)));
    const asMember = await signedIn();
    for (const path of ["/billing", "/billing/payment", "/jobs"])
      expect([path, (await asMember(path)).status]).toEqual([path, 403]);
    // Who cannot pay and is in another team works there.
    const both = { id: "mem_both", userId: t.users.other, organizationId: t.orgs.a, role: "member" };
    await t.ctx.write((tx) => tx.insert(member).values({ ...both, createdAt: new Date(clock.now()) }));
    expect((await (await signedIn())("/jobs")).status).toBe(200);
    await pay(id, 1234);
    await at(DUE + 14 * DAY + 1);
    expect((await t.request("GET", "/v1/models", { as: "other" })).status).toBe(200);
    expect((await asMember("/jobs")).status).toBe(200);
  });

  test.each([
    ["voided", (id: string) => t.ctx.write((tx) => markGivenUp(tx, t.ctx, id, "void"))],
    ["given up", (id: string) => t.ctx.write((tx) => markGivenUp(tx, t.ctx, id, "uncollectible"))],
    ["credited at Stripe", (id: string) => t.ctx.write((tx) => markSettled(tx, t.ctx, id))],
    ["of a mode that charges nobody", () => settings({ mode: "chargeback" })],
  ])("that is %s restores the team", async (_how, end) => {
    const id = await invoice(1234);
    await at(DUE + 14 * DAY);
    expect(await held()).not.toBeNull();
    await end(id);
    await at(DUE + 14 * DAY + 1);
    expect([await step(), await held(), await waits()]).toEqual([null, null, null]);
    expect((await notices()).at(-1)).toBe("The suspension of your team is lifted");
  });

  test("an administrator's lift gives the team time until that invoice is paid", async () => {
    await invoice(1234);
    await at(DUE + 14 * DAY);
    // An administrator of the installation lifts it for the own team too.
    const browser = browserOf(t);
    await browser.signIn("otherAdmin");
    expect(await (await browser.send("GET", `/admin/teams/${t.orgs.b}`)).text()).toContain("Lift the suspension");
    expect((await browser.send("POST", `/admin/teams/${t.orgs.b}/lift`)).status).toBe(303);
    await at(DUE + 20 * DAY);
    expect([await step(), await held(), await waits()]).toEqual(["suspended", null, null]);
    expect((await lateTeam(t.ctx, t.orgs.b))?.title).toBe("An invoice is overdue");
    expect((await t.request("GET", "/v1/models", { as: "other" })).status).toBe(200);
  });

  test("more time from an administrator leads back to the notice until it ends, by itself or early", async () => {
    const id = await invoice(1234);
    await at(DUE + 15 * DAY);
    const path = `/v1/admin/orgs/${t.orgs.b}/more_time`;
    const give = (days: number, reason = "The transfer is on its way") =>
      t.request("POST", path, { body: { until: (DUE + days * DAY) / 1000, reason } });
    for (const [answer, code] of [
      [await give(14), "end_in_the_past"],
      [await give(14 + 400), "end_too_late"],
      [await give(20, " "), "invalid_value"],
    ] as const)
      expect([answer.status, (await answer.json()).error.code]).toEqual([400, code]);
    expect((await t.request("POST", path, { as: "other", body: {} })).status).toBe(403);
    expect((await give(20)).status).toBe(200);
    // At once, without a look.
    expect([await step(), await held(), await waits()]).toEqual(["notice", null, null]);
    expect((await t.request("GET", "/v1/models", { as: "other" })).status).toBe(200);
    expect((await lateTeam(t.ctx, t.orgs.b))?.text).toBe(
      `Invoice 2026-000001 was due on 2026-12-10, and $12.34 of it is unpaid. An administrator gave the team time until 2026-12-30 (The transfer is on its way). On 2026-12-30 the team is suspended: training saves a checkpoint, and jobs and endpoints stop. ${LEGAL}`,
    );
    await at(DUE + 20 * DAY - 1);
    expect(await step()).toBe("notice");
    await at(DUE + 20 * DAY);
    expect([await step(), (await held()) !== null]).toEqual(["suspended", true]);
    expect((await lateTeam(t.ctx, t.orgs.b))?.text).not.toContain("gave the team time");
    const browser = browserOf(t);
    await browser.signIn("otherAdmin");
    const team = `/admin/teams/${t.orgs.b}`;
    const form = { until: "2027-01-10", reason: "Second try" };
    expect((await browser.send("POST", `${team}/more-time`, { form })).status).toBe(303);
    expect(await (await browser.send("GET", team)).text()).toContain("Reason: Second try");
    expect([await step(), await held()]).toEqual(["notice", null]);
    expect((await browser.send("POST", `${team}/more-time/end`)).status).toBe(303);
    expect([await step(), (await held()) !== null]).toEqual(["suspended", true]);
    expect((await notices()).filter((title) => title.startsWith("You have until"))).toEqual([
      "You have until 2026-12-30 to pay invoice 2026-000001",
      "You have until 2027-01-10 to pay invoice 2026-000001",
    ]);
    const audited = await t.ctx.db.all<{ action: string; detail: string }>(
      sql`select action, detail from audit_log where action like 'payment_time.%' order by rowid`,
    );
    expect(audited.map(({ action }) => action)).toEqual(["payment_time.give", "payment_time.give", "payment_time.end"]);
    expect(audited[0]?.detail).toContain("The transfer is on its way");
    await pay(id, 1234);
    await at(DUE + 21 * DAY);
    expect([await step(), await held()]).toEqual([null, null]);
  });

  test("a suspension by an administrator stays when the invoice is paid", async () => {
    const id = await invoice(1234);
    await t.json("POST", `/v1/admin/orgs/${t.orgs.b}/suspend`, { body: { reason: "Abuse report 12" } });
    await at(DUE + 14 * DAY);
    await pay(id, 1234);
    await at(DUE + 14 * DAY + 1);
    expect(await held()).toBeNull();
    expect((await activeHold(t.ctx.db, "suspended", "organization", t.orgs.b))?.reason).toBe("Abuse report 12");
  });
});

test("the oldest of two invoices decides; paying it leads to the step of the other one", async () => {
  const first = await invoice(1000);
  const second = await invoice(2000, DUE + 10 * DAY);
  const third = await invoice(300, DUE + 10 * DAY);
  await at(DUE + 10 * DAY);
  expect(await step()).toBe("no_new_work");
  await at(DUE + 14 * DAY);
  expect([await step(), await held()]).toEqual(["suspended", expect.stringContaining("2026-000001")]);
  await pay(first, 400);
  await at(DUE + 14 * DAY + 1);
  expect(await step()).toBe("suspended");
  await pay(first, 600);
  await at(DUE + 14 * DAY + 2);
  expect([await step(), await held()]).toEqual(["no_new_work", null]);
  expect(await waits()).toContain("invoice 2026-000002 was due on 2026-12-20, and $20.00 of it is unpaid");
  await at(DUE + 24 * DAY);
  expect([await step(), await held()]).toEqual(["suspended", expect.stringContaining("2026-000002")]);
  await pay(second, 2000);
  await at(DUE + 24 * DAY + 1);
  expect(await held()).toBe("Invoice 2026-000003 was due on 2026-12-20 and is unpaid.");
  await pay(third, 300);
  await at(DUE + 24 * DAY + 2);
  expect([await step(), await held()]).toEqual([null, null]);
  expect(await notices()).toEqual([
    "Invoice 2026-000001 is overdue",
    "No new paid work starts: invoice 2026-000001 is unpaid",
    "Invoice 2026-000002 is overdue too",
    "Invoice 2026-000003 is overdue too",
    "Your team is suspended: invoice 2026-000001 is unpaid",
    "The suspension of your team is lifted",
    "Your team is suspended: invoice 2026-000002 is unpaid",
    "The suspension of your team is lifted",
  ]);
});

describe("fee and interest", () => {
  beforeEach(() => settings({ late: { fee_usd: 7.5, monthly_interest_percent: 1.5 } }));

  test("are charged once for the invoice and for each full day, not on fees, and are on the next statement", async () => {
    // $200 of the $250 are use: 200 × 0.015 × 12 / 365 = $0.098630 a day.
    const id = await invoice(25_000, DUE, 5000);
    await at(DUE + 2 * DAY);
    await at(DUE + 2 * DAY + 2 * HOUR);
    await at(DUE + 3 * DAY);
    const day = (date: string) => [`interest ${id} ${date}`, 98_630];
    expect(await charges()).toEqual([
      [`late_fee ${id}`, 7_500_000],
      day("2026-12-11"),
      day("2026-12-12"),
      day("2026-12-13"),
    ]);
    // What is left of the use after a payment: 100 × 0.015 × 12 / 365.
    await pay(id, 10_000);
    await at(DUE + 4 * DAY);
    expect((await charges()).at(-1)).toEqual([`interest ${id} 2026-12-14`, 49_315]);
    await pay(id, 15_000);
    await at(DUE + 9 * DAY);
    expect(await charges()).toHaveLength(5);
    expect(await violations()).toEqual([]);
    const teams = await allTeams(t.ctx, t.actor("admin"));
    expect(teams.find(({ org }) => org === t.orgs.b)?.unbilledMicros).toBe(7_845_205);
    await setPrices(t, [{ ...item, meter: "gpu_seconds", unit_micros: 1_000_000 }]);
    await useFrom(t, t.orgs.b, DUE);
    clock.advance(Date.UTC(2027, 0, 4) - clock.now());
    await closeMonths(t.ctx);
    const [next] = await t.ctx.db.select().from(statement).where(eq(statement.month, "2026-12"));
    // 7.50 + 3 × 0.09863 + 0.049315 + 1.00 = 8.845205
    expect(next).toMatchObject({ org: t.orgs.b, subtotalCents: 885 });
    const lines = await t.ctx.db
      .select()
      .from(statementLine)
      .where(eq(statementLine.statementId, next?.id ?? ""))
      .orderBy(asc(statementLine.position));
    expect(lines.map(({ kind, micros }) => [kind, micros])).toEqual([
      ["train", 1_000_000],
      ["late_fee", 7_500_000],
      ["interest", 345_205],
    ]);
    expect(await violations()).toEqual([]);
  });

  test("of an invoice that is voided are taken back; new settings do not reach back", async () => {
    const id = await invoice(10_000);
    await settings({ late: { fee_usd: 0, monthly_interest_percent: 0 } });
    await at(DUE + 2 * DAY);
    await settings({ late: { fee_usd: 7.5, monthly_interest_percent: 3 } });
    await at(DUE + 3 * DAY);
    expect(await charges()).toEqual([[`interest ${id} 2026-12-13`, 98_630]]);
    await t.ctx.write((tx) => markGivenUp(tx, t.ctx, id, "void"));
    await at(DUE + 4 * DAY);
    await at(DUE + 5 * DAY);
    expect(await charges()).toEqual([
      [`interest ${id} 2026-12-13`, 98_630],
      [`interest ${id} 2026-12-13 void`, -98_630],
    ]);
    expect(await violations()).toEqual([]);
  });
});
