/** Passkeys over HTTP with an authenticator in software: add, sign in, second factor, proof, and what is refused. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { and, desc, eq } from "drizzle-orm";
import { passkeySite } from "../../src/accounts/factors/passkey-site.ts";
import { liftUser, suspendUser } from "../../src/accounts/suspension/service.ts";
import { auditLog } from "../../src/db/schema/audit.ts";
import { account, session } from "../../src/db/schema/auth.ts";
import { noticeEvent } from "../../src/db/schema/notices.ts";
import { ssoDomain, ssoProvider } from "../../src/db/schema/sso.ts";
import type { BusEvents } from "../../src/lib/bus.ts";
import { alertToken } from "../../src/notices/events/alert.ts";
import { startSecurityNotices } from "../../src/notices/security/listen.ts";
import { secureAccount } from "../../src/notices/security/not-me.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";
import { browserOf, type CookieBrowser } from "../support/cookies.ts";
import { addPasskey, askForSignature, SoftPasskey, sendPasskey, type Wrong } from "../support/passkey.ts";
import { totp } from "../support/totp.ts";

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const HTML = { accept: "text/html" };
const ORIGIN = "http://localhost";
const clock = fakeClock(Date.now());
const events: BusEvents["security.event"][] = [];
let t: TestApp;
beforeAll(async () => {
  t = await createTestApp({ ctx: { clock } });
  t.ctx.bus.on("security.event", (event) => events.push(event));
});
afterAll(() => t?.close());

type As = "admin" | "member" | "other";
interface View {
  id: string;
  name: string;
  last_used_at: number | null;
  transports: string[];
}
const codeOf = async (answer: Response) => ((await answer.json()) as { error: { code: string } }).error.code;
const kinds = () => events.map((event) => event.kind);
const recoveryCodes = (page: string): string[] => page.match(/(?<=[>\n])[a-z0-9]{6}-[a-z0-9]{6}(?=[\n<])/g) ?? [];
/** The newest entry of the audit log with this action. */
const lastAudit = async (action: string) =>
  (
    await t.ctx.db
      .select({ target: auditLog.target, detail: auditLog.detail })
      .from(auditLog)
      .where(eq(auditLog.action, action))
      .orderBy(desc(auditLog.seq))
      .limit(1)
  )[0];

/** Adds a passkey in a browser that is signed in. */
async function add(browser: CookieBrowser, name: string, key = new SoftPasskey(ORIGIN)) {
  const answer = await addPasskey(browser, name, key);
  return { key, answer, codes: recoveryCodes(await answer.clone().text()) };
}

/** A browser of somebody who was just signed in with the password, and a passkey of theirs. */
async function enrolled(as: As) {
  const browser = browserOf(t);
  await browser.signIn(as);
  const { key, codes } = await add(browser, "Laptop");
  return { browser, key, codes };
}

const signInWith = (browser: CookieBrowser, key: SoftPasskey, wrong?: Wrong) =>
  sendPasskey(browser, "/login/passkey", "sign_in", key, wrong);
/** Removes the factors of an account, so that the next test starts without. */
const reset = (as: As) => t.request("DELETE", `/v1/admin/users/${t.users[as]}/two_factor`, { as: "otherAdmin" });

