/** SAML 2.0 against a real identity provider: accounts, groups, step-up, certificates, and forged answers. */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { desc, eq } from "drizzle-orm";
import { auditLog } from "../../src/db/schema/audit.ts";
import { account } from "../../src/db/schema/auth.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";
import { browserOf, type CookieBrowser } from "../support/cookies.ts";
import { FORGED } from "../support/saml-forged.ts";
import {
  type SamlIdentityProvider,
  type SamlPerson,
  type SamlPost,
  type SamlTampering,
  startSamlProvider,
} from "../support/saml-provider.ts";

const clock = fakeClock(Date.now());
const MINUTE = 60_000;
let t: TestApp;
let idp: SamlIdentityProvider;
let id = "";

beforeAll(async () => {
  idp = await startSamlProvider(clock.now);
  t = await createTestApp({ config: { sso_hosts: [idp.host], offline: true }, ctx: { clock } });
  const body = {
    type: "saml",
    name: "Acme SAML",
    metadata_url: idp.metadataUrl,
    domains: ["acme.test"],
    default_organization: t.orgs.b,
  };
  id = (await t.json<{ id: string }>("POST", "/v1/admin/sso", { body })).id;
  idp.trust(await (await t.request("GET", `/sso/${id}/metadata`, { as: "anonymous" })).text());
});
afterAll(async () => {
  await t?.close();
  await idp?.close();
});
beforeEach(() => {
  idp.tampering = {};
});

const change = (body: object) => t.json("POST", `/v1/admin/sso/${id}`, { body });
const me = (browser: CookieBrowser) => browser.json<Record<string, unknown>>("GET", "/v1/me");
const add = (name: string, person: SamlPerson = {}) =>
  idp.people.set(name, { ...person, attributes: { email: `${name}@acme.test`, ...person.attributes } });
const lastRefusal = async () =>
  (
    await t.ctx.db
      .select()
      .from(auditLog)
      .where(eq(auditLog.action, "session.fail"))
      .orderBy(desc(auditLog.seq))
      .limit(1)
  )[0]?.detail;

/** Posts an answer as a browser does from the page of the provider: without cookies. */
const post = ({ acs, form }: SamlPost) =>
  t.request("POST", new URL(acs).pathname, {
    as: "anonymous",
    form,
    headers: { origin: `http://${idp.host}`, "sec-fetch-site": "cross-site" },
  });

/** Goes to the provider. @returns what it lets the browser post */
async function ask(browser: CookieBrowser, person: string, next = "/jobs"): Promise<SamlPost> {
  const begun = await browser.send("GET", `/sso/${id}/start?next=${encodeURIComponent(next)}`);
  expect(begun.status).toBe(303);
  return idp.answer(begun.headers.get("location") ?? "", person);
}

/** Walks to the provider and back. @returns the last answer */
async function walk(browser: CookieBrowser, person: string, next?: string): Promise<Response> {
  const answer = await post(await ask(browser, person, next));
  return answer.status === 303 ? browser.send("GET", answer.headers.get("location") ?? "") : answer;
}

test("somebody signs in for the first time: the provider accepts our metadata and signed request", async () => {
  add("grace", { attributes: { displayName: "Grace" } });
  const browser = browserOf(t);
  const answer = await walk(browser, "grace", "/datasets");
  expect([answer.status, answer.headers.get("location")]).toEqual([303, "/datasets"]);
  expect(await me(browser)).toMatchObject({ email: "grace@acme.test", organization: t.orgs.b });
  const { data: users } = await t.json<{ data: { email: string; name: string }[] }>("GET", "/v1/admin/users");
  expect(users.find(({ email }) => email === "grace@acme.test")?.name).toBe("Grace");
  const [row] = await t.ctx.db
    .select()
    .from(account)
    .where(eq(account.providerId, `sso:${id}`));
  expect(row?.accountId).toBe(`${idp.entityId} id-of-grace`);
  const { data } = await t.json<{ data: { detail: object }[] }>("GET", "/v1/admin/audit?action=session.create", {
    as: "otherAdmin",
  });
  expect(data[0]?.detail).toMatchObject({
    method: "sso",
    provider: id,
    acr: "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport",
  });
  // The NameID stays when the address changes: the same account.
  const { id: first } = await me(browser);
  add("grace", { attributes: { email: "grace.hopper@acme.test" } });
  const other = browserOf(t);
  await walk(other, "grace");
  expect((await me(other)).id).toBe(first);
  expect(JSON.stringify(await t.json("GET", `/v1/admin/sso/${id}`))).not.toContain("PRIVATE KEY");
});

