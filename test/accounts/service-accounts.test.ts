/** Service accounts: accounts of a team for programs, with keys of their own, which nobody signs in as. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { createKey } from "../../src/accounts/api-keys/service.ts";
import { createUser, userIdOf } from "../../src/accounts/auth/service.ts";
import { openSession } from "../../src/accounts/auth/sessions.ts";
import { suspendUser } from "../../src/accounts/suspension/service.ts";
import { systemActor } from "../../src/ctx.ts";
import { user } from "../../src/db/schema/auth.ts";
import { noticeDelivery } from "../../src/db/schema/notices.ts";
import { spread, waitingEvents } from "../../src/notices/delivery/spread.ts";
import { recordEvent, recordForAll } from "../../src/notices/events/store.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";

const clock = fakeClock(Date.now());
let app: TestApp;
/** An administrator of the team, who may leave. */
let manager: { id: string; key: string };
beforeAll(async () => {
  app = await createTestApp({ ctx: { clock } });
});
beforeEach(async () => {
  const email = `manager-${crypto.randomUUID()}@example.test`;
  const { id } = await createUser(app.ctx, systemActor(), {
    email,
    password: PASSWORD,
    teamRole: "admin",
    org: app.orgs.a,
  });
  manager = {
    id,
    key: (await createKey(app.ctx, systemActor(), { name: "manager", userId: id, expiresAt: null })).key,
  };
});
afterAll(() => app.close());

interface Account {
  id: string;
  name: string;
  role: string;
  created_by: string;
  keys: number;
}
const ask = (key: string, method: string, path: string, body?: unknown) =>
  app.request(method, path, { as: "anonymous", body, headers: { authorization: `Bearer ${key}` } });
const answer = async <T>(key: string, method: string, path: string, body?: unknown): Promise<T> => {
  const reply = await ask(key, method, path, body);
  const read = await reply.json();
  if (!reply.ok) throw new Error(JSON.stringify(read));
  return read as T;
};
const codeOf = async (reply: Response) => ((await reply.json()) as { error?: { code: string } }).error?.code;
const make = (key = manager.key, body: object = {}) =>
  answer<Account>(key, "POST", "/v1/service_accounts", { name: "Nightly", ...body });
const makeKey = (id: string, body: object = {}, key = manager.key) =>
  answer<{ id: string; key: string; user: object }>(key, "POST", `/v1/service_accounts/${id}/keys`, {
    name: "cron",
    ...body,
  });
const works = async (key: string) => (await ask(key, "GET", "/v1/me")).status === 200;

test("acts with its keys in its role, in its organization only", async () => {
  const made = await make();
  expect(made).toMatchObject({ object: "service_account", role: "member", created_by: manager.id, keys: 0 });
  const { key, user: owner } = await makeKey(made.id);
  expect(owner).toEqual({ id: made.id, email: null, name: "Nightly", service_account: true });
  expect(await answer(key, "GET", "/v1/me")).toMatchObject({
    id: made.id,
    email: null,
    role: "member",
    organization: app.orgs.a,
    organization_role: "member",
  });
  expect((await ask(key, "GET", "/v1/datasets")).status).toBe(200);
  expect(await codeOf(await ask(key, "GET", "/v1/service_accounts"))).toBe("permission_denied");
  expect(await codeOf(await ask(key, "GET", "/v1/admin/users"))).toBe("admin_only");
  expect((await app.request("GET", `/v1/service_accounts/${made.id}`, { as: "otherAdmin" })).status).toBe(404);
  await answer(manager.key, "POST", `/v1/service_accounts/${made.id}`, { role: "viewer", name: "Reader" });
  expect(await codeOf(await ask(key, "POST", "/v1/fine_tuning/jobs", {}))).toBe("permission_denied");
});

describe("roles", () => {
  test.each(["owner", "billing"])("a service account is never %s", async (role) => {
    expect((await ask(manager.key, "POST", "/v1/service_accounts", { name: "x", role })).status).toBe(400);
  });

  test("members and viewers create none; an administrator's has at most the creator's role", async () => {
    expect(await codeOf(await ask(app.keys.member, "POST", "/v1/service_accounts", { name: "x" }))).toBe(
      "permission_denied",
    );
    const { id } = await make(manager.key, { role: "admin" });
    const { key } = await makeKey(id);
    // It manages members as an administrator of the team does, and owns nothing of it.
    expect((await make(key)).created_by).toBe(id);
    expect(
      await codeOf(await ask(key, "POST", "/v1/organization/members", { email: "o@example.test", role: "owner" })),
    ).toBe("permission_denied");
  });

  test("nobody makes it more by the routes for people", async () => {
    const { id } = await make();
    for (const [method, path, body] of [
      ["POST", `/v1/admin/users/${id}`, { role: "admin" }],
      ["POST", `/v1/organization/members/${id}`, { role: "owner" }],
      ["DELETE", `/v1/organization/members/${id}`, undefined],
      ["POST", `/v1/admin/users/${id}/reset`, undefined],
    ] as const)
      expect([path, (await app.request(method, path, { body })).status]).toEqual([path, 404]);
  });
});

