/** Two-factor authentication over HTTP: set up, signing in with codes that count once, recovery codes, and reset. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { runCommand } from "../../src/cli/admin-commands.ts";
import type { BusEvents } from "../../src/lib/bus.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";
import { browserOf } from "../support/cookies.ts";
import { fromBase32, totp } from "../support/totp.ts";

// The sign-in library reads codes with the time of the machine.
const clock = fakeClock(Date.now());
const events: BusEvents["security.event"][] = [];
let t: TestApp;
beforeAll(async () => {
  t = await createTestApp({ ctx: { clock } });
  t.ctx.bus.on("security.event", (event) => events.push(event));
});
afterAll(() => t?.close());

type As = "admin" | "member" | "other";
/** A browser in which somebody set up an authenticator, its secret, and the recovery codes. */
async function enrolled(as: As) {
  const browser = browserOf(t);
  await browser.signIn(as);
  const { secret } = await browser.json<{ secret: string }>("POST", "/v1/two_factor", { password: PASSWORD });
  const answer = await browser.json<{ codes: string[] }>("POST", "/v1/two_factor/confirm", {
    code: totp(secret),
  });
  return { browser, secret, codes: answer.codes };
}
const codeOf = async (answer: Response) => ((await answer.json()) as { error: { code: string } }).error.code;
const kinds = () => events.map((event) => event.kind);

test("an app is set up with the password and a first code; other sessions end, and an event reports it", async () => {
  const [browser, other] = [browserOf(t), browserOf(t)];
  await browser.signIn("member");
  await other.signIn("member");
  events.length = 0;
  const start = (password: string) => browser.send("POST", "/v1/two_factor", { body: { password } });
  expect(await codeOf(await start("wrong"))).toBe("wrong_password");
  const { uri, secret } = (await (await start(PASSWORD)).json()) as { uri: string; secret: string };
  expect(uri).toStartWith(`otpauth://totp/Fine-Tune%20Lab:${encodeURIComponent(t.emails.member)}?`);
  const confirm = (code: string) => browser.send("POST", "/v1/two_factor/confirm", { body: { code } });
  expect(await codeOf(await confirm("000000"))).toBe("wrong_code");
  // Not confirmed: the password alone still signs in.
  expect((await browserOf(t).signIn("member")).headers.get("location")).toBe("/jobs");
  const first = totp(secret);
  const { codes } = (await (await confirm(first)).json()) as { codes: string[] };
  expect(new Set(codes).size).toBe(10);
  expect(await browser.json<object>("GET", "/v1/two_factor")).toEqual({
    object: "two_factor",
    enabled: true,
    authenticator_app: true,
    passkeys: 0,
    recovery_codes_left: 10,
  });
  expect([await browser.isSignedIn(), await other.isSignedIn()]).toEqual([true, false]);
  expect(kinds()).toContain("two_factor.added");
  // Keys keep working, and cannot touch the second factor.
  expect((await t.request("GET", "/v1/me", { as: "member" })).status).toBe(200);
  const byKey = await t.request("POST", "/v1/two_factor/disable", { as: "member", body: { password: PASSWORD } });
  expect(await codeOf(byKey)).toBe("session_required");

  // The code that confirmed the app does not sign in, the next one does.
  const next = browserOf(t);
  const asked = await next.signIn("member");
  expect(asked.headers.get("location")).toBe("/login/code?next=%2Fjobs");
  expect(await next.isSignedIn()).toBe(false);
  expect((await next.send("GET", "/login/code?next=%2Fjobs")).status).toBe(200);
  expect((await next.enterCode(first)).status).toBe(403);
  const entered = await next.enterCode(totp(secret, 1));
  expect([entered.status, entered.headers.get("location")]).toEqual([303, "/jobs"]);
  expect(await next.isSignedIn()).toBe(true);

  const disable = (password: string) => next.send("POST", "/v1/two_factor/disable", { body: { password } });
  expect(await codeOf(await disable("wrong"))).toBe("wrong_password");
  expect(await (await disable(PASSWORD)).json()).toMatchObject({ enabled: false });
  expect([await next.isSignedIn(), await browser.isSignedIn()]).toEqual([true, false]);
  expect((await browserOf(t).signIn("member")).headers.get("location")).toBe("/jobs");
  expect(kinds()).toContain("two_factor.removed");
}, 30_000);