test("a passkey is added with a name, listed, renamed and removed; the first brings recovery codes", async () => {
  const [browser, other] = [browserOf(t), browserOf(t)];
  await browser.signIn("member");
  await other.signIn("member");
  events.length = 0;
  const first = await add(browser, "Laptop");
  expect([first.answer.status, new Set(first.codes).size]).toEqual([200, 10]);
  expect([await browser.isSignedIn(), await other.isSignedIn()]).toEqual([true, false]);
  expect(events.at(-1)).toMatchObject({ kind: "passkey.added", detail: "Laptop", userId: t.users.member });
  clock.advance(1000);
  const second = await add(browser, "Security key");
  expect([second.answer.status, second.codes]).toEqual([303, []]);
  const list = async () => (await browser.json<{ data: View[] }>("GET", "/v1/passkeys")).data;
  const [laptop, stick] = await list();
  expect([laptop, stick]).toMatchObject([
    { object: "passkey", name: "Laptop", transports: ["internal", "hybrid"], last_used_at: null },
    { name: "Security key" },
  ]);
  expect(await browser.json<object>("GET", "/v1/two_factor")).toEqual({
    object: "two_factor",
    enabled: true,
    authenticator_app: false,
    passkeys: 2,
    recovery_codes_left: 10,
  });
  for (const wrong of [
    { origin: "https://evil.example" },
    { rpId: "evil.example" },
    { verified: false },
    { challenge: "b" },
  ])
    expect((await addPasskey(browser, "Wrong", new SoftPasskey(ORIGIN), wrong)).status).toBe(400);
  // The same authenticator again.
  expect((await add(browser, "Again", first.key)).answer.status).toBe(409);

  const path = `/v1/passkeys/${stick?.id}`;
  expect(await browser.json<object>("POST", path, { name: "YubiKey" })).toMatchObject({ name: "YubiKey" });
  // Not with a key, and nobody else's.
  expect(await codeOf(await t.request("DELETE", path, { as: "member" }))).toBe("session_required");
  expect((await t.json<{ data: View[] }>("GET", "/v1/passkeys", { as: "admin" })).data).toEqual([]);
  const stranger = browserOf(t);
  await stranger.signIn("other");
  expect((await stranger.send("DELETE", path)).status).toBe(404);
  // Adding and removing ask for a recent proof.
  clock.advance(16 * MINUTE);
  expect(await codeOf(await browser.send("DELETE", path))).toBe("reauthentication_required");
  expect((await browser.send("GET", "/settings/two-factor/passkeys/add", { headers: HTML })).status).toBe(403);
  expect(await codeOf(await browser.send("POST", "/settings/two-factor/passkeys/options"))).toBe(
    "reauthentication_required",
  );
  await browser.json("POST", "/v1/reauthenticate", { password: PASSWORD });
  expect(await browser.json<object>("DELETE", path)).toMatchObject({ object: "passkey", deleted: true });
  expect((await list()).map((each) => each.name)).toEqual(["Laptop"]);
  expect(kinds()).toContain("passkey.removed");
  expect(await lastAudit("passkey.remove")).toMatchObject({ target: t.users.member, detail: { name: "YubiKey" } });
  // The last one takes two-factor authentication along.
  await browser.json("DELETE", `/v1/passkeys/${laptop?.id}`);
  expect(await browser.json<object>("GET", "/v1/two_factor")).toMatchObject({ enabled: false, recovery_codes_left: 0 });
  expect((await browserOf(t).signIn("member")).headers.get("location")).toBe("/jobs");
}, 30_000);

