/** Sensitive actions ask a browser for a new proof after 15 minutes; teams can require two-factor authentication. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";
import { browserOf, type CookieBrowser } from "../support/cookies.ts";
import { totp } from "../support/totp.ts";

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const HTML = { accept: "text/html" };
const clock = fakeClock(Date.now());
let t: TestApp;
beforeAll(async () => {
  t = await createTestApp({ config: { two_factor_grace_days: 2 }, ctx: { clock } });
});
afterAll(() => t?.close());

const codeOf = async (answer: Response) => ((await answer.json()) as { error: { code: string } }).error.code;
const page = (browser: CookieBrowser, path: string) => browser.send("GET", path, { headers: HTML });
const post = (browser: CookieBrowser, path: string, form: Record<string, string>) =>
  browser.send("POST", path, { form, headers: HTML });
/** The fields of the only form of a page, and where it goes. */
async function formOf(answer: Response) {
  const text = await answer.text();
  const fields = [...text.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)].map((found) => [
    found[1],
    found[2],
  ]);
  return { action: /action="([^"]+)"/.exec(text)?.[1] ?? "", fields: Object.fromEntries(fields) };
}

test("after 15 minutes a form is asked for the password and keeps its fields", async () => {
  const browser = browserOf(t);
  await browser.signIn("member");
  const key = { name: "CI of the team", days: "7", scope_train: "yes", scope_infer: "yes" };
  expect((await post(browser, "/settings/keys", key)).status).toBe(200);
  clock.advance(16 * MINUTE);
  const asked = await post(browser, "/settings/keys", key);
  expect(asked.status).toBe(403);
  const { action, fields } = await formOf(asked);
  expect({ action, fields }).toEqual({ action: "/settings/keys", fields: key });

  const wrong = await post(browser, action, { ...fields, reauthentication: "not it" });
  expect(wrong.status).toBe(403);
  expect((await formOf(wrong)).fields).toEqual(key);
  const names = async () =>
    (await browser.json<{ data: { name: string }[] }>("GET", "/v1/keys")).data.map((each) => each.name);
  expect((await names()).filter((name) => name === key.name)).toHaveLength(1);
  expect((await post(browser, action, { ...fields, reauthentication: PASSWORD })).status).toBe(200);
  expect((await names()).filter((name) => name === key.name)).toHaveLength(2);
  // The proof counts for the next 15 minutes, in this browser.
  clock.advance(14 * MINUTE);
  expect((await post(browser, "/settings/keys", key)).status).toBe(200);
  // Everything else is not asked.
  clock.advance(60 * MINUTE);
  expect((await page(browser, "/settings")).status).toBe(200);
});

test("pages of the administration come back after the password; the API answers 403 until it is proved", async () => {
  const browser = browserOf(t);
  await browser.signIn("admin");
  expect((await page(browser, "/admin/users?q=a")).status).toBe(200);
  clock.advance(16 * MINUTE);
  const asked = await page(browser, "/admin/users?q=a");
  expect(asked.status).toBe(403);
  const { action, fields } = await formOf(asked);
  expect({ action, fields }).toEqual({ action: "/confirm", fields: { next: "/admin/users?q=a" } });
  expect((await post(browser, action, { ...fields, reauthentication: "not it" })).status).toBe(403);
  const proved = await post(browser, action, { ...fields, reauthentication: PASSWORD });
  expect([proved.status, proved.headers.get("location")]).toEqual([303, "/admin/users?q=a"]);
  expect((await page(browser, "/admin/users?q=a")).status).toBe(200);

  clock.advance(16 * MINUTE);
  for (const [method, path, body] of [
    ["GET", "/v1/admin/users", undefined],
    ["POST", "/v1/keys", { name: "x" }],
    ["DELETE", "/v1/models/ft:none", undefined],
    ["POST", "/v1/billing/portal", {}],
    ["POST", "/v1/billing/checkout", {}],
    ["PATCH", "/v1/billing/settings", { grace_hours: 1 }],
    ["POST", `/v1/admin/users/${t.users.member}`, { role: "member" }],
  ] as const)
    expect(await codeOf(await browser.send(method, path, { body }))).toBe("reauthentication_required");
  const prove = (body: unknown) => browser.send("POST", "/v1/reauthenticate", { body });
  expect(await codeOf(await prove({ password: "not it" }))).toBe("wrong_password");
  expect(await (await prove({ password: PASSWORD })).json()).toEqual({
    object: "reauthentication",
    expires_at: Math.floor((clock.now() + 15 * MINUTE) / 1000),
  });
  expect((await browser.send("GET", "/v1/admin/users")).status).toBe(200);
  // Keys are not asked.
  expect((await t.request("GET", "/v1/admin/users")).status).toBe(200);
  const actions = await t.json<{ data: object[] }>("GET", "/v1/admin/audit?action=session.prove");
  expect(actions.data).toHaveLength(3);
});

