/** A team manages itself: owners and administrators invite, change roles, remove members and set limits. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { createKey } from "../../src/accounts/api-keys/service.ts";
import { systemActor } from "../../src/ctx.ts";
import { apiKey } from "../../src/db/schema/auth.ts";
import { dataset } from "../../src/db/schema/datasets.ts";
import { newId } from "../../src/lib/ids.ts";
import type { TeamRole } from "../../src/roles.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";

interface Person {
  id: string;
  email: string;
  key: string;
}
interface Failure {
  error: { code: string; message: string };
}

let app: TestApp;
let owner: Person;
let admin: Person;
let viewer: Person;

/** Sends a request with somebody's key. */
const as = (who: Person, method: string, path: string, body?: unknown) =>
  app.request(method, path, { as: "anonymous", body, headers: { authorization: `Bearer ${who.key}` } });

async function refusal(answer: Response): Promise<[number, string, string]> {
  const { error } = (await answer.json()) as Failure;
  return [answer.status, error.code, error.message];
}

/** Invites somebody through the API of the team, and accepts. */
async function join(by: Person | "admin", email: string, role: TeamRole): Promise<Person> {
  const body = { email, role };
  const answer =
    by === "admin"
      ? await app.request("POST", "/v1/organization/members", { body })
      : await as(by, "POST", "/v1/organization/members", body);
  const { path } = (await answer.json()) as { path: string };
  const token = new URL(path, "http://localhost").searchParams.get("token") ?? "";
  const accepted = await app.request("POST", "/invite", { as: "anonymous", form: { token, password: PASSWORD } });
  expect(accepted.status).toBe(303);
  const { data } = await app.json<{ data: { id: string; email: string }[] }>("GET", "/v1/organization/members");
  const id = data.find((each) => each.email === email)?.id ?? "";
  return { id, email, key: (await createKey(app.ctx, systemActor(), { name: email, userId: id })).key };
}

const roleOf = async (who: Person) => {
  const answer = await as(who, "GET", "/v1/me");
  return ((await answer.json()) as { organization_role: TeamRole }).organization_role;
};

beforeAll(async () => {
  app = await createTestApp();
  owner = await join("admin", "owner@example.test", "owner");
  admin = await join(owner, "team-admin@example.test", "admin");
  viewer = await join(admin, "viewer@example.test", "viewer");
});
afterAll(() => app.close());

test("an owner and an administrator of the team invite, and the invited have the role at once", async () => {
  expect([await roleOf(owner), await roleOf(admin), await roleOf(viewer)]).toEqual(["owner", "admin", "viewer"]);
  const view = await as(admin, "GET", "/v1/organization/members");
  expect(await view.json()).toMatchObject({
    data: expect.arrayContaining([expect.objectContaining({ email: viewer.email, role: "viewer" })]),
  });
});

test("a refusal names the permission, the role, and who can grant it", async () => {
  const [status, code, message] = await refusal(await as(viewer, "POST", "/v1/chat/completions", { model: "x" }));
  expect([status, code]).toEqual([403, "permission_denied"]);
  expect(message).toBe(
    "You may not send requests to models (permission inference): your role is viewer, and it needs owner, administrator or member. An owner or administrator of your team can change your role.",
  );
});

test("an administrator of the team makes no owners and does not change them", async () => {
  const promote = await as(admin, "POST", `/v1/organization/members/${viewer.id}`, { role: "owner" });
  expect((await refusal(promote)).slice(0, 2)).toEqual([403, "permission_denied"]);
  const demote = await as(admin, "POST", `/v1/organization/members/${owner.id}`, { role: "member" });
  expect((await refusal(demote))[2]).toContain("(permission owners.manage)");
  const remove = await as(admin, "DELETE", `/v1/organization/members/${owner.id}`);
  expect((await refusal(remove)).slice(0, 2)).toEqual([403, "permission_denied"]);
});

test("nobody of the team changes an administrator of the installation", async () => {
  const answer = await as(owner, "DELETE", `/v1/organization/members/${app.users.admin}`);
  expect((await refusal(answer)).slice(0, 2)).toEqual([403, "admin_only"]);
});

