/** Single sign-on against a real OpenID provider: accounts, groups, enforcement, second factor, and forged answers. */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { desc, eq } from "drizzle-orm";
import { auditLog } from "../../src/db/schema/audit.ts";
import { user } from "../../src/db/schema/auth.ts";
import type { BusEvents } from "../../src/lib/bus.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";
import { browserOf, type CookieBrowser } from "../support/cookies.ts";
import {
  type IdentityProvider,
  type Person,
  signInThere,
  startIdentityProvider,
  type Tampering,
} from "../support/identity-provider.ts";
import { addPasskey, SoftPasskey, sendPasskey } from "../support/passkey.ts";
import { totp } from "../support/totp.ts";

const clock = fakeClock(Date.now());
let t: TestApp;
let idp: IdentityProvider;
let id = "";
const events: BusEvents["security.event"][] = [];

const settings = () => ({
  name: "Acme ID",
  issuer: idp.issuer,
  client_id: idp.clientId,
  client_secret: idp.clientSecret,
  domains: ["acme.test"],
  default_organization: t.orgs.b,
});

beforeAll(async () => {
  idp = await startIdentityProvider(() => `http://localhost/sso/${id}/callback`);
  // Nothing but this provider is reachable, and there is no mail server.
  t = await createTestApp({ config: { sso_hosts: [idp.host], offline: true, open_sign_up: true }, ctx: { clock } });
  t.ctx.bus.on("security.event", (event) => events.push(event));
  id = (await t.json<{ id: string }>("POST", "/v1/admin/sso", { body: settings() })).id;
});
afterAll(async () => {
  await t?.close();
  await idp?.close();
});
beforeEach(() => {
  idp.tampering = null;
});

const change = (body: object) => t.json("POST", `/v1/admin/sso/${id}`, { body });
const me = async (browser: CookieBrowser) => browser.json<Record<string, unknown>>("GET", "/v1/me");
const audit = async (action: string) =>
  (
    await t.json<{ data: { actor: string; target: string; detail: Record<string, unknown> }[] }>(
      "GET",
      `/v1/admin/audit?action=${action}`,
      { as: "otherAdmin" },
    )
  ).data;

/** Walks to the provider and back. @returns the answer to the callback */
async function walk(browser: CookieBrowser, person: string, next = "/jobs"): Promise<Response> {
  const begun = await browser.send("GET", `/sso/${id}/start?next=${encodeURIComponent(next)}`);
  expect(begun.status).toBe(303);
  return browser.send("GET", await signInThere(idp, begun.headers.get("location") ?? "", person));
}
const add = (name: string, person: Person = {}) =>
  idp.people.set(name, { email: `${name}@acme.test`, email_verified: true, name, groups: [], ...person });
const codeOf = async (answer: Response) => ((await answer.json()) as { error: { code: string } }).error.code;
const lastRefusal = async () =>
  (
    await t.ctx.db
      .select()
      .from(auditLog)
      .where(eq(auditLog.action, "session.fail"))
      .orderBy(desc(auditLog.seq))
      .limit(1)
  )[0]?.detail;

test("somebody signs in for the first time: an account in the default organization, with an audit trail", async () => {
  add("grace");
  const browser = browserOf(t);
  const answer = await walk(browser, "grace", "/datasets");
  expect([answer.status, answer.headers.get("location")]).toEqual([303, "/datasets"]);
  expect(await me(browser)).toMatchObject({ email: "grace@acme.test", role: "member", organization: t.orgs.b });
  const [created] = await audit("session.create");
  expect(created?.detail).toMatchObject({ method: "sso", provider: id, amr: [], second_factor: false });
  expect((await audit("user.create")).map((row) => row.detail.email)).toContain("grace@acme.test");
  // Again: the same account.
  const { id: first } = await me(browser);
  const other = browserOf(t);
  await walk(other, "grace");
  expect((await me(other)).id).toBe(first);
  // The secret is stored sealed and never shown.
  const view = await t.json("GET", `/v1/admin/sso/${id}`);
  expect(view).toMatchObject({ client_secret_set: true, callback_path: `/sso/${id}/callback` });
  expect(JSON.stringify(view)).not.toContain(idp.clientSecret);
});