describe("signing in with a passkey alone", () => {
  let key: SoftPasskey;
  beforeAll(async () => {
    ({ key } = await enrolled("member"));
  });
  afterAll(() => reset("member"));

  test("opens a session that has both factors, and records when and how", async () => {
    const browser = browserOf(t);
    const { answer } = await signInWith(browser, key);
    expect([answer.status, answer.headers.get("location")]).toEqual([303, "/jobs"]);
    expect(await browser.json<object>("GET", "/v1/me")).toMatchObject({ id: t.users.member });
    expect(await lastAudit("session.create")).toMatchObject({ target: t.users.member, detail: { method: "passkey" } });
    const [view] = (await browser.json<{ data: View[] }>("GET", "/v1/passkeys")).data;
    expect(view?.last_used_at).toBe(Math.floor(clock.now() / 1000));
    const rows = await t.ctx.db.select().from(session).where(eq(session.method, "passkey"));
    expect(rows).toMatchObject([{ userId: t.users.member, twoFactors: true }]);
  });

  test.each<[string, Wrong, string, RegExp]>([
    ["a wrong origin", { origin: "https://evil.example" }, "passkey", /origin "https:\/\/evil.example"/],
    ["a wrong RP ID", { rpId: "evil.example" }, "passkey", /RP ID/],
    ["no user verification", { verified: false }, "passkey", /User verification/],
    ["another challenge", { challenge: "bm90IHRoaXMgb25l" }, "passkey", /challenge/],
    ["the user handle of another account", { userHandle: "dXNlci1ub2JvZHk" }, "passkey_unknown", /no such/],
    ["a counter that goes back", { counter: 0 }, "passkey_counter", /counter 0 after \d/],
    ["a counter that stays", { counter: 1 }, "passkey_counter", /counter 1 after \d/],
  ])("refuses %s, and says why in the audit log", async (_name, wrong, reason, problem) => {
    const before = key.counter;
    const browser = browserOf(t);
    const { answer } = await signInWith(browser, key, wrong);
    expect([answer.status, await browser.isSignedIn()]).toEqual([403, false]);
    const entry = await lastAudit("session.fail");
    expect(entry).toMatchObject({ target: t.users.member, detail: { reason } });
    expect(entry?.detail.problem).toMatch(problem);
    key.counter = Math.max(before, key.counter);
    // The next correct answer is accepted, and ends the count of failures.
    expect((await signInWith(browserOf(t), key)).answer.status).toBe(303);
    clock.advance(2 * MINUTE);
  });

  test("takes a challenge once, in the browser that asked, within five minutes", async () => {
    const browser = browserOf(t);
    const { form, answer } = await signInWith(browser, key);
    expect(answer.status).toBe(303);
    const refusedIn = async (which: CookieBrowser, fields: Record<string, string>) => {
      const refusal = await which.send("POST", "/login/passkey", { form: fields });
      const shown = /older than 5 minutes|not valid for this site/.exec(await refusal.text())?.[0];
      return [refusal.status, shown];
    };
    const expired = [409, "older than 5 minutes"];
    expect(await refusedIn(browser, form)).toEqual(expired);

    const asked = browserOf(t);
    const { publicKey, state } = await askForSignature(asked, "sign_in");
    const stolen = { state, credential: key.sign(publicKey), next: "/" };
    const thief = browserOf(t);
    await askForSignature(thief, "sign_in");
    expect(await refusedIn(thief, stolen)).toEqual(expired);

    const late = await askForSignature(asked, "sign_in");
    const lateForm = { state: late.state, credential: key.sign(late.publicKey), next: "/" };
    // A challenge for one purpose does not serve another one.
    expect((await asked.send("POST", "/login/code", { form: lateForm })).status).toBe(401);
    clock.advance(5 * MINUTE + 1);
    expect(await refusedIn(asked, lateForm)).toEqual(expired);
    expect(await refusedIn(asked, { state: "x", credential: "{", next: "/" })).toEqual([
      400,
      "not valid for this site",
    ]);
  });

  test("refuses unknown passkeys, suspended accounts, and accounts of single sign-on", async () => {
    const stray = new SoftPasskey(ORIGIN);
    stray.create({ challenge: "", rp: { id: "localhost" }, user: { id: "" } });
    expect((await signInWith(browserOf(t), stray)).answer.status).toBe(403);
    expect(await lastAudit("session.fail")).toMatchObject({ target: "none", detail: { reason: "passkey_unknown" } });

    const refusedAs = async () => {
      const browser = browserOf(t);
      const { answer } = await signInWith(browser, key);
      clock.advance(MINUTE);
      return [answer.status, await browser.isSignedIn(), (await lastAudit("session.fail"))?.detail.reason];
    };
    await suspendUser(t.ctx, t.actor("admin"), t.users.member, { reason: "unpaid" });
    expect(await refusedAs()).toEqual([403, false, "suspended"]);
    await liftUser(t.ctx, t.actor("admin"), t.users.member);

    // An account that only a provider signs in: its passkey is a second factor, no way around the provider.
    const credential = and(eq(account.userId, t.users.member), eq(account.providerId, "credential"));
    const [{ password } = { password: null }] = await t.ctx.db.select().from(account).where(credential);
    await t.ctx.write((tx) => tx.update(account).set({ password: null }).where(credential));
    expect(await refusedAs()).toEqual([403, false, "sso_required"]);
    await t.ctx.write((tx) => tx.update(account).set({ password }).where(credential));

    const at = clock.now();
    const provider = { id: "sso_test", type: "oidc", name: "Acme", enforced: true, settings: "{}" } as const;
    const domain = t.emails.member.split("@")[1] ?? "";
    await t.ctx.write(async (tx) => {
      await tx.insert(ssoProvider).values({ ...provider, createdAt: at, updatedAt: at });
      await tx.insert(ssoDomain).values({ domain, provider: provider.id });
    });
    expect(await refusedAs()).toEqual([403, false, "sso_required"]);
    await t.ctx.write((tx) => tx.delete(ssoProvider));
    expect((await signInWith(browserOf(t), key)).answer.status).toBe(303);
  });

  test("is limited like a password: after eight failures the right answer is refused too", async () => {
    clock.advance(16 * MINUTE);
    const statuses: number[] = [];
    for (let n = 0; n < 8; n++) statuses.push((await signInWith(browserOf(t), key, { verified: false })).answer.status);
    expect(statuses).toEqual(Array(8).fill(403));
    expect(kinds()).toContain("account.locked");
    const { answer } = await signInWith(browserOf(t), key);
    expect([answer.status, answer.headers.has("retry-after")]).toEqual([429, true]);
    expect(await lastAudit("session.lock")).toMatchObject({ target: t.users.member });
    clock.advance(16 * MINUTE);
    expect((await signInWith(browserOf(t), key)).answer.status).toBe(303);
  });
});