test("cannot sign in: no session, no reset, no password", async () => {
  const { id } = await make();
  const client = { address: "203.0.113.7", userAgent: "" };
  await expect(openSession(app.ctx, id, client, { method: null, twoFactors: false })).rejects.toThrow();
  const [{ email } = { email: "" }] = await app.ctx.db.select().from(user).where(eq(user.id, id));
  expect(email).toBe(`${id}@service-accounts.invalid`);
  await expect(userIdOf(app.ctx, email)).rejects.toThrow(/No such user/);
  const signedIn = await app.request("POST", "/login", { as: "anonymous", form: { email, password: PASSWORD } });
  expect([signedIn.status, signedIn.headers.getSetCookie()]).toEqual([401, []]);
});

test("is not among the people: members, users, team size, notices for all", async () => {
  const before = await app.json<{ members: number }>("GET", "/v1/organization");
  const { id } = await make();
  expect((await app.json<{ members: number }>("GET", "/v1/organization")).members).toBe(before.members);
  for (const path of ["/v1/organization/members?limit=100", "/v1/admin/users?limit=100"])
    expect(await (await app.request("GET", path)).text()).not.toContain(id);
  const { ctx } = app;
  await ctx.write((tx) =>
    recordForAll(
      tx,
      ctx,
      { kind: "everyone" },
      { type: "announcement.critical", subject: "x", title: "Hi", body: "", path: "/" },
    ),
  );
  const personal = { org: app.orgs.a, type: "security.role.changed", subject: id, userId: id, title: "Hi" } as const;
  await ctx.write((tx) => recordEvent(tx, ctx, { ...personal, body: "", path: "/" }));
  for (const event of await waitingEvents(ctx)) await spread(ctx, event, true);
  const mails = (await ctx.db.select().from(noticeDelivery)).map(({ destination }) => destination);
  expect(mails).toContain(`mail:${app.emails.member}`);
  expect(mails.filter((destination) => destination.includes(id))).toEqual([]);
});

test("its keys stay when whoever made it is suspended, leaves, or loses the key that made it", async () => {
  const { id } = await make();
  const { key } = await makeKey(id, { expires_in_days: null });
  await suspendUser(app.ctx, app.actor("admin"), manager.id, { reason: "test", until: null });
  expect([await works(manager.key), await works(key)]).toEqual([false, true]);
  await app.json("DELETE", `/v1/organization/members/${manager.id}`);
  expect(await works(key)).toBe(true);
});

describe("what it creates", () => {
  const createDataset = async (key: string) => {
    const form = new FormData();
    form.set("file", new File(['{"prompt": "a", "completion": "b"}\n'], "rows.jsonl"));
    form.set("purpose", "fine-tune");
    const headers = { authorization: `Bearer ${key}` };
    const reply = await app.request("POST", "/v1/files", {
      as: "anonymous",
      form,
      headers: { ...headers, origin: "" },
    });
    return (await reply.json()) as { id: string };
  };

  test("is its own: other members do not delete it, administrators do, and the audit log names it", async () => {
    const account = await make(manager.key, { name: "Importer" });
    const { key } = await makeKey(account.id);
    const file = await createDataset(key);
    expect(await codeOf(await ask(app.keys.member, "DELETE", `/v1/files/${file.id}`))).toBe("permission_denied");
    expect((await ask(manager.key, "DELETE", `/v1/files/${file.id}`)).status).toBe(200);
    const audit = await app.json<{ data: { actor: string; actor_email: string }[] }>(
      "GET",
      `/v1/admin/audit?actor=${account.id}`,
    );
    expect(new Set(audit.data.map((row) => row.actor_email))).toEqual(new Set(["Importer"]));
  });

  test("a path whose id cannot be decoded names none of them", async () => {
    const { id } = await make();
    for (const method of ["GET", "DELETE"])
      expect(await codeOf(await ask(manager.key, method, "/v1/service_accounts/%E0%A4%A"))).toBe("invalid_path");
    expect(await answer<Account>(manager.key, "GET", `/v1/service_accounts/${id}`)).toMatchObject({ id });
  });

  test("goes to whoever removes it, and its keys end at once", async () => {
    const account = await make();
    const [first, second] = [await makeKey(account.id), await makeKey(account.id)];
    const minted = await answer<{ key: string }>(first.key, "POST", "/v1/keys", { name: "minted" });
    const file = await createDataset(first.key);
    await answer(manager.key, "DELETE", `/v1/service_accounts/${account.id}`);
    for (const { key } of [first, second, minted]) expect(await works(key)).toBe(false);
    expect((await ask(manager.key, "GET", `/v1/service_accounts/${account.id}`)).status).toBe(404);
    expect((await ask(manager.key, "DELETE", `/v1/files/${file.id}`)).status).toBe(200);
    const audit = await app.json<{ data: { action: string }[] }>("GET", `/v1/admin/audit?target=${account.id}`);
    expect(audit.data.map((row) => row.action)).toEqual(["service_account.remove", "service_account.create"]);
  });
});