test("forged answers sign nobody in, and the audit log has the reason", async () => {
  add("mallory");
  for (const [what, tampering, problem] of FORGED) {
    idp.tampering = tampering;
    const browser = browserOf(t);
    const answer = await walk(browser, "mallory");
    expect([what, answer.status, await browser.isSignedIn()]).toEqual([
      what,
      problem === "sso_not_started" ? 400 : 403,
      false,
    ]);
    expect([what, await lastRefusal()]).toMatchObject([what, { problem, provider: id }]);
    // Refusals of one minute share an entry.
    clock.advance(61_000);
  }
  idp.tampering = {};
  expect((await walk(browserOf(t), "mallory")).status).toBe(303);
});

test("an answer counts once, within its minutes, and only in the browser that asked", async () => {
  add("heidi");
  const [browser, victim] = [browserOf(t), browserOf(t)];
  const answer = await ask(browser, "heidi");
  const held = await post(answer);
  const path = held.headers.get("location") ?? "";
  expect([held.status, held.headers.get("set-cookie")]).toEqual([303, null]);
  // The answer of an attacker's own sign-in, opened by somebody else; the token is spent.
  const stolen = await victim.send("GET", path);
  expect([stolen.status, await victim.isSignedIn()]).toEqual([400, false]);
  clock.advance(61_000);
  expect((await post(answer)).status).toBe(403);
  expect(await lastRefusal()).toMatchObject({ problem: "saml_replayed" });
  expect((await browser.send("GET", path)).status).toBe(400);
  // A second assertion for a request that was answered.
  const begun = await browser.send("GET", `/sso/${id}/start`);
  const [first, second] = [
    await idp.answer(begun.headers.get("location") ?? "", "heidi"),
    await idp.answer(begun.headers.get("location") ?? "", "heidi"),
  ];
  const [one, two] = [await post(first), await post(second)];
  expect((await browser.send("GET", one.headers.get("location") ?? "")).status).toBe(303);
  expect((await browser.send("GET", two.headers.get("location") ?? "")).status).toBe(400);
  // Skew of a minute is accepted, more is not.
  idp.tampering = { notBefore: 50_000 };
  expect((await walk(browserOf(t), "heidi")).status).toBe(303);
  // After ten minutes the request no longer counts, whatever the assertion says.
  idp.tampering = { notOnOrAfter: 30 * MINUTE };
  const late = browserOf(t);
  const waited = await ask(late, "heidi");
  clock.advance(10 * MINUTE);
  const arrived = await post(waited);
  expect((await late.send("GET", arrived.headers.get("location") ?? "")).status).toBe(400);
  expect(await late.isSignedIn()).toBe(false);
});

test("only the address for answers takes a post from another site", async () => {
  const headers = { origin: "https://evil.test", "sec-fetch-site": "cross-site" };
  const form = { SAMLResponse: "PHg+", RelayState: "" };
  const to = async (path: string) => (await t.request("POST", path, { as: "anonymous", form, headers })).status;
  expect(await to(`/sso/${id}/acs`)).toBe(403);
  expect(await lastRefusal()).toMatchObject({ problem: "saml_xml" });
  expect(await to("/login")).toBe(403);
  expect(await to(`/admin/sso/${id}`)).toBe(403);
  expect(await to("/sso/sso_none/acs")).toBe(404);
});