test("after the password a passkey is the second factor, or a recovery code; nobody else's passkey is", async () => {
  const { key, codes } = await enrolled("member");
  const foreign = await enrolled("other");
  const browser = browserOf(t);
  expect((await browser.signIn("member")).headers.get("location")).toBe("/login/code?next=%2Fjobs");
  const page = await (await browser.send("GET", "/login/code?next=%2Fjobs")).text();
  expect([page.includes('data-passkey="second_step"'), page.includes("authenticator app")]).toEqual([true, false]);
  const step = (which: SoftPasskey) => sendPasskey(browser, "/login/code", "second_step", which);
  expect((await step(foreign.key)).answer.status).toBe(403);
  const { form, answer } = await step(key);
  expect([answer.status, answer.headers.get("location")]).toEqual([303, "/jobs"]);
  expect(await browser.isSignedIn()).toBe(true);
  expect((await browser.send("POST", "/login/code", { form })).status).toBe(401);

  const lost = browserOf(t);
  await lost.signIn("member");
  expect((await lost.enterCode("123456")).status).toBe(403);
  expect((await lost.enterCode(codes[0] ?? "")).status).toBe(303);
  expect(await lost.json<object>("GET", "/v1/two_factor")).toMatchObject({ recovery_codes_left: 9 });
  // Without a step that is under way there is nothing to ask for.
  expect((await browserOf(t).send("POST", "/passkey/options", { form: { purpose: "second_step" } })).status).toBe(401);
  await reset("member");
  await reset("other");
}, 30_000);

test("a passkey proves that it is still the same person, and the form that was asked for it keeps its fields", async () => {
  const { browser, key } = await enrolled("member");
  clock.advance(16 * MINUTE);
  const wanted = { name: "CI", days: "7", scope_read: "yes" };
  const asked = await browser.send("POST", "/settings/keys", { form: wanted, headers: HTML });
  const page = await asked.text();
  expect([asked.status, page.includes('data-passkey="prove"')]).toEqual([403, true]);
  const proof = async (wrong?: Wrong) => {
    const { publicKey, state } = await askForSignature(browser, "prove");
    return { reauthentication_state: state, reauthentication_passkey: key.sign(publicKey, wrong) };
  };
  const post = async (wrong?: Wrong) =>
    browser.send("POST", "/settings/keys", { form: { ...wanted, ...(await proof(wrong)) }, headers: HTML });
  expect((await post({ verified: false })).status).toBe(403);
  expect((await post()).status).toBe(200);
  expect(await lastAudit("session.prove")).toMatchObject({ target: t.users.member, detail: { by: "passkey" } });
  clock.advance(16 * MINUTE);
  const form = { next: "/settings", ...(await proof()) };
  const confirmed = await browser.send("POST", "/confirm", { form, headers: HTML });
  expect([confirmed.status, confirmed.headers.get("location")]).toEqual([303, "/settings"]);
  expect((await browser.send("POST", "/confirm", { form, headers: HTML })).status).toBe(409);
  await reset("member");
});

test("an app beside a passkey keeps the recovery codes while it is set up, and either may go first", async () => {
  const { browser, key, codes } = await enrolled("member");
  const state = () => browser.json<object>("GET", "/v1/two_factor");
  const { secret } = await browser.json<{ secret: string }>("POST", "/v1/two_factor", { password: PASSWORD });
  expect(await state()).toMatchObject({ authenticator_app: false, recovery_codes_left: 10 });
  // An app that is not confirmed proves nothing.
  const early = await browser.send("POST", "/v1/reauthenticate", { body: { code: totp(secret) } });
  expect(await codeOf(early)).toBe("wrong_code");
  const confirmed = await browser.json<{ codes: string[] }>("POST", "/v1/two_factor/confirm", { code: totp(secret) });
  expect(await state()).toMatchObject({ authenticator_app: true, passkeys: 1, recovery_codes_left: 10 });
  expect(confirmed.codes.filter((each) => codes.includes(each))).toEqual([]);
  expect(await browser.isSignedIn()).toBe(true);
  const next = browserOf(t);
  await next.signIn("member");
  expect((await sendPasskey(next, "/login/code", "second_step", key)).answer.status).toBe(303);
  expect(await next.json<object>("POST", "/v1/two_factor/disable", { password: PASSWORD })).toMatchObject({
    enabled: true,
    authenticator_app: false,
    passkeys: 1,
    recovery_codes_left: 10,
  });
  const last = browserOf(t);
  await last.signIn("member");
  expect((await last.enterCode(totp(secret, 1))).status).toBe(403);
  expect((await last.enterCode(confirmed.codes[0] ?? "")).status).toBe(303);
  await reset("member");
}, 30_000);

