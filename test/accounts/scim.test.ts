/** SCIM 2.0: requests as Okta and Entra ID send them, deactivation that ends every access, and tenants apart. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { watchAccess } from "../../src/accounts/auth/revocation.ts";
import { resolveActor } from "../../src/accounts/auth/service.ts";
import { member, session, user } from "../../src/db/schema/auth.ts";
import entra from "../cases/scim/entra.json";
import okta from "../cases/scim/okta.json";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";
import { browserOf } from "../support/cookies.ts";
import { type SamlIdentityProvider, startSamlProvider } from "../support/saml-provider.ts";

interface Step {
  what: string;
  send: string;
  body?: unknown;
  status: number;
  /** The id of the answer is kept under this name. */
  keep?: string;
  answer?: object;
  /** Team and role of the user afterwards. */
  place?: string[];
}

const clock = fakeClock(Date.now());
let t: TestApp;
let idp: SamlIdentityProvider;
/** A provider with its token, by its domain. */
const providers = new Map<string, { id: string; token: string }>();

async function addProvider(domain: string, more: object = {}): Promise<string> {
  const { id } = await t.json<{ id: string }>("POST", "/v1/admin/sso", {
    body: {
      type: "saml",
      name: `Provider of ${domain}`,
      metadata_xml: idp.metadata(),
      domains: [domain],
      default_organization: t.orgs.b,
      ...more,
    },
  });
  const { token } = await t.json<{ token: string }>("POST", `/v1/admin/sso/${id}/scim`);
  providers.set(domain, { id, token });
  return id;
}

beforeAll(async () => {
  idp = await startSamlProvider(clock.now);
  t = await createTestApp({ config: { sso_hosts: [idp.host] }, ctx: { clock } });
  await addProvider("acme.test", {
    groups: [
      { group: "lab", organization: t.orgs.a, organization_role: "viewer" },
      { group: "8aa1a0c0-c4c3-4bc0-b4a5-2ef676900159", organization: t.orgs.a, organization_role: "admin" },
    ],
  });
  await addProvider("other.test");
});
afterAll(async () => {
  await t?.close();
  await idp?.close();
});

interface Sent {
  body?: unknown;
  domain?: string;
  token?: string;
  type?: string;
}

function scim(send: string, { body, domain = "acme.test", token, type = "application/scim+json" }: Sent = {}) {
  const [method = "", path = ""] = send.split(" ");
  const authorization = `Bearer ${token ?? providers.get(domain)?.token}`;
  const headers: Record<string, string> = { authorization };
  if (body !== undefined) headers["content-type"] = type;
  return t.request(method, `/scim/v2${path}`, { as: "anonymous", headers, body });
}

/** Team and role of an account. */
async function placeOf(id: string): Promise<string[]> {
  const [row] = await t.ctx.db.select().from(member).where(eq(member.userId, id));
  return row ? [row.organizationId === t.orgs.a ? "a" : "b", row.role] : [];
}

for (const [who, steps] of [
  ["Okta", okta as Step[]],
  ["Entra ID", entra as Step[]],
] as const)
  test(`a life of a user and a group, as ${who} sends it`, async () => {
    const kept: Record<string, string> = {};
    const fill = (text: string) => text.replace(/\{(user|group)\}/g, (_, name: string) => kept[name] ?? "none");
    for (const { what, send, body, status, keep, answer, place } of steps) {
      const given = body === undefined ? {} : { body: JSON.parse(fill(JSON.stringify(body))) };
      const got = await scim(fill(send), given);
      const text = await got.text();
      expect([what, got.status, text]).toEqual([what, status, text]);
      if (text) expect(got.headers.get("content-type")).toStartWith("application/scim+json");
      const read = text ? JSON.parse(text) : {};
      if (keep) kept[keep] = read.id;
      if (keep) expect(got.headers.get("location")).toEndWith(`/${read.id}`);
      if (answer) expect([what, read]).toMatchObject([what, JSON.parse(fill(JSON.stringify(answer)))]);
      if (send.includes("excludedAttributes")) expect(text).not.toContain('"members"');
      if (place) expect([what, await placeOf(kept.user ?? "")]).toEqual([what, place]);
    }
  });