test("the provider may begin only where that is switched on, and leads only to a page of this site", async () => {
  add("olivia");
  const begin = async (relayState: string) => {
    const browser = browserOf(t);
    const answer = await post(await idp.unasked("olivia", relayState));
    if (answer.status !== 303) return [answer.status];
    const arrived = await browser.send("GET", answer.headers.get("location") ?? "");
    return [arrived.status, arrived.headers.get("location"), await browser.isSignedIn()];
  };
  expect(await begin("/jobs")).toEqual([403]);
  await change({ idp_initiated: true });
  expect(await begin("/datasets")).toEqual([303, "/datasets", true]);
  for (const elsewhere of ["https://evil.test/", "//evil.test", "/\\evil.test", "javascript:alert(1)"])
    expect(await begin(elsewhere)).toEqual([303, "/", true]);
  await change({ idp_initiated: false });
});

test("groups place people, another certificate of the metadata counts, and assertions may be encrypted", async () => {
  const claim = "http://schemas.xmlsoap.org/claims/Group";
  await change({
    groups_claim: claim,
    default_organization: null,
    groups: [
      { group: "lab-admins", organization: t.orgs.a, role: "admin" },
      { group: "auditors", organization: t.orgs.b, organization_role: "viewer" },
    ],
  });
  const browser = browserOf(t);
  const seen = async (groups: string[], tampering: SamlTampering = {}) => {
    add("mia", { attributes: { [claim]: groups } });
    idp.tampering = tampering;
    expect((await walk(browser, "mia")).status).toBe(303);
    const { organization, role, organization_role: inTeam } = await me(browser);
    return [organization, role, inTeam];
  };
  expect(await seen(["all", "auditors"])).toEqual([t.orgs.b, "member", "viewer"]);
  expect(await seen(["lab-admins"], { key: "next" })).toEqual([t.orgs.a, "admin", "owner"]);
  expect(await seen(["auditors"], { encrypted: true })).toEqual([t.orgs.b, "member", "viewer"]);
  add("mia", { attributes: { [claim]: [] } });
  idp.tampering = {};
  expect((await walk(browserOf(t), "mia")).status).toBe(403);
  // An encrypted assertion needs the signature as much.
  idp.tampering = { encrypted: true, key: "other" };
  clock.advance(61_000);
  expect((await walk(browserOf(t), "mia")).status).toBe(403);
  expect(await lastRefusal()).toMatchObject({ problem: "saml_signature" });
  await change({ groups_claim: "groups", default_organization: t.orgs.b, groups: [] });
});

test("addresses come from an attribute or the NameID, are of the provider's domains, and count as verified by choice", async () => {
  const attempts: [string, SamlPerson, number, string | null][] = [
    ["nora", { nameId: "nora@acme.test", format: "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress" }, 303, null],
    ["odo", { nameId: "odo@elsewhere.test" }, 403, "sso_email_domain"],
    ["pia", { nameId: "no address" }, 403, "sso_email_missing"],
  ];
  for (const [name, person, status, reason] of attempts) {
    idp.people.set(name, person);
    expect([name, (await walk(browserOf(t), name)).status]).toEqual([name, status]);
    if (reason) expect(await lastRefusal()).toMatchObject({ reason, provider: id });
  }
  clock.advance(61_000);
  add("rex", { format: "urn:oasis:names:tc:SAML:2.0:nameid-format:transient" });
  expect((await walk(browserOf(t), "rex")).status).toBe(403);
  expect(await lastRefusal()).toMatchObject({ problem: "saml_name_id" });
  await change({ trust_email: false, email_attribute: "workMail" });
  add("sue", { attributes: { workMail: "sue@acme.test" } });
  expect((await walk(browserOf(t), "sue")).status).toBe(403);
  expect(await lastRefusal()).toMatchObject({ reason: "sso_email_unverified" });
  await change({ trust_email: true });
  expect((await walk(browserOf(t), "sue")).status).toBe(303);
  await change({ email_attribute: null });
});

