/** Owners and administrators of a team set its burst policy themselves, unless the installation's keep it. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { desc, eq } from "drizzle-orm";
import { createKey } from "../../src/accounts/api-keys/service.ts";
import { createUser } from "../../src/accounts/auth/service.ts";
import { systemActor } from "../../src/ctx.ts";
import { auditLog } from "../../src/db/schema/audit.ts";
import { TEAM_ROLES, type TeamRole } from "../../src/roles.ts";
import type { TeamBurst } from "../../src/training/queue/model.ts";
import { createTestApp, PASSWORD, type TestApp } from "../support/app.ts";

let t: TestApp;
const ids = {} as Record<TeamRole, string>;
const keys = {} as Record<TeamRole, string>;
const PATH = "/v1/organization/burst";
const RENT = { type: "burst", wait_over_s: 1800, cost_under_usd: 20 };

beforeAll(async () => {
  t = await createTestApp();
  for (const teamRole of TEAM_ROLES) {
    const input = { email: `burst-${teamRole}@example.test`, password: PASSWORD, teamRole, org: t.orgs.a };
    ids[teamRole] = (await createUser(t.ctx, systemActor(), input)).id;
    keys[teamRole] = (await createKey(t.ctx, systemActor(), { name: teamRole, userId: ids[teamRole] })).key;
  }
});
afterAll(() => t.close());

/** As somebody of the team, or as an administrator of the installation in it. */
const ask = (as: TeamRole | "installation", method: "GET" | "POST", path: string, given: object = {}) =>
  as === "installation"
    ? t.request(method, path, { ...given, as: "admin" })
    : t.request(method, path, {
        ...given,
        as: "anonymous",
        headers: { authorization: `Bearer ${keys[as]}`, accept: path.startsWith("/v1/") ? "*/*" : "text/html" },
      });
const set = (body: object, as: TeamRole | "installation" = "owner") => ask(as, "POST", PATH, { body });
const read = async (as: TeamRole = "owner") => (await (await ask(as, "GET", PATH)).json()) as TeamBurst;
const lock = (burst_locked: boolean) =>
  t.request("POST", `/v1/admin/teams/${t.orgs.a}`, { body: { burst_locked }, as: "admin" });

test.each(["member", "viewer", "billing"] as const)("a %s of the team neither reads nor sets it", async (one) => {
  expect((await ask(one, "GET", PATH)).status).toBe(403);
  expect((await set({ burst: RENT }, one)).status).toBe(403);
});

test.each(["owner", "admin"] as const)("an %s of the team sets it, and it is audited", async (one) => {
  const answer = await set({ burst: RENT }, one);
  expect([answer.status, ((await answer.json()) as TeamBurst).burst as unknown]).toEqual([200, RENT]);
  expect(await read()).toMatchObject({ burst: RENT, locked: false, installation: { type: "burst", wait_over_s: 0 } });
  const [entry] = await t.ctx.db
    .select()
    .from(auditLog)
    .where(eq(auditLog.action, "team.burst"))
    .orderBy(desc(auditLog.seq))
    .limit(1);
  expect(entry).toMatchObject({ target: t.orgs.a, actor: ids[one], detail: { burst: RENT } });
  expect((await set({ burst: null })).status).toBe(200);
  expect((await read()).burst).toBe(null);
});

test("wrong policies are refused by name", async () => {
  for (const [body, param] of [
    [{}, "burst"],
    [{ burst: "cheapest" }, "burst"],
    [{ burst: { type: "burst", wait_over_s: -1 } }, "burst.wait_over_s"],
    [{ burst: null, other: 1 }, "other"],
  ] as const) {
    const answer = await set(body);
    expect(answer.status).toBe(400);
    expect(((await answer.json()) as { error: { param: string } }).error.param).toStartWith(param);
  }
});

test("administrators of the installation can keep it from the team, and may change it themselves", async () => {
  expect((await set({ burst: RENT })).status).toBe(200);
  expect((await lock(true)).status).toBe(200);
  const refused = await set({ burst: { type: "fastest" } });
  expect([refused.status, ((await refused.json()) as { error: { code: string } }).error.code]).toEqual([
    403,
    "burst_locked",
  ]);
  expect(await read()).toMatchObject({ burst: RENT, locked: true });
  expect((await set({ burst: { type: "local_only" } }, "installation")).status).toBe(200);
  const page = await ask("owner", "GET", "/team");
  const text = await page.text();
  expect(text).toContain("An administrator of the installation set it for this team");
  expect(text).not.toContain('action="/team/burst"');
  expect((await lock(false)).status).toBe(200);
});

test("the page of the team has the same form, and shows what is wrong", async () => {
  const save = (form: Record<string, string>) => ask("owner", "POST", "/team/burst", { form });
  const wrong = await save({ burst: "burst", burst_wait: "soon" });
  expect([wrong.status, (await wrong.text()).includes("Must be a number")]).toEqual([422, true]);
  expect((await save({ burst: "burst", burst_wait: "30", burst_cost: "20" })).status).toBe(303);
  expect((await read()).burst as unknown).toEqual(RENT);
  const page = await ask("owner", "GET", "/team");
  expect(await page.text()).toContain('action="/team/burst"');
});
