/** Budgets over HTTP: who may set, see and change them, what they count, and which requests are refused. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { BudgetView } from "../../src/billing/budgets/model.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { item, recordHour, setPrices } from "../support/billing.ts";
import { fakeClock } from "../support/clock.ts";

let t: TestApp;
const clock = fakeClock(Date.UTC(2026, 10, 15, 12));

beforeAll(async () => {
  t = await createTestApp({ ctx: { clock } });
  await setPrices(t, [{ ...item, meter: "gpu_seconds", unit_micros: 2_000_000 }]);
});
afterAll(async () => {
  await t.close();
});

type As = "admin" | "member" | "other" | "otherAdmin";
const set = (as: As, body: Record<string, unknown>) =>
  t.json<BudgetView & { id: string }>("POST", "/v1/budgets", { as, body });
const seen = async (as: As) =>
  (await t.json<{ data: BudgetView[] }>("GET", "/v1/budgets?limit=100", { as })).data.map(({ scope }) => scope).sort();
async function refused(as: As, method: string, path: string, body?: unknown) {
  const answer = await t.request(method, path, { as, body });
  const { error } = (await answer.json()) as { error: { code: string; param: string | null } };
  return `${answer.status} ${error.code} ${error.param ?? ""}`.trim();
}

test("a new budget counts what its period has used, and later use counts at once", async () => {
  await recordHour(t, { source: "before" });
  await recordHour(t, { source: "last month", from: Date.UTC(2026, 9, 3), to: Date.UTC(2026, 9, 3, 1) });
  const month = await set("admin", { scope: "team", limit_usd: 10, limit_gpu_hours: 40 });
  const total = await set("admin", { scope: "team", period: "total", limit_usd: 10 });
  expect(month).toMatchObject({
    current_period: "2026-11",
    used_usd: 2,
    used_gpu_hours: 1,
    left_usd: 8,
    left_gpu_hours: 39,
    used_percent: 20,
  });
  expect(month.resets_at).toBe(Date.UTC(2026, 11, 1) / 1000);
  expect(total).toMatchObject({ current_period: "total", used_usd: 4, left_gpu_hours: null, resets_at: null });
  await recordHour(t, { source: "after" });
  expect(await t.json("GET", `/v1/budgets/${month.id}`)).toMatchObject({ used_usd: 4, used_gpu_hours: 2, left_usd: 6 });
  expect(await t.json("GET", `/v1/budgets/${month.id}`, { as: "member" })).toMatchObject({ used_usd: 4 });
});

test("bad input is refused by the field that is wrong", async () => {
  const bad: [Record<string, unknown>, string][] = [
    [{ scope: "team", limit_usd: -1 }, "400 invalid_value limit_usd"],
    [{ scope: "team", limit_usd: 0.0000001 }, "400 invalid_value limit_usd"],
    [{ scope: "team", limit_usd: 1e300 }, "400 invalid_value limit_usd"],
    [{ scope: "team", limit_gpu_hours: -0.5 }, "400 invalid_value limit_gpu_hours"],
    [{ scope: "team" }, "400 budget_without_limit limit_usd"],
    [{ scope: "team", limit_usd: null, limit_gpu_hours: null }, "400 budget_without_limit limit_usd"],
    [{ scope: "galaxy", limit_usd: 1 }, "400 invalid_type scope"],
    [{ scope: "team", period: "week", limit_usd: 1 }, "400 invalid_type period"],
    [{ scope: "team", limit: 1 }, "400 unknown_parameter limit"],
    [{ scope: "team", scope_id: "org-other", limit_usd: 1 }, "400 scope_id_unexpected scope_id"],
    [{ scope: "user", limit_usd: 1 }, "400 scope_id_missing scope_id"],
    [{ scope: "user", scope_id: t.users.other, limit_usd: 1 }, "400 user_not_found scope_id"],
    [{ scope: "key", scope_id: t.keyIds.other, limit_usd: 1 }, "400 key_not_found scope_id"],
    [{ scope: "job", scope_id: "ftjob-none", limit_usd: 1 }, "400 job_not_found scope_id"],
    [{ scope: "sweep", scope_id: "sweep_none", limit_usd: 1 }, "400 sweep_not_found scope_id"],
    [{ scope: "installation", scope_id: "org-none", limit_usd: 1 }, "400 organization_not_found scope_id"],
    [{ scope: "team", limit_usd: 5 }, "409 budget_exists scope"],
  ];
  const answers: string[] = [];
  for (const [body] of bad) answers.push(await refused("admin", "POST", "/v1/budgets", body));
  expect(answers).toEqual(bad.map(([, answer]) => answer));
});

test("people see the budgets that apply to them, and change those of their own keys downward", async () => {
  const user = await set("admin", { scope: "user", scope_id: t.users.member, limit_usd: 5 });
  await set("admin", { scope: "user", scope_id: t.users.admin, limit_usd: 5 });
  const key = await set("admin", { scope: "key", scope_id: t.keyIds.member, limit_usd: 5 });
  expect(user).toMatchObject({ used_usd: 4 });
  expect(await seen("member")).toEqual(["key", "team", "team", "user"]);
  expect(await seen("admin")).toEqual(["key", "team", "team", "user", "user"]);
  expect(await seen("other")).toEqual([]);
  expect(await refused("other", "GET", `/v1/budgets/${key.id}`)).toBe("404 budget_not_found id");
  const change = (id: string, body: unknown) => refused("member", "PATCH", `/v1/budgets/${id}`, body);
  expect(await change(key.id, { limit_usd: 6 })).toBe("403 permission_denied");
  expect(await change(key.id, { limit_usd: null, limit_gpu_hours: 1 })).toBe("403 permission_denied");
  expect(await change(user.id, { limit_usd: 1 })).toBe("403 permission_denied");
  expect(await refused("member", "DELETE", `/v1/budgets/${key.id}`)).toBe("403 permission_denied");
  expect(await refused("member", "POST", "/v1/budgets", { scope: "team", period: "total", limit_usd: 1 })).toBe(
    "403 permission_denied",
  );
  expect(await t.json("PATCH", `/v1/budgets/${key.id}`, { as: "member", body: { limit_usd: 3 } })).toMatchObject({
    limit_usd: 3,
  });
  const own = await set("member", { scope: "key", scope_id: t.keyIds.member, period: "total", limit_gpu_hours: 2 });
  expect(await t.json("PATCH", `/v1/budgets/${own.id}`, { as: "member", body: { limit_gpu_hours: 4 } })).toMatchObject({
    limit_gpu_hours: 4,
  });
  expect(await t.json("DELETE", `/v1/budgets/${own.id}`, { as: "member" })).toMatchObject({ deleted: true });
});

test("a budget of the installation binds a team and is not the team's to change", async () => {
  expect(
    await refused("other", "POST", "/v1/budgets", { scope: "installation", scope_id: t.orgs.b, limit_usd: 1 }),
  ).toBe("403 admin_only");
  const bound = await set("admin", { scope: "installation", scope_id: t.orgs.b, limit_usd: 20 });
  expect(bound).toMatchObject({ organization: t.orgs.b });
  expect(await seen("other")).toEqual(["installation"]);
  expect(await refused("other", "PATCH", `/v1/budgets/${bound.id}`, { limit_usd: 10 })).toBe("403 admin_only");
  expect(await refused("member", "GET", `/v1/budgets?organization=${t.orgs.b}`)).toBe("403 admin_only");
  const listed = await t.json<{ data: BudgetView[] }>("GET", `/v1/budgets?organization=${t.orgs.b}`);
  expect(listed.data.map(({ id }) => id)).toEqual([bound.id]);
});
