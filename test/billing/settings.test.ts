/** Billing settings: defaults, changes of administrators with an audit entry, and refusals. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { billingSettings } from "../../src/billing/settings/service.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { browserOf } from "../support/cookies.ts";

let t: TestApp;
beforeAll(async () => {
  t = await createTestApp();
});
afterAll(() => t.close());

const change = (body: unknown, as: "admin" | "member" = "admin") =>
  t.request("PATCH", "/v1/billing/settings", { as, body });
const problem = async (answer: Response) => {
  const { error } = (await answer.json()) as { error: { code: string; param: string; message: string } };
  return [answer.status, error.code, error.param];
};

test("nobody is charged until an administrator changes the mode; what is not given stays", async () => {
  expect(await t.json("GET", "/v1/billing/settings")).toMatchObject({
    mode: "off",
    grace_hours: 48,
    payment_terms_days: 14,
    late: { notice_days: 0, no_new_work_days: 3, suspend_days: 14, fee_usd: 0 },
  });
  expect((await change({ mode: "chargeback", late: { suspend_days: 30, fee_usd: 12.5 } })).status).toBe(200);
  expect((await change({ grams_per_kwh: 120.5 })).status).toBe(200);
  expect(await billingSettings(t.ctx)).toMatchObject({
    mode: "chargeback",
    grams_per_kwh: 120.5,
    late: { notice_days: 0, no_new_work_days: 3, suspend_days: 30, fee_usd: 12.5 },
  });
  const log = await t.json<{ data: { action: string; detail: unknown }[] }>(
    "GET",
    "/v1/admin/audit?action=billing_settings.change",
  );
  expect(log.data.map(({ detail }) => detail)).toMatchObject([
    { grams_per_kwh: 120.5 },
    { mode: "chargeback", late: { suspend_days: 30, fee_usd: 12.5 } },
  ]);
});

test.each([
  [{ mode: "free" }, "invalid_type", "mode"],
  [{ currency: "eur" }, "unknown_parameter", "currency"],
  [{ late: { days: 3 } }, "unknown_parameter", "late.days"],
  [{ late: { notice_days: 20 } }, "invalid_value", "late"],
  [{ late: { fee_usd: -1 } }, "invalid_value", "late.fee_usd"],
  [{ sign_up_credit_usd: 0.0000001 }, "invalid_value", "sign_up_credit_usd"],
  [{ grace_hours: 1.5 }, "invalid_value", "grace_hours"],
])("refuses %j", async (body, code, param) => {
  expect(await problem(await change(body))).toEqual([400, code, param]);
});

test("the mode stripe is refused without the secret key, in the API and on the page", async () => {
  const answer = await change({ mode: "stripe" });
  const { error } = (await answer.json()) as { error: { code: string; param: string; message: string } };
  const said = "The mode stripe needs the secret key of Stripe. Enter it under Administration, Payments first.";
  expect([answer.status, error.code, error.param, error.message]).toEqual([409, "stripe_not_set", "mode", said]);
  const browser = browserOf(t);
  await browser.signIn("admin");
  const page = await (await browser.send("GET", "/admin/billing")).text();
  const form = Object.fromEntries(
    [...page.matchAll(/<input[^>]* name="([a-z_]+)"[^>]* value="([^"]*)"/g)].map(([, name, value]) => [name, value]),
  );
  const late = {
    notice_days: "1",
    no_new_work_days: "4",
    suspend_days: "20",
    fee_usd: "5",
    monthly_interest_percent: "1",
  };
  const send = (more: Record<string, string>) =>
    browser.send("POST", "/admin/billing", {
      form: { ...form, ...late, collection: "charge", legal_text: "x", ...more },
    });
  const refused = await send({ mode: "stripe" });
  expect(refused.status).toBe(409);
  expect(await refused.text()).toContain(said);
  const tooMuch = await send({ monthly_interest_percent: "11" });
  expect([tooMuch.status, await tooMuch.text()]).toEqual([
    422,
    expect.stringContaining("The monthly interest percent must be at most 10."),
  ]);
  expect((await send({ mode: "chargeback", own_hosts_exempt: "" })).status).toBe(303);
  expect(await billingSettings(t.ctx)).toMatchObject({
    mode: "chargeback",
    own_hosts_exempt: false,
    late: {
      notice_days: 1,
      no_new_work_days: 4,
      suspend_days: 20,
      fee_usd: 5,
      monthly_interest_percent: 1,
      legal_text: "x",
    },
  });
});

test("only administrators of the installation see and change them", async () => {
  expect((await t.request("GET", "/v1/billing/settings", { as: "member" })).status).toBe(403);
  expect((await change({ mode: "off" }, "member")).status).toBe(403);
});