/** Answers that must not sign anybody in: how the ID token is changed, and the code in the audit log. */
const FORGED: [string, Tampering, string][] = [
  ["a token without a signature", { key: "none" }, "OAUTH_INVALID_RESPONSE"],
  ["a token of another key", { key: "other" }, "OAUTH_INVALID_RESPONSE"],
  ["the nonce of another sign-in", { claims: { nonce: "of somebody else" } }, "OAUTH_JWT_CLAIM_COMPARISON_FAILED"],
  ["no nonce", { claims: { nonce: undefined } }, "OAUTH_INVALID_RESPONSE"],
  ["an expired token", { claims: { exp: 1_700_000_000 } }, "OAUTH_JWT_TIMESTAMP_CHECK_FAILED"],
  ["a token for another client", { claims: { aud: "another-client" } }, "OAUTH_JWT_CLAIM_COMPARISON_FAILED"],
  ["a token of another issuer", { claims: { iss: "https://evil.test" } }, "OAUTH_JWT_CLAIM_COMPARISON_FAILED"],
];

test("forged answers sign nobody in, and the audit log has the reason", async () => {
  add("mallory");
  for (const [what, tampering, problem] of FORGED) {
    idp.tampering = tampering;
    const browser = browserOf(t);
    const answer = await walk(browser, "mallory");
    expect([what, answer.status, await browser.isSignedIn()]).toEqual([what, 403, false]);
    expect(await answer.text()).toContain("The answer of Acme ID is not valid");
    expect(await lastRefusal()).toMatchObject({ reason: "sso_refused", problem });
    // Refusals of one minute share an entry.
    clock.advance(61_000);
  }
});

test("an answer counts only in the browser that asked, once, and only at its provider", async () => {
  add("heidi");
  const [browser, victim] = [browserOf(t), browserOf(t)];
  const begun = await browser.send("GET", `/sso/${id}/start`);
  const path = await signInThere(idp, begun.headers.get("location") ?? "", "heidi");
  // The answer of an attacker's own sign-in, opened by somebody else.
  const stolen = await victim.send("GET", path);
  expect([stolen.status, await victim.isSignedIn()]).toEqual([400, false]);
  expect(await stolen.text()).toContain("not started in this browser");
  const changed = path.replace(/state=[^&]+/, "state=of-another-sign-in");
  expect((await browser.send("GET", changed)).status).toBe(400);
  expect((await browser.send("GET", path.replace(id, "sso_none"))).status).toBe(404);
  expect((await browser.send("GET", path)).status).toBe(303);
  expect((await browser.send("GET", path)).status).toBe(400);
  const denied = await browserOf(t).send("GET", `/sso/${id}/callback?error=access_denied&state=x`);
  expect(denied.status).toBe(400);
});

test("addresses count only when they are verified and of the provider's domains", async () => {
  const refusals: [string, Person, string][] = [
    ["ivan", { email_verified: false }, "sso_email_unverified"],
    ["judy", { email: "judy@elsewhere.test" }, "sso_email_domain"],
    ["kim", { email: "not an address" }, "sso_email_missing"],
  ];
  for (const [name, person, reason] of refusals) {
    add(name, person);
    const browser = browserOf(t);
    expect((await walk(browser, name)).status).toBe(403);
    expect(await browser.isSignedIn()).toBe(false);
    expect(await lastRefusal()).toMatchObject({ reason, provider: id });
  }
  await change({ trust_email: true });
  expect((await walk(browserOf(t), "ivan")).status).toBe(303);
  await change({ trust_email: false });
});