const create = async (name: string, more: Sent & { externalId?: string } = {}) => {
  const { domain = "acme.test", externalId } = more;
  const answer = await scim("POST /Users", {
    domain,
    body: { userName: `${name}@${domain}`, externalId, active: true },
  });
  return ((await answer.json()) as { id: string }).id;
};
const setActive = (id: string, domain: string, active: unknown) =>
  scim(`PATCH /Users/${id}`, { domain, body: { Operations: [{ op: "replace", path: "active", value: active }] } });
const lastAudit = async (action: string) =>
  (await t.json<{ data: { target: string; detail: object }[] }>("GET", `/v1/admin/audit?action=${action}`)).data[0];

test("deactivating a user ends sessions, keys, streams and every way to sign in at once; reactivating restores", async () => {
  const domain = "plain.test";
  const provider = await addProvider(domain);
  // An account that exists: it is taken over, with its password and team.
  const form = { email: "vera@plain.test", password: PASSWORD, name: "Vera" };
  await t.json("POST", "/v1/admin/users", { body: { email: form.email } }).then(async (made) => {
    const token = (made as { path: string }).path.split("token=")[1] ?? "";
    await browserOf(t).send("POST", "/invite", { form: { ...form, token } });
  });
  const browser = browserOf(t);
  const signIn = () => browser.send("POST", "/login", { form: { ...form, next: "/" } });
  await signIn();
  const { key } = await browser.json<{ key: string }>("POST", "/v1/keys", { name: "vera" });
  const withKey = () =>
    t.request("GET", "/v1/models", { as: "anonymous", headers: { authorization: `Bearer ${key}` } });
  expect((await withKey()).status).toBe(200);
  const request = new Request("http://localhost/v1/stream", { headers: { authorization: `Bearer ${key}` } });
  const actor = await resolveActor(t.ctx, request);
  if (!actor) throw new Error("the key has no actor");
  const stream = watchAccess(t.ctx, actor, request);
  const id = await create("vera", { domain });
  expect([id, await placeOf(id)]).toEqual([actor.userId, ["a", "member"]]);
  expect(await lastAudit("user.adopt")).toMatchObject({ target: id });
  await stream.check();
  expect(stream.ended).toBe(false);

  const start = clock.now();
  expect((await setActive(id, domain, "False")).status).toBe(200);
  await stream.settled();
  // The clock stands still: at once is less than a minute.
  expect([stream.ended, clock.now() - start]).toEqual([true, 0]);
  stream.stop();
  expect(await browser.isSignedIn()).toBe(false);
  expect(await t.ctx.db.select().from(session).where(eq(session.userId, id))).toEqual([]);
  const refused = await withKey();
  expect([refused.status, await refused.text()]).toEqual([
    403,
    expect.stringContaining("Deactivated by Provider of plain.test"),
  ]);
  expect((await signIn()).status).toBe(403);
  idp.trust(await (await t.request("GET", `/sso/${provider}/metadata`, { as: "anonymous" })).text());
  idp.people.set("vera", { attributes: { email: form.email } });
  const walk = async () => {
    const begun = await browser.send("GET", `/sso/${provider}/start`);
    const { form: posted } = await idp.answer(begun.headers.get("location") ?? "", "vera");
    const held = await t.request("POST", `/sso/${provider}/acs`, {
      as: "anonymous",
      form: posted,
      headers: { origin: `http://${idp.host}`, "sec-fetch-site": "cross-site" },
    });
    return (await browser.send("GET", held.headers.get("location") ?? "")).status;
  };
  expect(await walk()).toBe(403);
  expect(await browser.isSignedIn()).toBe(false);
  expect(await lastAudit("user.deactivate")).toMatchObject({ target: id });

  // What an administrator suspended stays suspended, and the other way round.
  await t.json("POST", `/v1/admin/users/${id}/suspend`, { body: { reason: "spam" } });
  await setActive(id, domain, "True");
  expect((await withKey()).status).toBe(403);
  await setActive(id, domain, false);
  await t.json("POST", `/v1/admin/users/${id}/lift`);
  expect((await withKey()).status).toBe(403);
  const state = await (await scim(`GET /Users/${id}`, { domain })).json();
  expect(state).toMatchObject({ active: false });

  expect((await setActive(id, domain, true)).status).toBe(200);
  expect((await withKey()).status).toBe(200);
  expect((await signIn()).status).toBe(303);
  expect(await walk()).toBe(303);
  // Deleting deactivates; the account stays, and comes back with its keys.
  expect((await scim(`DELETE /Users/${id}`, { domain })).status).toBe(204);
  expect((await withKey()).status).toBe(403);
  expect(await create("vera", { domain })).toBe(id);
  expect((await withKey()).status).toBe(200);
});