describe("a key that creates keys of a service account", () => {
  test("passes on at most its scopes and its expiry, and nothing when it is restricted", async () => {
    const { id } = await make();
    const own = (body: object) =>
      answer<{ key: string; expires_at: number }>(manager.key, "POST", "/v1/keys", { name: "k", ...body });
    const scoped = await own({ scopes: ["admin"], expires_in_days: 2 });
    const path = `/v1/service_accounts/${id}/keys`;
    expect(await codeOf(await ask(scoped.key, "POST", path, { name: "x", scopes: ["train"] }))).toBe(
      "scope_exceeds_key",
    );
    expect(await codeOf(await ask(scoped.key, "POST", path, { name: "x", expires_in_days: 3 }))).toBe(
      "key_outlives_parent",
    );
    expect(await makeKey(id, {}, scoped.key)).toMatchObject({ scopes: ["admin"], expires_at: scoped.expires_at });
    for (const limit of [{ allowed_addresses: ["127.0.0.1"] }, { requests_per_minute: 99 }, { tokens_per_minute: 9 }]) {
      const { key } = await own(limit);
      expect(await codeOf(await ask(key, "POST", path, { name: "x" }))).toBe("key_restricted");
    }
    // Nor does it take over a key of the account by giving it a new secret.
    const target = await makeKey(id);
    expect(await codeOf(await ask(scoped.key, "POST", `/v1/keys/${target.id}/rotate`, { overlap_seconds: 0 }))).toBe(
      "key_changes_others",
    );
  });

  test("the account rotates its own key; the key has its restrictions", async () => {
    const { id } = await make();
    const old = await makeKey(id, { tokens_per_minute: 7, scopes: ["infer", "admin"] });
    const fresh = await answer<{ key: string }>(old.key, "POST", `/v1/keys/${old.id}/rotate`, { overlap_seconds: 0 });
    expect(fresh).toMatchObject({ tokens_per_minute: 7, user: { id } });
    expect([await works(old.key), await works(fresh.key)]).toEqual([false, true]);
  });
});

describe("pages", () => {
  const signIn = async (email: string) => {
    const reply = await app.request("POST", "/login", { as: "anonymous", form: { email, password: PASSWORD } });
    return reply.headers.getSetCookie()[0]?.split(";")[0] ?? "";
  };

  test("managers create one, give it a key and rotate that; members do not see them", async () => {
    const cookie = await signIn(app.emails.admin);
    const post = (path: string, form: Record<string, string>) =>
      app.request("POST", path, { as: "anonymous", form, headers: { cookie } });
    const made = await post("/team/service-accounts", { name: "Page bot", role: "viewer" });
    const page = made.headers.get("location") ?? "";
    expect(page).toMatch(/^\/team\/service-accounts\/user-/);
    const shown = await (await post(`${page}/keys`, { name: "first", days: "9", scope_read: "yes" })).text();
    expect(shown).toMatch(/ftl-[0-9a-z]{32}/);
    const [, id = ""] = /href="\/settings\/keys\/(key-[^"]+)"/.exec(shown) ?? [];
    const rotated = await (await post(`/settings/keys/${id}/rotate`, { overlap: "3600" })).text();
    expect(rotated).toMatch(/New secret of “first”/);
    const get = async (path: string, as: string) =>
      (await app.request("GET", path, { as: "anonymous", headers: { cookie: as } })).text();
    expect(await get("/team", cookie)).toContain("Page bot");
    const member = await signIn(app.emails.member);
    expect(await get("/team", member)).not.toContain("Page bot");
    expect(await get(page, member)).not.toContain("Page bot");
    await post(`${page}/remove`, {});
    expect(await get("/team", cookie)).not.toContain("Page bot");
  });
});
