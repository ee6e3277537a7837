/** The audit log of an organization: what its owners and administrators read of it, and what they never see. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { createKey } from "../../src/accounts/api-keys/service.ts";
import { INSTALLATION_ACTIONS, TEAM_ACTIONS } from "../../src/accounts/audit/team.ts";
import { createUser } from "../../src/accounts/auth/service.ts";
import { systemActor } from "../../src/ctx.ts";
import { TEAM_ROLES, type TeamRole } from "../../src/roles.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";

interface Row {
  id: string;
  action: string;
  actor: string;
  actor_email: string | null;
  target: string;
}
interface List {
  data: Row[];
  has_more: boolean;
  last_id: string;
}

let app: TestApp;
const keys = {} as Record<TeamRole, string>;
const ids = {} as Record<TeamRole, string>;
const ask = (path: string, role: TeamRole = "owner") =>
  app.request("GET", path, {
    as: "anonymous",
    headers: { authorization: `Bearer ${keys[role]}`, accept: "text/html" },
  });
const list = async (query = "", role: TeamRole = "owner") =>
  (await (await ask(`/v1/organization/audit${query}`, role)).json()) as List;

beforeAll(async () => {
  app = await createTestApp();
  for (const teamRole of TEAM_ROLES) {
    const input = { email: `team-${teamRole}@example.test`, password: PASSWORD, teamRole, org: app.orgs.b };
    ids[teamRole] = (await createUser(app.ctx, systemActor(), input)).id;
    const scope = { name: teamRole, userId: ids[teamRole] };
    keys[teamRole] = (await createKey(app.ctx, systemActor(), scope)).key;
  }
  // The team's own work.
  await app.json("POST", "/v1/keys", { as: "other", body: { name: "of a member" } });
  const headers = { authorization: `Bearer ${keys.owner}` };
  await app.json("POST", "/v1/organization", { as: "anonymous", headers, body: { name: "Beta team" } });
  const member = `/v1/organization/members/${ids.viewer}`;
  await app.json("POST", member, { as: "anonymous", headers, body: { role: "billing" } });
  await app.json("POST", member, { as: "anonymous", headers, body: { role: "viewer" } });
  // What an administrator of the installation does who is in the same organization, and what others do elsewhere.
  await app.json("POST", "/v1/admin/orgs", { as: "otherAdmin", body: { name: "Gamma" } });
  await app.json("POST", `/v1/admin/users/${app.users.member}`, { as: "otherAdmin", body: { disabled: true } });
  await app.json("POST", "/v1/admin/incidents", { as: "otherAdmin", body: { title: "a", text: "b" } });
  await app.json("POST", `/v1/admin/orgs/${app.orgs.a}`, { as: "otherAdmin", body: { name: "Alpha renamed" } });
  await app.json("POST", "/v1/keys", { body: { name: "of another team" } });
  await app.request("POST", "/login", { as: "anonymous", form: { email: "nobody@example.test", password: "wrong" } });
});
afterAll(() => app.close());

test("an owner reads the entries of the own organization, and nothing of others or of the installation", async () => {
  const { data } = await list("?limit=100");
  expect(data.map(({ action }) => action)).toContain("key.create");
  expect(data.filter(({ action }) => action === "member.role").map(({ target }) => target)).toEqual([
    ids.viewer,
    ids.viewer,
  ]);
  expect(data.find(({ action }) => action === "organization.rename")).toMatchObject({
    target: app.orgs.b,
    actor_email: "team-owner@example.test",
  });
  const text = JSON.stringify(data);
  for (const foreign of [app.orgs.a, app.users.admin, app.users.member, "Gamma", "Alpha", "nobody@example.test"])
    expect(text).not.toContain(foreign);
  expect(data.filter(({ action }) => /^(incident|organization\.create|session\.fail|setup)/.test(action))).toEqual([]);
  // The administrator of the installation sees these.
  const all = await app.json<List>("GET", "/v1/admin/audit?limit=100", { as: "otherAdmin" });
  expect(all.data.map(({ action }) => action)).toEqual(
    expect.arrayContaining(["incident.open", "organization.create"]),
  );
});

test("filters, pages and the export have the same entries", async () => {
  const every = (await list("?limit=100")).data;
  const ofOwner = (await list("?actor=team-owner@example.test&limit=100")).data;
  expect(ofOwner.map(({ action }) => action)).toEqual(["member.role", "member.role", "organization.rename"]);
  expect((await list(`?action=member.&target=${ids.viewer}`)).data).toHaveLength(2);
  const today = new Date().toISOString().slice(0, 10);
  expect((await list(`?from=${today}&until=${today}&limit=100`)).data).toEqual(every);
  expect((await list("?from=2099-01-01")).data).toEqual([]);
  const first = await list("?limit=2");
  expect(first.has_more).toBe(true);
  const rest = await list(`?limit=100&after=${first.last_id}`);
  expect([...first.data, ...rest.data]).toEqual(every);
  const exported = await (await ask("/v1/organization/audit/export?format=jsonl")).text();
  expect(
    exported
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line)),
  ).toEqual(every);
  const csv = await (await ask("/v1/organization/audit/export?action=member.&format=csv")).text();
  expect(csv.trim().split("\r\n")).toHaveLength(3);
  // An entry of the installation is no cursor either.
  const all = await app.json<List>("GET", "/v1/admin/audit?action=incident.open", { as: "otherAdmin" });
  expect((await ask(`/v1/organization/audit?after=${all.data[0]?.id}`)).status).toBe(404);
});

test("owners and administrators read it, other roles and narrow keys do not", async () => {
  for (const role of TEAM_ROLES) {
    const expected = role === "owner" || role === "admin" ? 200 : 403;
    for (const path of ["/v1/organization/audit", "/v1/organization/audit/export", "/team/audit"])
      expect([role, path, (await ask(path, role)).status]).toEqual([role, path, expected]);
  }
  const narrow = await createKey(app.ctx, systemActor(), { name: "read", userId: ids.owner, scopes: ["read"] });
  const headers = { authorization: `Bearer ${narrow.key}` };
  const answer = await app.request("GET", "/v1/organization/audit", { as: "anonymous", headers });
  expect(((await answer.json()) as { error: { code: string } }).error.code).toBe("insufficient_scope");
});

test("the page lists them without links that the viewer may not open", async () => {
  const page = await (await ask("/team/audit")).text();
  expect(page).toContain("organization.rename");
  expect(page).toContain("/v1/organization/audit/export?format=jsonl");
  expect(page).not.toContain("/admin/");
  expect(await (await ask("/team")).text()).toContain('href="/team/audit"');
  expect((await ask("/team/audit?from=yesterday")).status).toBe(422);
});

test("every action in the code belongs either to organizations or to the installation", async () => {
  const known = new Set<string>([...TEAM_ACTIONS, ...INSTALLATION_ACTIONS]);
  const found = new Set<string>();
  const root = join(import.meta.dir, "../../src");
  for await (const path of new Bun.Glob("**/*.ts").scan(root)) {
    const text = await Bun.file(join(root, path)).text();
    for (const call of text.matchAll(/\baudit\(\s*\w+,\s*ctx,\s*[^;]*?["`]([a-z_]+)\.[a-z_.$]/g))
      found.add(call[1] ?? "");
  }
  expect(found.size).toBeGreaterThan(25);
  expect([...found].filter((noun) => !known.has(noun))).toEqual([]);
});