test("the only administrator cannot be deactivated", async () => {
  const [admins, domain] = [await t.ctx.db.select().from(user).where(eq(user.role, "admin")), "example.test"];
  await addProvider(domain);
  const ids: string[] = [];
  for (const { email } of admins) {
    const answer = await scim("POST /Users", { domain, body: { userName: email } });
    ids.push(((await answer.json()) as { id: string }).id);
  }
  const body = { Operations: [{ op: "replace", value: { active: false } }] };
  const statuses: number[] = [];
  for (const id of ids) statuses.push((await scim(`PATCH /Users/${id}`, { domain, body })).status);
  expect(statuses).toEqual([...ids.slice(1).map(() => 200), 409]);
  for (const id of ids)
    await scim(`PATCH /Users/${id}`, { domain, body: { Operations: [{ op: "replace", value: { active: true } }] } });
});

test("a provider sees and changes only whom it manages, in its domains", async () => {
  const mine = await create("anna");
  const foreign = await create("zoe", { domain: "other.test" });
  const body = { Operations: [{ op: "replace", value: { active: false } }] };
  for (const id of [foreign, t.users.member]) {
    expect((await scim(`GET /Users/${id}`)).status).toBe(404);
    expect((await scim(`PATCH /Users/${id}`, { body })).status).toBe(404);
    expect((await scim(`DELETE /Users/${id}`)).status).toBe(404);
    const inGroup = await scim("POST /Groups", { body: { displayName: `steals ${id}`, members: [{ value: id }] } });
    expect([inGroup.status, await inGroup.text()]).toEqual([400, expect.stringContaining("invalidValue")]);
  }
  const listed = (await (await scim("GET /Users?count=200")).text()) as string;
  expect([listed.includes(mine), listed.includes(foreign)]).toEqual([true, false]);
  const outside = await scim("POST /Users", { body: { userName: "eve@other.test" } });
  expect([outside.status, await outside.json()]).toMatchObject([400, { scimType: "invalidValue", status: "400" }]);
  const moved = await scim(`PATCH /Users/${mine}`, {
    body: { Operations: [{ op: "replace", path: "emails", value: [{ value: "anna@other.test" }] }] },
  });
  expect(moved.status).toBe(400);
  const group = (await (await scim("POST /Groups", { body: { displayName: "staff" } })).json()) as { id: string };
  expect((await scim(`GET /Groups/${group.id}`, { domain: "other.test" })).status).toBe(404);
});

test("without a team for everybody, a user has access with a group only, and loses it with the group", async () => {
  const domain = "strict.test";
  await addProvider(domain, {
    default_organization: null,
    groups: [{ group: "crew", organization: t.orgs.b, organization_role: "member" }],
  });
  const id = await create("ida", { domain });
  expect(await placeOf(id)).toEqual([]);
  const made = await scim("POST /Groups", { domain, body: { displayName: "crew", members: [{ value: id }] } });
  const group = ((await made.json()) as { id: string }).id;
  expect(await placeOf(id)).toEqual(["b", "member"]);
  const body = { Operations: [{ op: "remove", path: "members" }] };
  expect((await scim(`PATCH /Groups/${group}`, { domain, body })).status).toBe(204);
  expect(await placeOf(id)).toEqual([]);
});

