/** Users, invitations, teams and sessions as administrators manage them, over the API and by one-time links. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { environmentName } from "../../src/compute/environment/install.ts";
import { startBackup } from "../../src/insights/installation/backups.ts";
import { readLeftovers, readSpace } from "../../src/insights/installation/space.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";

// Sessions are dated by the sign-in library, with the time of the machine.
const clock = fakeClock(Date.now());
let t: TestApp;
beforeAll(async () => {
  t = await createTestApp({ ctx: { clock } });
});
afterAll(() => t?.close());

interface User {
  id: string;
  email: string;
  role: string;
  disabled: boolean;
  organization: string;
  organization_name: string;
  last_seen_at: number | null;
  sessions: number;
}
const users = async () => (await t.json<{ data: User[] }>("GET", "/v1/admin/users?limit=100")).data;
const userOf = async (email: string) => (await users()).find((one) => one.email === email) as User;
const statusOf = async (method: string, path: string, body?: unknown) =>
  (await t.request(method, path, { body })).status;

/** Signs in with a form. @returns the cookie, or the status of the refusal */
async function signIn(email: string, password: string): Promise<string | number> {
  const answer = await t.request("POST", "/login", { as: "anonymous", form: { email, password } });
  return answer.status === 303 ? (answer.headers.getSetCookie()[0]?.split(";")[0] ?? "") : answer.status;
}
const signedIn = async (cookie: string | number) =>
  (await t.request("GET", "/v1/me", { as: "anonymous", headers: { cookie: String(cookie) } })).status === 200;

test("an invitation is listed until it is revoked, and a new link replaces the old one", async () => {
  interface Invitation {
    id: string;
    email: string;
    path: string;
  }
  const list = async () => (await t.json<{ data: Invitation[] }>("GET", "/v1/admin/invitations")).data;
  const first = await t.json<Invitation>("POST", "/v1/admin/users", { body: { email: "new@example.test" } });
  expect(await list()).toMatchObject([{ id: first.id, email: "new@example.test", role: "member" }]);
  expect(JSON.stringify(await list())).not.toContain("token");

  const second = await t.json<Invitation>("POST", `/v1/admin/invitations/${first.id}/renew`);
  expect(second.path).not.toBe(first.path);
  expect((await t.request("GET", first.path, { as: "anonymous" })).status).toBe(410);
  expect((await t.request("GET", second.path, { as: "anonymous" })).status).toBe(200);
  expect((await list()).map((one) => one.id)).toEqual([second.id]);

  await t.json("DELETE", `/v1/admin/invitations/${second.id}`);
  expect(await list()).toEqual([]);
  expect((await t.request("GET", second.path, { as: "anonymous" })).status).toBe(410);
  expect(await statusOf("DELETE", `/v1/admin/invitations/${second.id}`)).toBe(404);
});

test("a link resets a password once, within a day, and ends the sessions", async () => {
  const before = await signIn(t.emails.member, PASSWORD);
  const link = async () =>
    (await t.json<{ path: string }>("POST", `/v1/admin/users/${t.users.member}/password_reset`)).path;
  const replaced = await link();
  const path = await link();
  const token = new URL(path, "http://x").searchParams.get("token") ?? "";
  expect((await t.request("GET", replaced, { as: "anonymous" })).status).toBe(410);
  const page = await (await t.request("GET", path, { as: "anonymous" })).text();
  expect(page).toContain(t.emails.member);

  const send = (password: string) => t.request("POST", "/reset", { as: "anonymous", form: { token, password } });
  expect((await send("password")).status).toBe(400);
  expect(await signedIn(before)).toBe(true);
  expect((await send("three-plain-words")).status).toBe(303);
  expect(await signedIn(before)).toBe(false);
  expect((await send("three-other-words")).status).toBe(410);
  expect(await signIn(t.emails.member, PASSWORD)).toBe(401);
  expect(typeof (await signIn(t.emails.member, "three-plain-words"))).toBe("string");

  const late = await link();
  clock.advance(24 * 3_600_000 + 1);
  expect((await t.request("GET", late, { as: "anonymous" })).status).toBe(410);
});