test("an account that exists is linked, and its owner is notified; one that nobody verified loses its secrets", async () => {
  const form = { email: "leo@acme.test", password: PASSWORD, name: "Leo", token: "" };
  const thief = browserOf(t);
  await thief.send("POST", "/invite", { form });
  await thief.send("POST", "/login", { form: { ...form, next: "/jobs" } });
  expect(await thief.isSignedIn()).toBe(true);
  const { key } = await thief.json<{ key: string }>("POST", "/v1/keys", { name: "of the thief" });
  const passkey = new SoftPasskey("http://localhost");
  expect((await addPasskey(thief, "of the thief", passkey)).status).toBe(200);
  add("leo");
  const owner = browserOf(t);
  events.length = 0;
  await walk(owner, "leo");
  expect((await me(owner)).email).toBe("leo@acme.test");
  expect(events.map(({ kind, detail }) => [kind, detail])).toEqual([
    ["sso.linked", "Acme ID"],
    ["sign_in.new_device", undefined],
  ]);
  expect(await thief.isSignedIn()).toBe(false);
  const used = await t.request("GET", "/v1/me", { headers: { authorization: `Bearer ${key}` } });
  expect(used.status).toBe(401);
  expect((await thief.send("POST", "/login", { form: { ...form, next: "/" } })).status).toBe(401);
  expect((await sendPasskey(thief, "/login/passkey", "sign_in", passkey)).answer.status).toBe(403);
  expect(await owner.json<object>("GET", "/v1/two_factor")).toMatchObject({ enabled: false, passkeys: 0 });
  // The provider gives the address to somebody else.
  add("lena", { email: "leo@acme.test" });
  const other = browserOf(t);
  expect((await walk(other, "lena")).status).toBe(403);
  expect(await other.isSignedIn()).toBe(false);
  expect(await lastRefusal()).toMatchObject({ reason: "sso_address_taken", provider: id });
});

test("groups decide team and role at every sign-in; without one there is no access; a disabled user stays out", async () => {
  await change({
    default_organization: null,
    groups: [
      { group: "lab-admins", organization: t.orgs.a, role: "admin" },
      { group: "lab", organization: t.orgs.a },
      { group: "auditors", organization: t.orgs.b, organization_role: "viewer" },
    ],
  });
  add("mia", { groups: ["everybody"] });
  const browser = browserOf(t);
  expect((await walk(browser, "mia")).status).toBe(403);
  const seen = async () => {
    await walk(browser, "mia");
    const { organization, role, organization_role: inTeam } = await me(browser);
    return [organization, role, inTeam];
  };
  add("mia", { groups: ["everybody", "lab"] });
  expect(await seen()).toEqual([t.orgs.a, "member", "member"]);
  add("mia", { groups: ["lab", "lab-admins"] });
  expect(await seen()).toEqual([t.orgs.a, "admin", "owner"]);
  add("mia", { groups: ["auditors"] });
  expect(await seen()).toEqual([t.orgs.b, "member", "viewer"]);
  add("mia", { groups: [] });
  const late = browserOf(t);
  expect([(await walk(late, "mia")).status, await late.isSignedIn()]).toEqual([403, false]);

  add("mia", { groups: ["lab"] });
  await walk(browser, "mia");
  const user = String((await me(browser)).id);
  await t.json("POST", `/v1/admin/users/${user}`, { body: { disabled: true } });
  expect(await browser.isSignedIn()).toBe(false);
  expect((await walk(late, "mia")).status).toBe(403);
  expect(await lastRefusal()).toMatchObject({ reason: "account_suspended" });
  await change({ default_organization: t.orgs.b, groups: [] });
});