test("where two-factor authentication is required a passkey is enough, and the last one stays", async () => {
  await t.json("POST", `/v1/admin/orgs/${t.orgs.b}`, { body: { require_two_factor: true } });
  clock.advance(30 * DAY);
  const browser = browserOf(t);
  await browser.signIn("other");
  const open = async () => (await browser.send("GET", "/jobs", { headers: HTML })).status;
  expect(await open()).toBe(303);
  clock.advance(16 * MINUTE);
  // The proof that adding one needs is open too.
  const form = { next: "/settings/two-factor/passkeys/add", reauthentication: PASSWORD };
  expect((await browser.send("POST", "/confirm", { form, headers: HTML })).headers.get("location")).toBe(form.next);
  await add(browser, "Laptop");
  expect(await open()).toBe(200);
  const [only] = (await browser.json<{ data: View[] }>("GET", "/v1/passkeys")).data;
  expect(await codeOf(await browser.send("DELETE", `/v1/passkeys/${only?.id}`))).toBe("two_factor_required");
  await add(browser, "Phone");
  expect((await browser.send("DELETE", `/v1/passkeys/${only?.id}`)).status).toBe(200);
  await t.json("POST", `/v1/admin/orgs/${t.orgs.b}`, { body: { require_two_factor: false } });

  events.length = 0;
  expect((await reset("other")).status).toBe(200);
  expect(await browser.isSignedIn()).toBe(false);
  expect(kinds()).toEqual(["two_factor.reset"]);
  expect((await t.json<{ data: View[] }>("GET", "/v1/passkeys", { as: "other" })).data).toEqual([]);
  expect((await browserOf(t).signIn("other")).headers.get("location")).toBe("/jobs");
});

test("“this was not me” removes the passkeys added since, and keeps the earlier ones", async () => {
  const { key } = await enrolled("member");
  clock.advance(10 * MINUTE);
  const stop = startSecurityNotices(t.ctx);
  const thief = browserOf(t);
  await signInWith(thief, key);
  const foreign = await add(thief, "Of somebody else");
  expect(foreign.answer.status).toBe(303);
  stop();
  // Notices are written in turn.
  await t.ctx.write(async () => undefined);
  const [notice] = await t.ctx.db.select().from(noticeEvent).where(eq(noticeEvent.type, "security.passkey.added"));
  expect(notice).toMatchObject({ userId: t.users.member, title: "A passkey was added to your account" });
  await secureAccount(t.ctx, alertToken(t.ctx, notice?.id ?? "", clock.now()));
  expect(await lastAudit("user.not_me")).toMatchObject({ detail: { passkeys: 1, authenticator_app: false } });
  expect((await signInWith(browserOf(t), foreign.key)).answer.status).toBe(403);
  expect((await signInWith(browserOf(t), key)).answer.status).toBe(303);
});

test.each<[string | null, string, unknown]>([
  [null, "http://localhost:3000", { id: "localhost", origin: "http://localhost:3000" }],
  [null, "http://lab.localhost", { id: "lab.localhost", origin: "http://lab.localhost" }],
  [null, "http://lab.example", /need https.*public_url/],
  [null, "http://127.0.0.1:3000", /host name/],
  ["https://lab.example/", "http://127.0.0.1:3000", { id: "lab.example", origin: "https://lab.example" }],
  ["https://lab.example:8443", "http://lab.example", { id: "lab.example", origin: "https://lab.example:8443" }],
  ["http://lab.example", "http://localhost", /need https/],
  ["https://192.0.2.1", "http://localhost", /host name/],
])("with public_url %s and a request to %s, passkeys belong to the right site", (public_url, origin, expected) => {
  const site = passkeySite({ ...t.ctx, config: { ...t.ctx.config, public_url } }, origin);
  if (expected instanceof RegExp) expect("problem" in site && site.problem).toMatch(expected);
  else expect(site).toEqual(expected as typeof site);
});