test("the last administrator can neither be demoted nor disabled", async () => {
  await t.json("POST", `/v1/admin/users/${t.users.otherAdmin}`, { body: { role: "member" } });
  for (const body of [{ role: "member" }, { disabled: true }]) {
    const answer = await t.request("POST", `/v1/admin/users/${t.users.admin}`, { body });
    expect(answer.status).toBe(409);
    expect(((await answer.json()) as { error: { code: string } }).error.code).toBe("last_admin");
  }
  expect(await userOf(t.emails.admin)).toMatchObject({ role: "admin", disabled: false });
  await t.json("POST", `/v1/admin/users/${t.users.otherAdmin}`, { body: { role: "admin" } });
});

test("a user sees the own sessions and ends one or all others; an administrator ends all", async () => {
  const [first, second, third] = [
    await signIn(t.emails.other, PASSWORD),
    await signIn(t.emails.other, PASSWORD),
    await signIn(t.emails.other, PASSWORD),
  ].map(String);
  const as = (cookie: string | undefined) => ({ as: "anonymous" as const, headers: { cookie: cookie ?? "" } });
  interface Session {
    id: string;
    current: boolean;
  }
  const list = async () => (await t.json<{ data: Session[] }>("GET", "/v1/sessions", as(first))).data;
  expect((await list()).map((one) => one.current).sort()).toEqual([false, false, true]);

  const foreign = (await list()).find((one) => !one.current)?.id ?? "";
  expect((await t.request("DELETE", `/v1/sessions/${foreign}`, { as: "member" })).status).toBe(404);
  await t.json("DELETE", `/v1/sessions/${foreign}`, as(first));
  expect([await signedIn(second ?? ""), await signedIn(third ?? "")].filter(Boolean)).toHaveLength(1);
  expect(await t.json("DELETE", "/v1/sessions", as(first))).toMatchObject({ ended: 1 });
  expect(await list()).toHaveLength(1);

  expect((await userOf(t.emails.other)).sessions).toBe(1);
  expect(await t.json("DELETE", `/v1/admin/users/${t.users.other}/sessions`)).toMatchObject({ ended: 1 });
  expect(await signedIn(first ?? "")).toBe(false);
});

test("last seen follows requests with a session", async () => {
  const cookie = await signIn(t.emails.other, PASSWORD);
  const at = (await userOf(t.emails.other)).last_seen_at ?? 0;
  clock.advance(10 * 60_000);
  expect(await signedIn(cookie)).toBe(true);
  // The time is written after the answer; a further write comes after it.
  await t.json("POST", "/v1/keys", { body: { name: "after" } });
  expect((await userOf(t.emails.other)).last_seen_at).toBe(at + 600);
});

test("teams are created, renamed, limited and given members; keys of the old team stop working", async () => {
  interface Org {
    id: string;
    name: string;
    members: number;
  }
  const made = await t.json<Org>("POST", "/v1/admin/orgs", { body: { name: "Gamma" } });
  expect(made).toMatchObject({ name: "Gamma", members: 0 });
  await t.json("POST", `/v1/admin/orgs/${made.id}`, { body: { name: "Delta" } });
  await t.json("POST", `/v1/admin/users/${t.users.member}`, { body: { organization: made.id } });
  expect(await userOf(t.emails.member)).toMatchObject({ organization: made.id, organization_name: "Delta" });
  const { data: orgs } = await t.json<{ data: Org[] }>("GET", "/v1/admin/orgs");
  expect(orgs.find(({ id }) => id === made.id)?.members).toBe(1);
  expect((await t.request("GET", "/v1/me", { as: "member" })).status).toBe(401);
  expect(await statusOf("POST", `/v1/admin/users/${t.users.member}`, { organization: "org-none" })).toBe(404);
  await t.json("POST", `/v1/admin/users/${t.users.member}`, { body: { organization: t.orgs.a } });

  const limits = `/v1/admin/orgs/${t.orgs.a}/limits`;
  expect(await t.json("POST", limits, { body: { datasets: 0, files: 1 } })).toMatchObject({
    files: { limit: 1 },
    datasets: { limit: null },
    waiting_jobs: { limit: 1000 },
  });
  const upload = async () => {
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set("file", new Blob(['{"messages":[{"role":"user","content":"a"}]}\n']), "rows.jsonl");
    return (await t.request("POST", "/v1/files", { raw: form })).status;
  };
  expect([await upload(), await upload()]).toEqual([200, 403]);
  await t.json("POST", limits, { body: { files: null } });
  expect(await upload()).toBe(200);
  expect(await statusOf("POST", limits, { files: -1 })).toBe(400);
  expect(await statusOf("POST", "/v1/admin/orgs/none/limits", { files: 1 })).toBe(404);
});

