/** Usage analytics over HTTP, from known usage rows. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { inference } from "../../src/db/schema/gateway.ts";
import { percentile } from "../../src/insights/analytics/model.ts";
import { homeSummary } from "../../src/insights/analytics/service.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";
import { deployEngine } from "../support/engine.ts";
import { insertTuned, readyBase } from "../support/models.ts";

const HOUR = 3_600_000;
let t: TestApp;
let id: string;

beforeAll(async () => {
  const clock = fakeClock();
  t = await createTestApp({ ctx: { clock } });
  await readyBase(t.ctx, "tiny");
  id = (await deployEngine(t.ctx, { address: "unix:/nowhere" }, { org: t.orgs.a, model: "tiny" })).id;
  const now = clock.now();
  const row = (n: number, changes: Partial<typeof inference.$inferInsert>) => ({
    id: `req_${n}`,
    org: t.orgs.a,
    userId: t.users.member,
    keyId: t.keyIds.member,
    model: "tiny",
    deploymentId: id,
    at: now - n * 1000,
    status: 200,
    streamed: true,
    promptTokens: 10,
    completionTokens: 21,
    firstTokenMs: 100,
    totalMs: 200 + n,
    overheadMs: 0.1,
    finish: "stop",
    ...changes,
  });
  const rows = [
    ...Array.from({ length: 100 }, (_, n) => row(n + 1, {})),
    row(201, { status: 503, finish: "error", completionTokens: 0 }),
    row(202, { finish: "error" }),
    row(203, { status: 499, finish: "left" }),
    row(300, { at: now - 2 * HOUR, userId: t.users.admin, keyId: null, model: "ft:x" }),
    row(301, { at: now - 25 * HOUR }),
    row(302, { at: now - 40 * 24 * HOUR }),
    row(303, { org: t.orgs.b, userId: t.users.other, deploymentId: "dep_other", model: "secret" }),
  ];
  await t.ctx.write((tx) => tx.insert(inference).values(rows));
});
afterAll(() => t.close());

test("the last hour and day of a deployment: counts, percentiles, speed, and errors without disconnects", async () => {
  const stats = await t.json<Record<string, Record<string, unknown>>>("GET", `/v1/deployments/${id}/stats`);
  expect(stats.last_hour).toMatchObject({
    requests: 103,
    errors: 2,
    left: 1,
    prompt_tokens: 1030,
    completion_tokens: 21 * 102,
  });
  expect(stats.last_hour?.latency_ms).toMatchObject({ p50: 251, p95: 296 });
  expect(stats.last_hour?.first_token_ms).toMatchObject({ p50: 100 });
  // The median row generates 20 tokens after the first one in 151 ms.
  expect(stats.last_hour?.tokens_per_second as number).toBeCloseTo(20 / 0.151, 0);
  expect(stats.last_day).toMatchObject({ requests: 104 });
});

test("the minutes and hours add up to the totals, gaps included", async () => {
  const stats = await t.json<{ minutes: { at: number; requests: number }[]; hours: { requests: number }[] }>(
    "GET",
    `/v1/deployments/${id}/stats`,
  );
  expect([stats.minutes.length, stats.hours.length]).toEqual([60, 24]);
  const sum = (points: { requests: number }[]) => points.reduce((all, point) => all + point.requests, 0);
  expect([sum(stats.minutes), sum(stats.hours)]).toEqual([103, 104]);
  expect(stats.minutes.every((point, n) => n === 0 || point.at - (stats.minutes[n - 1]?.at ?? 0) === 60)).toBe(true);
});

test("tokens by model, key, user and day; members see only their own", async () => {
  type Usage = { data: { id: string; name: string | null; requests: number }[] };
  const usage = async (group: string, as: "admin" | "member" | "other" = "admin") =>
    (await t.json<Usage>("GET", `/v1/usage/inference?group_by=${group}`, { as })).data.map((one) => [
      one.id,
      one.name,
      one.requests,
    ]);
  expect(await usage("model")).toEqual([
    ["tiny", null, 104],
    ["ft:x", null, 1],
  ]);
  expect(await usage("user")).toEqual([
    [t.users.member, "member@example.test", 104],
    [t.users.admin, "admin@example.test", 1],
  ]);
  expect(await usage("key")).toEqual([
    [t.keyIds.member, "member key", 104],
    ["session", null, 1],
  ]);
  expect(await usage("day")).toEqual([
    ["2026-01-05", null, 104],
    ["2026-01-04", null, 1],
  ]);
  expect(await usage("model", "member")).toEqual([["tiny", null, 104]]);
  expect(await usage("model", "other")).toEqual([["secret", null, 1]]);
});

test("the requests of a deployment, newest first, by status and key; members see only their own", async () => {
  type Rows = { data: Record<string, unknown>[]; has_more: boolean; last_id: string };
  const list = (query: string, as: "admin" | "member" = "admin") =>
    t.json<Rows>("GET", `/v1/deployments/${id}/requests?${query}`, { as });
  const ids = async (query: string, as: "admin" | "member" = "admin") =>
    (await list(query, as)).data.map((row) => row.request_id);
  const first = await list("limit=2");
  expect(first.data[0]).toEqual({
    object: "deployment.request",
    id: "1",
    request_id: "req_1",
    created_at: t.ctx.clock.now() / 1000 - 1,
    model: "tiny",
    key_id: t.keyIds.member,
    key_name: "member key",
    user_id: t.users.member,
    user_email: "member@example.test",
    status: 200,
    streamed: true,
    prompt_tokens: 10,
    completion_tokens: 21,
    first_token_ms: 100,
    latency_ms: 201,
    finish_reason: "stop",
  });
  expect([first.has_more, await ids(`limit=2&after=${first.last_id}`)]).toEqual([true, ["req_3", "req_4"]]);
  expect([await ids("status=5xx"), await ids("status=499"), await ids("status=4xx")]).toEqual([
    ["req_201"],
    ["req_203"],
    ["req_203"],
  ]);
  expect([await ids("key=session"), await ids("key=session", "member")]).toEqual([["req_300"], []]);
  expect((await ids(`key=${t.keyIds.member}&limit=100&after=100`)).at(-1)).toBe("req_302");
  for (const wrong of ["status=6xx", "status=ok", "after=x", "model=tiny"])
    expect([wrong, (await t.request("GET", `/v1/deployments/${id}/requests?${wrong}`)).status]).toEqual([wrong, 400]);
  for (const [query, as] of [
    ["after=99999", "admin"],
    ["", "other"],
  ] as const)
    expect((await t.request("GET", `/v1/deployments/${id}/requests?${query}`, { as })).status).toBe(404);
});

test("the page of a deployment lists and filters its requests", async () => {
  const at = async (query: string) =>
    (await t.request("GET", `/deployments/${id}?${query}`, { headers: { accept: "text/html" } })).text();
  const all = await at("");
  expect([...all.matchAll(/id="row-req_\d+"/g)].length).toBe(10);
  expect(all).toContain('rel="next"');
  const failed = await at("status=5xx");
  expect([...failed.matchAll(/id="row-(req_\d+)"/g)].map((match) => match[1])).toEqual(["req_201"]);
  expect(failed).toContain("broken off by an error");
  expect(await at("status=404")).toContain("No request matches the filters.");
});

test("a range limits the totals; an invalid range is refused", async () => {
  const now = t.ctx.clock.now() / 1000;
  const { data } = await t.json<{ data: { requests: number }[] }>(
    "GET",
    `/v1/usage/inference?from=${now - 50}&to=${now}`,
  );
  expect(data).toMatchObject([{ requests: 50 }]);
  expect((await t.request("GET", "/v1/usage/inference?from=yesterday")).status).toBe(400);
});

test("the figures of the home page", async () => {
  await insertTuned(t.ctx, t.orgs.a);
  expect(await homeSummary(t.ctx, t.actor("admin"))).toMatchObject({
    jobs: { running: 0, queued: 0, failed_last_day: 0 },
    deployments: { ready: 1, asleep: 0, failed: 0 },
    last_day: { requests: 104, errors: 2 },
  });
});

test("percentiles of empty, single and larger samples", () => {
  expect([
    percentile([], 0.5),
    percentile([3], 0.95),
    percentile([1, 2, 3, 4], 0.5),
    percentile([1, 2, 3, 4], 1),
  ]).toEqual([null, 3, 2, 4]);
});
