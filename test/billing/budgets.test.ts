/** Budgets over HTTP: who may set, see and change them, what they count, and which requests are refused. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { BudgetView } from "../../src/billing/budgets/model.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { item, recordHour, setPrices } from "../support/billing.ts";
import { fakeClock } from "../support/clock.ts";
import { chatLines } from "../support/datasets.ts";
import { readyBase } from "../support/models.ts";

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

test("a maximum cost is set with the job or later, by its owner, and a sweep has a total budget", async () => {
  await readyBase(t.ctx);
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", new File([`${chatLines(20).join("\n")}\n`], "rows.jsonl"));
  const { id: file } = await t.json<{ id: string }>("POST", "/v1/files", { raw: form });
  const training = { model: "tiny", training_file: file, max_steps: 5 };
  const job = (body: unknown, as: As = "member") => t.json<{ id: string }>("POST", "/v1/jobs", { as, body });
  const max = async (id: string) => (await t.json("GET", `/v1/jobs/${id}`)).max_cost_usd;
  const [plain, limited] = [await job(training), await job({ ...training, max_cost_usd: 2.5, seed: 2 })];
  const openai = await t.json<{ id: string }>("POST", "/v1/fine_tuning/jobs", {
    body: { model: "tiny", training_file: file, ftl: { max_cost_usd: 4 } },
  });
  expect([await max(plain.id), await max(limited.id), await max(openai.id)]).toEqual([null, 2.5, 4]);
  const patch = (as: As, value: unknown) => refused(as, "PATCH", `/v1/jobs/${openai.id}`, { max_cost_usd: value });
  expect(await patch("member", 9)).toBe("403 permission_denied");
  expect([await patch("admin", -1), await patch("admin", 0), await patch("admin", 0.0000001)]).toEqual(
    Array.from({ length: 3 }, () => "400 invalid_value max_cost_usd"),
  );
  await t.json("PATCH", `/v1/jobs/${openai.id}`, { body: { max_cost_usd: 6 } });
  const edit = { limit: "yes", max_cost_usd: "7,5" };
  expect((await t.request("POST", `/jobs/${limited.id}/edit`, { form: edit })).status).toBe(303);
  expect([await max(openai.id), await max(limited.id)]).toEqual([6, 7.5]);
  await t.json("PATCH", `/v1/jobs/${openai.id}`, { body: { max_cost_usd: null } });
  expect(await max(openai.id)).toBeNull();
  expect(await (await t.request("GET", `/jobs/${limited.id}`)).text()).toContain("$0 of $7.50");

  const sweep = await t.json<{ id: string }>("POST", "/v1/sweeps", {
    as: "member",
    body: { training, space: { seed: [1, 2] }, max_cost_usd: 3 },
  });
  const { data } = await t.json<{ data: BudgetView[] }>("GET", `/v1/budgets?scope=sweep&scope_id=${sweep.id}`);
  expect(data).toMatchObject([{ period: "total", limit_usd: 3, used_usd: 0, created_by: t.users.member }]);
});

test("the page sets, changes and deletes budgets, and shows a refused form with its reason", async () => {
  const page = async (as: As) => (await t.request("GET", "/usage/budgets", { as })).text();
  const post = (path: string, form: Record<string, string>, as: As = "admin") => t.request("POST", path, { as, form });
  const target = `key ${t.keyIds.admin}`;
  const wrong = await post("/usage/budgets", { target, period: "month", limit_usd: "-3", limit_gpu_hours: "" });
  expect(wrong.status).toBe(422);
  expect(await wrong.text()).toContain("The limit in USD must not be negative.");
  const none = await post("/usage/budgets", { target, period: "month", limit_usd: "", limit_gpu_hours: "" });
  expect(await none.text()).toContain("Set limit_usd, limit_gpu_hours, or both.");
  expect((await post("/usage/budgets", { target, period: "month", limit_usd: "2,5" })).status).toBe(303);
  expect(await page("admin")).toContain("$0 of $2.50");
  const [row] = (await t.json<{ data: BudgetView[] }>("GET", `/v1/budgets?scope_id=${t.keyIds.admin}`)).data;
  expect((await post(`/usage/budgets/${row?.id}`, { limit_usd: "4", limit_gpu_hours: "2" })).status).toBe(303);
  expect(await page("admin")).toContain("0 GPU-hours of 2 GPU-hours");
  expect((await post(`/usage/budgets/${row?.id}`, { limit_usd: "1" }, "member")).status).toBe(404);
  expect((await post(`/usage/budgets/${row?.id}/delete`, {})).status).toBe(303);
  expect(await page("admin")).not.toContain("$0 of $4.00");
  expect(await page("member")).not.toContain("The whole team, set by the installation");
  expect(await page("other")).toContain("The whole team, set by the installation");
});