test("settings show where each value came from, and no secret", async () => {
  interface Setting {
    name: string;
    value: string | null;
    source: string;
  }
  const own = await createTestApp({ config: { hub_token: "hf_do-not-show", train_slots: 3 } });
  const { data } = await own.json<{ data: Setting[] }>("GET", "/v1/admin/settings");
  const of = (name: string) => data.find((one) => one.name === name);
  expect(of("train_slots")).toMatchObject({ value: "3", source: "flag" });
  expect(of("serve_slots")).toMatchObject({ value: "2", source: "default" });
  expect(of("password_min_length")?.value).toMatch(/^\d+$/);
  expect(of("hub_token")?.value).toMatch(/^•+$/);
  expect(JSON.stringify(data)).not.toContain("do-not-show");
  await own.close();
});

test("a provider reports its settings and checks its connection", async () => {
  const { data } = await t.json<{ data: { id: string }[] }>("GET", "/v1/admin/providers");
  expect(data.map((one) => one.id)).toEqual(["process"]);
  expect(await t.json("POST", "/v1/admin/providers/process/test")).toMatchObject({ ok: true, problems: [] });
  expect(await statusOf("POST", "/v1/admin/providers/none/test")).toBe(404);
});

test("a backup runs in a process of its own, is listed when it is complete, and can be deleted", async () => {
  interface Backup {
    id: string;
    path: string;
    files: number;
    bytes: number;
  }
  const list = async () => (await t.json<{ data: Backup[] }>("GET", "/v1/admin/backups")).data;
  const { name, done } = await startBackup(t.ctx, t.actor("admin"));
  const second = await t.request("POST", "/v1/admin/backups");
  expect([second.status, ((await second.json()) as { error: { code: string } }).error.code]).toEqual([
    409,
    "backup_running",
  ]);
  await done;
  const [found] = await list();
  expect(found).toMatchObject({ id: name, path: join(t.dir, "backups", name) });
  expect(found?.files).toBeGreaterThanOrEqual(2);
  const copy = new Database(join(found?.path ?? "", "lab.db"), { readonly: true });
  expect(copy.query("SELECT count(*) AS n FROM user").get()).toEqual({ n: 4 });
  copy.close();
  await t.json("DELETE", `/v1/admin/backups/${name}`);
  expect(await list()).toEqual([]);
  expect(existsSync(found?.path ?? "")).toBe(false);
  expect(await statusOf("DELETE", "/v1/admin/backups/..")).toBe(404);
});

test("old trainer environments are deleted on request, the current one stays; disk space is listed by kind", async () => {
  const own = await createTestApp({ config: { trainer_env: null } });
  const admin = own.actor("admin");
  const current = await environmentName(own.ctx.config, own.ctx.files);
  const old = own.ctx.files.path("environments", "0123456789abcdef");
  for (const folder of [old, own.ctx.files.path("environments", current)]) {
    mkdirSync(folder);
    writeFileSync(join(folder, "package"), "x".repeat(1000));
  }
  const space = await readSpace(own.ctx, admin);
  expect(space.find((row) => row.kind === "Trainer environments")?.bytes).toBe(2000);
  expect(space.find((row) => row.kind === "Database")?.bytes).toBeGreaterThan(100_000);
  expect(await readLeftovers(own.ctx, admin)).toEqual({ environments: 1, bytes: 1000 });
  const page = await own.request("POST", "/admin/status/clean", { form: {} });
  expect(page.headers.get("location")).toBe("/admin/status");
  expect(existsSync(old)).toBe(false);
  expect(existsSync(own.ctx.files.path("environments", current))).toBe(true);
  await own.close();
});
