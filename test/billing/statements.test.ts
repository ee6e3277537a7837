/** Statements as API, page, CSV and PDF; credits and refunds of administrators; automatic credits. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { eq, inArray } from "drizzle-orm";
import { giveSignUpCredits } from "../../src/billing/statements/automatic-credits.ts";
import { markPaid } from "../../src/billing/statements/transitions.ts";
import { credit, statement } from "../../src/db/schema/billing.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { DAY, item, setPrices, useFrom } from "../support/billing.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";

const NOVEMBER = Date.UTC(2026, 10, 1);

let t: TestApp;
let clock: FakeClock;
let id = "";

interface View {
  id: string;
  number: string;
  total_usd: number;
  state: string;
  refunded_usd: number;
  lines: { description: string; quantity: number; amount_usd: number }[];
  credit_notes: { kind: string; amount_usd: number; note: string }[];
}

beforeAll(async () => {
  clock = fakeClock(NOVEMBER + DAY);
  t = await createTestApp({ ctx: { clock } });
  await setPrices(t, [
    { ...item, meter: "gpu_seconds", unit_micros: 2_000_000 },
    { ...item, meter: "byte_hours", unit_micros: 100_000 },
  ]);
  await t.json("PATCH", "/v1/billing/settings", {
    body: { mode: "chargeback", sign_up_credit_usd: 5, late: { legal_text: "Interest is 1% a month." } },
  });
  await useFrom(t, t.orgs.a, NOVEMBER + DAY);
  await useFrom(t, t.orgs.a, NOVEMBER, {
    kind: "storage",
    meter: "byte_hours",
    quantity: 78_383_153_152_000,
    model: "datasets",
  });
  await useFrom(t, t.orgs.b, NOVEMBER + DAY, { quantity: 7200 });
  clock.advance(40 * DAY);
  expect(await t.json("POST", "/v1/admin/billing/close")).toMatchObject({ statements: 2 });
});
afterAll(() => t.close());

const failure = async (answer: Response) => {
  const { error } = (await answer.json()) as { error: { code: string; param: string | null } };
  return [answer.status, error.code];
};

test("a team lists and reads its own statements only, and a member none", async () => {
  const list = await t.json<{ data: View[] }>("GET", "/v1/billing/statements");
  expect(list.data.map(({ total_usd, state }) => [total_usd, state])).toEqual([[12, "final"]]);
  id = list.data[0]?.id ?? "";
  const view = await t.json<View>("GET", `/v1/billing/statements/${id}`);
  expect(view.lines.map(({ description, quantity, amount_usd }) => [description, quantity, amount_usd])).toEqual([
    ["Storage: GiB-months, datasets", 100, 10],
    ["Training: GPU-hours, H100, process", 1, 2],
  ]);
  expect((await t.request("GET", `/v1/billing/statements/${id}`, { as: "other" })).status).toBe(403);
  expect((await t.request("GET", "/v1/billing/statements", { as: "member" })).status).toBe(403);
  expect(await failure(await t.request("GET", "/v1/billing/statements/stm_none"))).toEqual([
    404,
    "statement_not_found",
  ]);
});

test("a statement is a page, a CSV and a PDF with its fonts, and administrators get all teams of a month", async () => {
  const page = await (await t.request("GET", `/billing/statements/${id}`)).text();
  for (const words of [
    "Statement 2026-00000",
    "Training: GPU-hours, H100, process",
    "$12.00",
    "Interest is 1% a month.",
  ])
    expect(page).toContain(words);
  const csv = await (await t.request("GET", `/v1/billing/statements/${id}.csv`)).text();
  const rows = csv
    .trim()
    .split("\r\n")
    .map((row) => row.split(","));
  expect(rows.slice(1).reduce((sum, row) => sum + Number(row.at(-1)), 0)).toBe(12);
  const pdf = await t.request("GET", `/v1/billing/statements/${id}.pdf`);
  expect(pdf.headers.get("content-type")).toBe("application/pdf");
  const bytes = Buffer.from(await pdf.arrayBuffer()).toString("latin1");
  expect(bytes.slice(0, 5)).toBe("%PDF-");
  expect(bytes).toMatch(/\/FontFile2 \d+ 0 R/);
  const all = await (await t.request("GET", "/v1/admin/billing/statements.csv?month=2026-11")).text();
  expect(all).toContain(",Alpha,final,");
  expect(all).toContain(",Beta,final,");
  expect((await t.request("GET", "/v1/admin/billing/statements.csv?month=2026-11", { as: "member" })).status).toBe(403);
});

test("pages of a team leave no statement out when one of them was kept back", async () => {
  const { a } = t.orgs;
  const numbers = [7, 8, 9].map((n) => `2026-90000${n}`);
  const closed = { org: a, mode: "chargeback", subtotalCents: 0, totalCents: 0, closedAt: 0 } as const;
  await t.ctx.write((tx) =>
    tx.insert(statement).values(
      numbers.map((number, n) => {
        const state = n === 1 ? ("failed" as const) : ("final" as const);
        return { ...closed, id: `stm_page${n}`, number, month: `2025-0${n + 1}`, state };
      }),
    ),
  );
  const seen: string[] = [];
  for (let after = "", more = true; more; ) {
    const page = await t.json<{ data: View[]; has_more: boolean; last_id: string }>(
      "GET",
      `/v1/billing/statements?limit=2${after && `&after=${after}`}`,
    );
    expect(page.data).toHaveLength(page.has_more ? 2 : page.data.length);
    seen.push(...page.data.map(({ number }) => number));
    more = page.has_more;
    after = page.last_id;
  }
  await t.ctx.write((tx) => tx.delete(statement).where(inArray(statement.number, numbers)));
  expect(seen).toEqual(["2026-900009", "2026-900007", expect.any(String)]);
});

test("an administrator gives a credit with a reason, which the team sees and the statement shows", async () => {
  const give = (more: object) =>
    t.request("POST", "/v1/admin/billing/credits", {
      body: { organization: t.orgs.a, amount_usd: 7.5, reason: "outage", note: "GPU outage", ...more },
    });
  expect((await give({ statement: id })).status).toBe(200);
  expect(await failure(await give({ organization: "org-none" }))).toEqual([400, "organization_not_found"]);
  expect(await failure(await give({ expires_at: 1 }))).toEqual([400, "end_in_the_past"]);
  expect(await failure(await give({ amount_usd: -1 }))).toEqual([400, "invalid_value"]);
  expect(await failure(await give({ reason: "sign_up" }))).toEqual([400, "invalid_type"]);
  const view = await t.json<View>("GET", `/v1/billing/statements/${id}`);
  expect(view.credit_notes).toMatchObject([{ kind: "credit", amount_usd: 7.5, note: "GPU outage" }]);
  expect(view.total_usd).toBe(12);
  const page = await (await t.request("GET", "/billing")).text();
  expect(page).toContain("Outage: GPU outage");
  expect(page).toContain("$7.50");
});

test("a refund is never above what was paid, and used GPU time needs a decision with a reason", async () => {
  const refund = (body: object) =>
    t.request("POST", `/v1/admin/billing/statements/${id}/refunds`, { body: { reason: "billing_error", ...body } });
  expect(await failure(await refund({}))).toEqual([409, "not_paid"]);
  await t.ctx.write((tx) => tx.update(statement).set({ mode: "stripe", state: "open" }).where(eq(statement.id, id)));
  await t.ctx.write((tx) => markPaid(tx, t.ctx, id, { payment: "bank transfer 1", cents: 1200 }));
  expect(await failure(await refund({ amount_usd: 12.01 }))).toEqual([409, "refund_too_large"]);
  expect(await failure(await refund({ amount_usd: 12 }))).toEqual([409, "used_gpu_time"]);
  expect(await failure(await refund({ include_used_gpu_time: true }))).toEqual([400, "note_required"]);
  expect(await failure(await refund({ amount_usd: 0.015 }))).toEqual([400, "invalid_value"]);
  expect((await refund({ amount_usd: 9 })).status).toBe(200);
  expect(await failure(await refund({ amount_usd: 2 }))).toEqual([409, "used_gpu_time"]);
  expect((await refund({ include_used_gpu_time: true, note: "Wrong GPU" })).status).toBe(200);
  expect(await failure(await refund({ amount_usd: 0.01 }))).toEqual([409, "not_paid"]);
  expect(await t.json<View>("GET", `/v1/billing/statements/${id}`)).toMatchObject({ state: "paid", refunded_usd: 12 });
});

test("a new team gets the credit of a sign-up once, an old one never", async () => {
  const made = await t.json<{ id: string }>("POST", "/v1/admin/orgs", { body: { name: "Gamma" } });
  for (let n = 0; n < 2; n++) await giveSignUpCredits(t.ctx);
  const rows = await t.ctx.db.select().from(credit).where(eq(credit.reason, "sign_up"));
  expect(rows.map(({ org, micros, source }) => [org, micros, source])).toEqual([
    [made.id, 5_000_000, `sign-up ${made.id}`],
  ]);
});

test("the page of administrators has teams, months, statements and the settings, which its form changes", async () => {
  await useFrom(t, t.orgs.b, clock.now());
  const page = await (await t.request("GET", "/admin/billing")).text();
  for (const words of ["2026-12", "Give credit", "Close now", "CSV of 2026-11"]) expect(page).toContain(words);
  const form = {
    mode: "chargeback",
    first_month: "2026-11",
    collection: "send",
    legal_text: "",
    grace_hours: "24",
    payment_terms_days: "30",
    sign_up_credit_usd: "0",
    cpu_watts_per_core: "10",
    grams_per_kwh: "400",
    notice_days: "0",
    no_new_work_days: "3",
    suspend_days: "14",
    fee_usd: "0",
    monthly_interest_percent: "0",
  };
  expect((await t.request("POST", "/admin/billing", { form })).status).toBe(303);
  expect(await t.json("GET", "/v1/billing/settings")).toMatchObject({ grace_hours: 24, collection: "send" });
  const wrong = await t.request("POST", "/admin/billing", { form: { ...form, grace_hours: "" } });
  expect(wrong.status).toBe(422);
  expect(await wrong.text()).toContain("The grace hours");
  await t.json("PATCH", "/v1/billing/settings", { body: { mode: "off" } });
  expect(await (await t.request("GET", "/admin/billing")).text()).toContain("Statements need no payment provider");
  expect(await (await t.request("GET", "/billing")).text()).toContain("Nobody is charged");
});