test("an account without a password gets its first one from an invitation, after it left its team", async () => {
  add("sam");
  await walk(browserOf(t), "sam");
  const [row] = await t.ctx.db.select({ id: user.id }).from(user).where(eq(user.email, "sam@acme.test"));
  await t.json("DELETE", `/v1/organization/members/${row?.id}`, { as: "otherAdmin" });
  // No group says where the account belongs.
  expect((await walk(browserOf(t), "sam")).status).toBe(403);
  const invited = await t.json<{ path: string }>("POST", "/v1/admin/users", { body: { email: "sam@acme.test" } });
  const token = invited.path.split("token=")[1] ?? "";
  const browser = browserOf(t);
  await browser.send("POST", "/invite", { form: { token, password: PASSWORD, name: "", email: "" } });
  expect(await me(browser)).toMatchObject({ email: "sam@acme.test", organization: t.orgs.a });
});

test("an enforced domain has no passwords, sign-ups or resets; the page leads to the provider by address", async () => {
  await change({ domains: ["acme.test", "example.test"], enforced: true });
  const login = (email: string, password: string) =>
    browserOf(t).send("POST", "/login", { form: { email, password, next: "/" } });
  const refused = await login(t.emails.member, PASSWORD);
  expect(refused.status).toBe(403);
  expect(await refused.text()).toContain("Addresses of example.test sign in with Acme ID");
  // Every administrator's domain is enforced: the first one keeps the password, and a wrong one does not show it.
  expect((await login(t.emails.otherAdmin, PASSWORD)).status).toBe(403);
  expect((await login(t.emails.admin, PASSWORD)).status).toBe(303);
  expect((await login(t.emails.admin, "a wrong password")).status).toBe(403);
  const signUp = await browserOf(t).send("POST", "/invite", {
    form: { email: "new@acme.test", password: PASSWORD, name: "", token: "" },
  });
  expect(signUp.status).toBe(403);
  const reset = await t.request("POST", `/v1/admin/users/${t.users.member}/password_reset`);
  expect(await codeOf(reset)).toBe("sso_required");
  const led = await browserOf(t).send("POST", "/login", {
    form: { email: "any@acme.test", password: "", next: "/jobs" },
  });
  expect([led.status, led.headers.get("refresh")]).toEqual([
    200,
    `0; url=/sso/${id}/start?next=%2Fjobs&email=any%40acme.test`,
  ]);
  const asked = await browserOf(t).send("POST", "/login", { form: { email: "a@b.test", password: "", next: "/" } });
  expect(await asked.text()).toContain('name="password"');
  await change({ domains: ["acme.test"], enforced: false });
  expect((await login(t.emails.member, PASSWORD)).status).toBe(303);
});

test("the second factor is asked for after the provider, unless its sign-in counts as one", async () => {
  add("nina");
  const browser = browserOf(t);
  await walk(browser, "nina");
  // An account without a password sets up an app after a recent sign-in.
  const { secret } = await browser.json<{ secret: string }>("POST", "/v1/two_factor", { password: "" });
  expect((await browser.send("POST", "/v1/two_factor/confirm", { body: { code: totp(secret) } })).status).toBe(200);
  const next = browserOf(t);
  const half = await walk(next, "nina");
  expect(half.headers.get("location")).toBe("/login/code?next=%2Fjobs");
  expect(await next.isSignedIn()).toBe(false);
  expect((await next.enterCode(totp(secret, 1))).headers.get("location")).toBe("/jobs");
  expect(await next.isSignedIn()).toBe(true);

  await change({ second_factor: true });
  await t.json("POST", `/v1/admin/orgs/${t.orgs.b}`, { body: { require_two_factor: true } });
  add("otto");
  idp.tampering = { claims: { amr: ["pwd", "mfa"], acr: "urn:two" } };
  const strong = browserOf(t);
  await walk(strong, "otto");
  expect(await (await strong.send("GET", "/")).text()).not.toContain("Two-factor authentication is required from");
  expect((await audit("session.create"))[0]?.detail).toMatchObject({
    amr: ["pwd", "mfa"],
    acr: "urn:two",
    second_factor: true,
  });
  await change({ second_factor: false });
  const weak = browserOf(t);
  await walk(weak, "otto");
  expect(await (await weak.send("GET", "/")).text()).toContain("Two-factor authentication is required from");
  await t.json("POST", `/v1/admin/orgs/${t.orgs.b}`, { body: { require_two_factor: false } });
});