test("a team that requires two-factor authentication gives days of grace; then only the set-up is open", async () => {
  const browser = browserOf(t);
  await browser.signIn("other");
  const path = `/v1/admin/orgs/${t.orgs.b}`;
  expect(await t.json("POST", path, { body: { require_two_factor: true } })).toMatchObject({
    name: "Beta",
    require_two_factor: true,
  });
  const day = new Date(clock.now() + 2 * DAY).toISOString().slice(0, 10);
  const home = await page(browser, "/");
  expect(home.status).toBe(200);
  expect(await home.text()).toContain(`Two-factor authentication is required from ${day}`);

  clock.advance(2 * DAY + 1);
  const closed = await page(browser, "/jobs");
  expect([closed.status, closed.headers.get("location")]).toEqual([303, "/settings/two-factor"]);
  expect(await codeOf(await browser.send("GET", "/v1/files"))).toBe("two_factor_required");
  expect((await t.request("GET", "/v1/files", { as: "other" })).status).toBe(200);
  expect((await page(browser, "/settings/two-factor")).status).toBe(200);

  const { secret } = await browser.json<{ secret: string }>("POST", "/v1/two_factor", { password: PASSWORD });
  await browser.json("POST", "/v1/two_factor/confirm", { code: totp(secret) });
  expect((await page(browser, "/jobs")).status).toBe(200);
  const off = await browser.send("POST", "/v1/two_factor/disable", { body: { password: PASSWORD } });
  expect(await codeOf(off)).toBe("two_factor_required");
  // A code proves as well as the password, once.
  clock.advance(16 * MINUTE);
  const code = totp(secret, 1);
  expect((await post(browser, "/confirm", { next: "/", reauthentication: code })).status).toBe(303);
  expect((await post(browser, "/confirm", { next: "/", reauthentication: code })).status).toBe(403);
  expect((await post(browser, "/settings/keys", { name: "after the code", days: "1", scope_read: "yes" })).status).toBe(
    200,
  );

  const free = browserOf(t);
  await free.signIn("member");
  expect((await page(free, "/jobs")).status).toBe(200);
  await t.json("POST", path, { body: { require_two_factor: false } });
  expect((await browser.send("POST", "/v1/two_factor/disable", { body: { password: PASSWORD } })).status).toBe(200);
}, 30_000);

test("the installation requires it of everybody, from when the setting was first seen", async () => {
  const own = await createTestApp({ config: { require_two_factor: true, two_factor_grace_days: 1 }, ctx: { clock } });
  const browser = browserOf(own);
  await browser.signIn("member");
  expect((await page(browser, "/jobs")).status).toBe(200);
  clock.advance(DAY + 1);
  expect((await page(browser, "/jobs")).headers.get("location")).toBe("/settings/two-factor");
  expect((await own.request("GET", "/v1/files", { as: "member" })).status).toBe(200);
  await own.close();
});