test("of parallel sign-ins with one code exactly one succeeds; a recovery code counts once", async () => {
  const { secret, codes } = await enrolled("other");
  const browsers = [browserOf(t), browserOf(t), browserOf(t), browserOf(t)];
  for (const browser of browsers) await browser.signIn("other");
  const code = totp(secret, 1);
  const statuses = await Promise.all(browsers.map(async (browser) => (await browser.enterCode(code)).status));
  expect(statuses.sort()).toEqual([303, 403, 403, 403]);

  events.length = 0;
  const first = browserOf(t);
  await first.signIn("other");
  expect((await first.enterCode(codes[3] ?? "")).status).toBe(303);
  expect(kinds()).toContain("two_factor.code_used");
  const second = browserOf(t);
  await second.signIn("other");
  expect((await second.enterCode(codes[3] ?? "")).status).toBe(403);
  expect(await first.json<object>("GET", "/v1/two_factor")).toMatchObject({ recovery_codes_left: 9 });

  const renewed = await first.json<{ codes: string[] }>("POST", "/v1/two_factor/recovery_codes", {
    password: PASSWORD,
  });
  expect(renewed.codes.filter((each) => codes.includes(each))).toEqual([]);
  expect((await second.enterCode(codes[4] ?? "")).status).toBe(403);
  expect((await second.enterCode(renewed.codes[0] ?? "")).status).toBe(303);

  // On the server itself, for an installation whose only administrator lost the app.
  await runCommand(t.ctx, "user.reset_two_factor", { email: t.emails.other });
  expect(await second.isSignedIn()).toBe(false);
  expect((await browserOf(t).signIn("other")).headers.get("location")).toBe("/jobs");
}, 30_000);

test("wrong codes are limited and recorded; without a password there is no second step; a reset helps", async () => {
  const { secret } = await enrolled("admin");
  const guess = browserOf(t);
  await guess.signIn("admin");
  const statuses: number[] = [];
  for (let n = 0; n < 6; n++) statuses.push((await guess.enterCode(`00000${n}`)).status);
  // Five codes for one password, then the sign-in starts again.
  expect(statuses).toEqual([403, 403, 403, 403, 403, 401]);
  expect((await browserOf(t).enterCode(totp(secret, 1))).status).toBe(401);
  const failed = await t.json<{ data: { detail: { reason: string } }[] }>("GET", "/v1/admin/audit?action=session.fail");
  expect(failed.data.map((row) => row.detail.reason)).toContain("second_factor");

  expect((await t.request("DELETE", `/v1/admin/users/${t.users.admin}/two_factor`, { as: "member" })).status).toBe(403);
  const path = `/v1/admin/users/${t.users.admin}/two_factor`;
  expect(await t.json("DELETE", path, { as: "otherAdmin" })).toMatchObject({ deleted: true });
  expect((await t.request("DELETE", path, { as: "otherAdmin" })).status).toBe(409);
  expect((await browserOf(t).signIn("admin")).headers.get("location")).toBe("/jobs");
  expect(events.at(-2)).toMatchObject({ kind: "two_factor.reset", userId: t.users.admin, org: t.orgs.a });
}, 30_000);

test("the pages set up an app with a QR code, show the recovery codes once, and store no secret in the clear", async () => {
  const browser = browserOf(t);
  await browser.signIn("member");
  const page = await (await browser.send("POST", "/settings/two-factor", { form: { password: PASSWORD } })).text();
  expect(page).toContain('<svg class="qr"');
  const uri = /name="uri" value="([^"]+)"/.exec(page)?.[1]?.replaceAll("&amp;", "&") ?? "";
  const secret = new URL(uri).searchParams.get("secret") ?? "";
  const wrong = await browser.send("POST", "/settings/two-factor/confirm", { form: { code: "12", uri } });
  expect([wrong.status, (await wrong.text()).includes('<svg class="qr"')]).toEqual([403, true]);
  const done = await browser.send("POST", "/settings/two-factor/confirm", { form: { code: totp(secret), uri } });
  const codes = (await done.text()).match(/(?<=[>\n])[a-z0-9]{6}-[a-z0-9]{6}(?=[\n<])/g) ?? [];
  expect(new Set(codes).size).toBe(10);
  const again = await (await browser.send("GET", "/settings/two-factor")).text();
  expect(again).toContain("10 recovery codes left");
  expect(codes.some((code) => again.includes(code))).toBe(false);

  const files = await Promise.all(["lab.db", "lab.db-wal"].map((name) => Bun.file(join(t.dir, name)).arrayBuffer()));
  const stored = files.map((file) => Buffer.from(file).toString("latin1")).join();
  for (const clear of [secret, fromBase32(secret).toString(), ...codes]) expect(stored).not.toContain(clear);

  const off = (password: string) => browser.send("POST", "/settings/two-factor/disable", { form: { password } });
  expect((await off("wrong")).status).toBe(403);
  expect((await off(PASSWORD)).headers.get("location")).toBe("/settings/two-factor");
  expect(await browser.isSignedIn()).toBe(true);
}, 30_000);