test("providers are checked: addresses, domains, secrets; a test says whether one answers", async () => {
  const post = (body: object) =>
    t.request("POST", "/v1/admin/sso", { body: { ...settings(), domains: ["b.test"], ...body } });
  expect(await codeOf(await post({ issuer: "https://login.example.com" }))).toBe("offline");
  expect(await codeOf(await post({ issuer: "http://10.0.0.1/realm" }))).toBe("address_refused");
  expect(await codeOf(await post({ domains: ["acme.test"] }))).toBe("domain_taken");
  expect(await codeOf(await post({ domains: [] }))).toBe("invalid_value");
  expect(await codeOf(await post({ default_organization: "org-none" }))).toBe("organization_not_found");
  const moved = await t.request("POST", `/v1/admin/sso/${id}`, { body: { issuer: `${idp.issuer}/other` } });
  expect(await codeOf(moved)).toBe("secret_again");
  const { id: second } = await t.json<{ id: string }>("POST", "/v1/admin/sso", {
    body: { ...settings(), issuer: `${idp.issuer}/nothing`, domains: ["b.test"] },
  });
  expect(await t.json("POST", `/v1/admin/sso/${second}/test`)).toMatchObject({ reachable: false });
  expect(await t.json("POST", `/v1/admin/sso/${id}/test`)).toMatchObject({
    reachable: true,
    authorization_endpoint: `${idp.issuer}/auth`,
  });
  expect((await browserOf(t).send("GET", `/sso/${second}/start`)).status).toBe(503);
  await t.json("DELETE", `/v1/admin/sso/${second}`);
  const changes = await t.json<{ data: { detail: object }[] }>("GET", "/v1/admin/audit?action=sso.change");
  expect(changes.data.at(-1)?.detail).toMatchObject({ trust_email: true });
});

test("a sensitive action asks for a new sign-in at the provider, of the same person and not an old one", async () => {
  add("peggy");
  add("quinn");
  const browser = browserOf(t);
  await walk(browser, "peggy");
  clock.advance(16 * 60_000);
  const form = { name: "after", days: "1", scope_read: "yes" };
  const key = () => browser.send("POST", "/settings/keys", { form, headers: { accept: "text/html" } });
  const asked = await key();
  expect(asked.status).toBe(403);
  const link = /href="(\/sso\/[^"]+)"/.exec(await asked.text())?.[1]?.replaceAll("&amp;", "&") ?? "";
  expect(link).toBe(`/sso/${id}/start?prove=1&next=%2F`);
  const proves = async (person: string, authTime: number) => {
    idp.tampering = { claims: { auth_time: Math.floor(authTime / 1000) } };
    const begun = await browser.send("GET", link);
    const url = new URL(begun.headers.get("location") ?? "");
    expect([url.searchParams.get("prompt"), url.searchParams.get("max_age")]).toEqual(["login", "0"]);
    return (await browser.send("GET", await signInThere(idp, url.href, person))).status;
  };
  expect(await proves("quinn", clock.now())).toBe(403);
  expect(await proves("peggy", clock.now() - 11 * 60_000)).toBe(403);
  expect((await key()).status).toBe(403);
  expect(await proves("peggy", clock.now())).toBe(303);
  expect((await key()).status).toBe(200);
  // Signing out leads to the page that also signs out there.
  const out = await browser.send("POST", "/logout", { form: {} });
  expect(out.headers.get("location")).toBe(`/login?left=${id}`);
  expect(await (await browser.send("GET", `/login?left=${id}`)).text()).toContain(`href="/sso/${id}/logout"`);
  const there = await browser.send("GET", `/sso/${id}/logout`);
  expect(there.headers.get("location")).toStartWith(`${idp.issuer}/session/end?`);
});