test("a sensitive action asks for a new sign-in (ForceAuthn), of the same person and not an old one", async () => {
  add("peggy");
  add("quinn");
  const browser = browserOf(t);
  await walk(browser, "peggy");
  expect(idp.lastRequest?.forceAuthn).toBe(false);
  clock.advance(16 * MINUTE);
  const form = { name: "after", days: "1", scope_read: "yes" };
  const key = () => browser.send("POST", "/settings/keys", { form, headers: { accept: "text/html" } });
  const link = /href="(\/sso\/[^"]+)"/.exec(await (await key()).text())?.[1]?.replaceAll("&amp;", "&") ?? "";
  const proves = async (person: string, authnInstant: number) => {
    idp.tampering = { authnInstant };
    const begun = await browser.send("GET", link);
    const held = await post(await idp.answer(begun.headers.get("location") ?? "", person));
    expect(idp.lastRequest?.forceAuthn).toBe(true);
    return (await browser.send("GET", held.headers.get("location") ?? "")).status;
  };
  expect(await proves("quinn", 0)).toBe(403);
  expect(await proves("peggy", -11 * MINUTE)).toBe(403);
  expect((await key()).status).toBe(403);
  expect(await proves("peggy", 0)).toBe(303);
  expect((await key()).status).toBe(200);
  // There is no page for signing out at a SAML provider.
  expect(await (await browser.send("GET", `/login?left=${id}`)).text()).not.toContain(`/sso/${id}/logout`);
});

test("metadata is read from an address or pasted, and refused when it cannot be used", async () => {
  const create = async (body: object) => {
    const answer = await t.request("POST", "/v1/admin/sso", {
      body: { type: "saml", name: "Other", domains: ["b.test"], ...body },
    });
    const { error, id: made } = (await answer.json()) as { id?: string; error?: { code: string; param: string } };
    return made ?? [error?.code, error?.param];
  };
  const xml = idp.metadata();
  const refusals: [object, string, string][] = [
    [{}, "invalid_value", "metadata_url"],
    [{ metadata_url: idp.metadataUrl, metadata_xml: xml }, "invalid_value", "metadata_xml"],
    [{ metadata_url: "http://10.0.0.1/metadata" }, "address_refused", "metadata_url"],
    [{ metadata_url: "https://login.example.com/metadata" }, "offline", "metadata_url"],
    [{ metadata_xml: `<!DOCTYPE a>${xml}` }, "saml_metadata", "metadata_xml"],
    [{ metadata_xml: "<EntityDescriptor/>" }, "saml_metadata", "metadata_xml"],
    [{ metadata_xml: xml.replaceAll("HTTP-Redirect", "SOAP") }, "saml_metadata", "metadata_xml"],
    [
      { metadata_xml: xml.replace(/<X509Certificate>|<ds:X509Certificate>/, "$&AAAA") },
      "saml_metadata",
      "metadata_xml",
    ],
    [{ metadata_xml: xml, issuer: "https://login.example.com" }, "unknown_parameter", "issuer"],
  ];
  for (const [body, code, param] of refusals) expect([body, await create(body)]).toEqual([body, [code, param]]);
  const pasted = String(await create({ metadata_xml: xml }));
  expect(await t.json("POST", `/v1/admin/sso/${pasted}/test`)).toMatchObject({
    reachable: true,
    entity_id: idp.entityId,
    certificates: [{ expires_at: expect.any(Number) }, {}],
  });
  const wrong = await t.request("POST", `/v1/admin/sso/${pasted}`, { body: { issuer: "https://login.example.com" } });
  expect(((await wrong.json()) as { error: object }).error).toMatchObject({
    code: "unknown_parameter",
    param: "issuer",
  });
  // An address replaces what was pasted. Nothing is behind this one.
  const moved = { metadata_url: `http://${idp.host}/sign-in` };
  expect(await t.json("POST", `/v1/admin/sso/${pasted}`, { body: moved })).toMatchObject({ metadata_xml: null });
  expect(await t.json("POST", `/v1/admin/sso/${pasted}/test`)).toMatchObject({ reachable: false });
  expect((await browserOf(t).send("GET", `/sso/${pasted}/start`)).status).toBe(503);
  await t.json("DELETE", `/v1/admin/sso/${pasted}`);
});