test("a change of role counts at once and sends a security notice", async () => {
  const kinds: unknown[] = [];
  const stop = app.ctx.bus.on("security.event", ({ kind, userId, detail }) => kinds.push([kind, userId, detail]));
  expect((await as(owner, "POST", `/v1/organization/members/${viewer.id}`, { role: "billing" })).status).toBe(200);
  expect((await as(viewer, "GET", "/v1/datasets")).status).toBe(403);
  expect((await as(viewer, "GET", "/v1/usage")).status).toBe(200);
  expect((await as(owner, "POST", `/v1/organization/members/${viewer.id}`, { role: "viewer" })).status).toBe(200);
  expect((await as(viewer, "GET", "/v1/datasets")).status).toBe(200);
  stop();
  expect(kinds).toEqual([
    ["role.changed", viewer.id, "billing of the team"],
    ["role.changed", viewer.id, "viewer of the team"],
  ]);
});

test("the last owner neither leaves nor is demoted", async () => {
  // The administrator of the installation is an owner too, and leaves that to others.
  const demoted = await app.request("POST", `/v1/admin/users/${app.users.admin}`, {
    as: "otherAdmin",
    body: { organization_role: "member" },
  });
  expect(demoted.status).toBe(200);
  const self = await as(owner, "POST", `/v1/organization/members/${owner.id}`, { role: "admin" });
  expect((await refusal(self)).slice(0, 2)).toEqual([409, "last_owner"]);
  const leave = await as(owner, "DELETE", `/v1/organization/members/${owner.id}`);
  expect((await refusal(leave)).slice(0, 2)).toEqual([409, "last_owner"]);
  const byAdmin = await app.request("POST", `/v1/admin/users/${owner.id}`, {
    as: "otherAdmin",
    body: { organization_role: "viewer" },
  });
  expect((await refusal(byAdmin)).slice(0, 2)).toEqual([409, "last_owner"]);
  expect(await roleOf(owner)).toBe("owner");
});

test("a removed member's objects go to whoever removes them, and the member can be invited again", async () => {
  const member = await join(admin, "member-2@example.test", "member");
  const id = newId("dataset");
  await app.ctx.write((tx) =>
    tx.insert(dataset).values({ id, org: app.orgs.a, name: "theirs", createdBy: member.id, createdAt: 1 }),
  );
  expect((await as(admin, "DELETE", `/v1/organization/members/${member.id}`)).status).toBe(200);
  expect((await as(member, "GET", "/v1/me")).status).toBe(401);
  const [row] = await app.ctx.db.select().from(dataset).where(eq(dataset.id, id));
  expect(row?.createdBy).toBe(admin.id);
  const [key] = await app.ctx.db.select().from(apiKey).where(eq(apiKey.userId, member.id));
  expect(key?.revokedAt).not.toBeNull();
  const again = await join(owner, member.email, "viewer");
  expect(again.id).toBe(member.id);
  expect(await roleOf(again)).toBe("viewer");
  // The earlier key stays revoked.
  expect((await as(member, "GET", "/v1/me")).status).toBe(401);
});

test("a member leaves, and what they own goes to an owner", async () => {
  const leaver = await join(owner, "leaver@example.test", "member");
  const id = newId("dataset");
  await app.ctx.write((tx) =>
    tx.insert(dataset).values({ id, org: app.orgs.a, name: "left", createdBy: leaver.id, createdAt: 1 }),
  );
  expect((await as(leaver, "DELETE", `/v1/organization/members/${leaver.id}`)).status).toBe(200);
  const [row] = await app.ctx.db.select().from(dataset).where(eq(dataset.id, id));
  expect(row?.createdBy).toBe(owner.id);
});

test("a team limits itself within what the installation allows", async () => {
  const limits = { as: "otherAdmin" as const, body: { datasets: 10 } };
  await app.json("POST", `/v1/admin/orgs/${app.orgs.a}/limits`, limits);
  const above = await as(owner, "POST", "/v1/organization/limits", { datasets: 11 });
  expect((await refusal(above)).slice(0, 2)).toEqual([400, "limit_above_installation"]);
  const set = await as(owner, "POST", "/v1/organization/limits", { datasets: 4 });
  expect(await set.json()).toMatchObject({ datasets: { limit: 4, installation: 10 } });
  expect(await app.json("GET", "/v1/limits")).toMatchObject({ datasets: { limit: 4 } });
  await as(owner, "POST", "/v1/organization/limits", { datasets: null });
  expect(await app.json("GET", "/v1/limits")).toMatchObject({ datasets: { limit: 10 } });
});

test("the page of the team has forms for who manages it, and only the members for others", async () => {
  const page = async (who: Person) => (await as(who, "GET", "/team")).text();
  expect(await page(owner)).toContain('action="/team/limits"');
  const seen = await page(viewer);
  expect(seen).toContain(admin.email);
  expect(seen).not.toContain('action="/team/limits"');
  expect(seen).not.toContain("/remove");
});