test("lists have pages and filters; what cannot be read is refused in the format of the standard", async () => {
  for (const name of ["p1", "p2", "p3"]) {
    clock.advance(1);
    await create(name, { domain: "other.test" });
  }
  const page = async (query: string) =>
    (await (await scim(`GET /Users?${query}`, { domain: "other.test" })).json()) as {
      totalResults: number;
      startIndex: number;
      itemsPerPage: number;
      Resources: { userName: string }[];
    };
  expect(await page("startIndex=2&count=2")).toMatchObject({ totalResults: 4, startIndex: 2, itemsPerPage: 2 });
  expect((await page("startIndex=3&count=1")).Resources[0]?.userName).toBe("p2@other.test");
  expect(await page("startIndex=0&count=0")).toMatchObject({ totalResults: 4, startIndex: 1, Resources: [] });
  const filters: [string, number, string?][] = [
    ['userName eq "P1@other.test"', 200],
    ['emails[type eq "work"].value eq "p1@other.test"', 200],
    ['urn:ietf:params:scim:schemas:core:2.0:User:userName eq "p1@other.test"', 200],
    ['userName co "p1"', 400, "invalidFilter"],
    ['title eq "x"', 400, "invalidFilter"],
    ['userName eq "a" or userName eq "b"', 400, "invalidFilter"],
  ];
  for (const [filter, status, scimType] of filters) {
    const answer = await scim(`GET /Users?filter=${encodeURIComponent(filter)}`, { domain: "other.test" });
    const read = (await answer.json()) as { totalResults?: number; scimType?: string };
    expect([filter, answer.status, read.totalResults, read.scimType]).toEqual([
      filter,
      status,
      status === 200 ? 1 : undefined,
      scimType,
    ]);
  }
  const wrong: [unknown, number, string | undefined][] = [
    [{ Operations: [{ op: "replace", path: "active", value: "perhaps" }] }, 400, "invalidValue"],
    [{ Operations: [{ op: "remove" }] }, 400, "noTarget"],
    [{ Operations: [] }, 400, "invalidValue"],
    [{ Operations: [{ op: "move", path: "active" }] }, 400, "invalidValue"],
    ["text", 400, "invalidValue"],
  ];
  const id = await create("wanda", { domain: "other.test" });
  for (const [body, status, scimType] of wrong) {
    const answer = await scim(`PATCH /Users/${id}`, { domain: "other.test", body });
    expect([body, answer.status, ((await answer.json()) as { scimType?: string }).scimType]).toEqual([
      body,
      status,
      scimType,
    ]);
  }
  expect((await scim("POST /Users", { body: {}, type: "text/plain" })).status).toBe(415);
  expect((await scim("POST /Users", { body: { userName: "x".repeat(1_100_000) } })).status).toBe(413);
});

test("the token is checked on every route, shown once, replaced at once, and ends with the provisioning", async () => {
  const { id, token } = providers.get("other.test") ?? { id: "", token: "" };
  for (const wrong of ["", "scim-00000000000000000000000000000000", "ftl-00000000000000000000000000000000"]) {
    const answer = await scim("GET /ServiceProviderConfig", { token: wrong });
    expect([answer.status, await answer.json()]).toMatchObject([401, { status: "401" }]);
  }
  for (const path of ["/ServiceProviderConfig", "/ResourceTypes", "/Schemas", "/Users", "/Groups"])
    expect([path, (await scim(`GET ${path}`, { token })).status]).toEqual([path, 200]);
  const key = await t.request("GET", "/scim/v2/Users", { as: "admin" });
  expect(key.status).toBe(401);
  const view = await t.json("GET", `/v1/admin/sso/${id}/scim`);
  expect(view).toMatchObject({ token_hint: token.slice(-4), last_used_at: expect.any(Number), path: "/scim/v2" });
  expect(JSON.stringify(view)).not.toContain(token);
  const { token: next } = await t.json<{ token: string }>("POST", `/v1/admin/sso/${id}/scim`);
  expect([(await scim("GET /Users", { token })).status, (await scim("GET /Users", { token: next })).status]).toEqual([
    401, 200,
  ]);
  expect((await t.request("POST", `/v1/admin/sso/${id}/scim`, { as: "member" })).status).toBe(403);
  // A session needs a recent proof.
  const browser = browserOf(t);
  await browser.signIn("admin");
  clock.advance(16 * 60_000);
  const asked = await browser.json<{ error: { code: string } }>("POST", `/v1/admin/sso/${id}/scim`);
  expect(asked.error.code).toBe("reauthentication_required");
  await t.json("DELETE", `/v1/admin/sso/${id}/scim`);
  expect((await scim("GET /Users", { token: next })).status).toBe(401);
  expect((await t.request("GET", `/v1/admin/sso/${id}/scim`)).status).toBe(404);
  expect((await lastAudit("scim.remove"))?.target).toBe(id);
});
