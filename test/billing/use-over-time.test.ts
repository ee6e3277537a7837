/** Use over time, jobs, forecast and GPUs: figures computed by hand, over HTTP. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { sql } from "drizzle-orm";
import type { ForecastView, GpuUse, JobUse, UsageSeries } from "../../src/billing/exports/model.ts";
import { gpu, host } from "../../src/db/schema/hosts.ts";
import { type As, createTestApp, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";
import { addJob, addUse, NOW, on, recordHour } from "../support/metered.ts";

let t: TestApp;

beforeAll(async () => {
  t = await createTestApp({ ctx: { clock: fakeClock(NOW) } });
  await addUse(t);
});
afterAll(() => t.close());

const series = (query: string, as: As = "admin") => t.json<UsageSeries>("GET", `/v1/usage/series?${query}`, { as });
/** Days of November with a value, by group. */
const byDay = ({ groups, start_times }: UsageSeries) =>
  Object.fromEntries(
    groups.map(({ group, values }) => [
      group,
      Object.fromEntries(
        values.flatMap((value, n) => (value ? [[new Date((start_times[n] ?? 0) * 1000).getUTCDate(), value]] : [])),
      ),
    ]),
  );
const totals = ({ groups }: UsageSeries) => Object.fromEntries(groups.map(({ group, total }) => [group, total]));

test("cost of the current month by day and member, without what providers charge and what was taken back", async () => {
  const found = await series("group_by=user");
  expect(found).toMatchObject({ from: on(1) / 1000, to: Date.UTC(2026, 11, 1) / 1000, unit: "USD", total: 11.2 });
  expect(found.start_times).toHaveLength(30);
  expect(byDay(found)).toEqual({
    [t.users.member]: { 11: 1.8, 19: 4 },
    [t.users.admin]: { 10: 3.6, 11: 1.8 },
  });
});

test.each([
  ["model", "cost", { tiny: 11.2 }],
  ["key", "cost", { null: 7.2, KEY: 4 }],
  ["kind", "cost", { train: 7.2, inference: 4 }],
  ["provider", "cost", { process: 5.4, cloud: 1.8, null: 4 }],
  ["gpu", "cost", { H100: 5.4, A10: 1.8, null: 4 }],
  ["meter", "cost", { gpu_seconds: 7.2, input_tokens: 2, output_tokens: 2 }],
  ["provider", "gpu_hours", { process: 1.5, cloud: 2 / 3 }],
  ["meter", "tokens", { input_tokens: 1_000_000, output_tokens: 500_000 }],
])("by %s, %s", async (group, measure, expected) => {
  const found = await series(`group_by=${group}&measure=${measure}`);
  expect(totals(found)).toEqual(
    Object.fromEntries(
      Object.entries(expected).map(([name, value]) => [name === "KEY" ? t.keyIds.member : name, value]),
    ),
  );
});

test("hours add up to the same as days", async () => {
  const period = `from=${on(10) / 1000}&to=${on(12) / 1000}&group_by=provider`;
  const [days, hours] = [await series(period), await series(`${period}&bucket_width=1h`)];
  expect(hours.start_times).toHaveLength(48);
  expect(totals(hours)).toEqual({ process: 5.4, cloud: 1.8 });
  expect(totals(hours)).toEqual(totals(days));
  expect(hours.groups[0]?.values.flatMap((value, n) => (value ? [[n, value]] : []))).toEqual([
    [0, 3.6],
    [24, 1.8],
  ]);
});

test("only the largest groups are listed, the others are added up; filters select", async () => {
  const found = await series("group_by=provider&limit=1");
  expect(totals(found)).toEqual({ process: 5.4 });
  expect(found.other).toMatchObject({ groups: 2, total: 5.8 });
  expect(found.other.values[10]).toBe(1.8);
  expect(await series(`group_by=gpu&user=${t.users.member}&key=`)).toMatchObject({ total: 1.8 });
  expect(await series("group_by=kind&job=ftjob-own")).toMatchObject({ total: 5.4 });
});

test("a member sees their own use, and nothing of another team is seen by anybody", async () => {
  expect(totals(await series("group_by=user", "member"))).toEqual({ [t.users.member]: 5.8 });
  expect(await series(`user=${t.users.admin}`, "member")).toMatchObject({ total: 0, groups: [] });
  expect(totals(await series("group_by=user", "other"))).toEqual({ [t.users.other]: 3.6 });
});

test.each([
  ["from=20&to=10", "'to' must be later than 'from'"],
  ["from=1&to=90000000", "at most 400 are possible"],
  [`from=${on(1) / 1000}&bucket_width=1h`, "at most 72 are possible"],
])("refuses the period %s", async (query, message) => {
  const answer = await t.request("GET", `/v1/usage/series?${query}`);
  expect(answer.status).toBe(400);
  expect((await answer.json()).error).toMatchObject({
    code: "invalid_period",
    message: expect.stringContaining(message),
  });
});

test("jobs are listed by what they used, in pages", async () => {
  type Page = { data: JobUse[]; has_more: boolean; last_id: string };
  const first = await t.json<Page>("GET", "/v1/usage/jobs?limit=1");
  expect(first).toMatchObject({ has_more: true, last_id: "ftjob-own" });
  expect(first.data[0]).toEqual({
    object: "usage.job",
    id: "ftjob-own",
    name: "job of admin",
    kind: "train",
    user: t.users.admin,
    cost_usd: 5.4,
    gpu_hours: 1.5,
    tokens: 0,
    value: 5.4,
  });
  const next = await t.json<Page>("GET", "/v1/usage/jobs?limit=1&after=ftjob-own");
  expect(next).toMatchObject({ has_more: false, data: [{ id: "ftjob-rented", cost_usd: 1.8, gpu_hours: 2 / 3 }] });
  const own = await t.json<Page>("GET", "/v1/usage/jobs?measure=gpu_hours", { as: "member" });
  expect(own.data.map(({ id, value }) => [id, value])).toEqual([["ftjob-rented", 2 / 3]]);
});

test("GPUs of own hosts: used, lost, held by another team, idle; rented ones apart", async () => {
  const seen = { createdAt: on(10), seenAt: NOW };
  await t.ctx.write(async (tx) => {
    await tx.insert(host).values({ id: "process.a", provider: "process", name: "a", cpus: 2, memoryMb: 4096, ...seen });
    for (const [position, lostAt] of [null, on(11)].entries())
      await tx.insert(gpu).values({
        uuid: `GPU-${position}`,
        hostId: "process.a",
        position,
        model: "H100",
        memoryMb: 80_000,
        lostAt,
        ...seen,
      });
  });
  const period = `from=${on(10) / 1000}&to=${on(12) / 1000}`;
  expect(await t.json<GpuUse>("GET", `/v1/usage/gpus?${period}`)).toEqual({
    object: "usage.gpus",
    from: on(10) / 1000,
    to: on(12) / 1000,
    available: 72,
    used: 1.5,
    reserved: 0.5,
    others: 1,
    idle: 69,
    rented: 2400 / 3600,
  });
  const member = await t.json<GpuUse>("GET", `/v1/usage/gpus?${period}`, { as: "member" });
  expect(member).toMatchObject({ used: 0, reserved: 0, others: 3, idle: 69, rented: 2400 / 3600 });
});

test("the forecast: so far, the mean of seven days for each day left, and endpoints that run", async () => {
  const before = await t.json<ForecastView>("GET", "/v1/usage/forecast");
  expect(before).toMatchObject({
    month: "2026-11",
    month_to_date_usd: 11.2,
    basis: { days: 7, days_left: 10.5, running_endpoints: 0, running_per_hour_usd: 0 },
  });
  // $4 on one of seven days: 4/7 a day for 10.5 days is $6; the variance is 16/7 a day, 24 in all.
  expect(before.basis.mean_per_day_usd).toBeCloseTo(4 / 7, 9);
  expect(before.forecast_usd?.expected).toBeCloseTo(17.2, 9);
  expect(before.forecast_usd?.low).toBeCloseTo(17.2 - Math.sqrt(24), 9);
  expect(before.forecast_usd?.high).toBeCloseTo(17.2 + Math.sqrt(24), 9);
  await addJob(t, "ftjob-serve", "member", { kind: "serve", state: "running" });
  for (const [day, hour] of [
    [18, 9],
    [20, 11],
  ] as const)
    await recordHour(t, on(day, hour), { jobId: "ftjob-serve", kind: "serve", userId: t.users.member });
  const after = await t.json<ForecastView>("GET", "/v1/usage/forecast");
  // Its two hours are in the cost so far; it goes on at $3.60 an hour for 252 hours, and is not in the mean.
  expect(after.basis).toMatchObject({ running_endpoints: 1, running_per_hour_usd: 3.6 });
  expect(after.basis.mean_per_day_usd).toBeCloseTo(4 / 7, 9);
  expect(after.forecast_usd?.expected).toBeCloseTo(11.2 + 7.2 + 6 + 3.6 * 252, 6);
});

test("sums by day equal the intervals, whatever was taken back", async () => {
  const [row] = await t.ctx.db.all<Record<string, number>>(
    sql`select (select sum(quantity) from usage_day) quantity, (select sum(micros) from usage_day) micros,
      (select sum(held) from usage_day) held, (select sum(overhead) from usage_day) overhead,
      (select sum(quantity) from meter_interval) of_quantity, (select sum(micros) from meter_interval) of_micros`,
  );
  expect(row?.quantity).toBe(row?.of_quantity as number);
  expect(row?.micros).toBe(row?.of_micros as number);
  expect((row?.held ?? 0) - (row?.quantity ?? 0)).toBe(1800);
  expect(row?.overhead).toBe(600);
});

test("a model whose name is erased is one in the sums by day", async () => {
  const sums = () =>
    t.ctx.db.all(sql`select day, meter, sum(quantity) quantity, sum(held) held, sum(overhead) overhead, sum(micros) micros
      from usage_day where org = ${t.orgs.a} group by 1, 2 order by 1, 2`);
  const before = await sums();
  await t.ctx.write((tx) => tx.run(sql`update meter_interval set model = 'erased' where org = ${t.orgs.a}`));
  expect(await sums()).toEqual(before);
  expect(totals(await series("group_by=model"))).toHaveProperty("erased");
  expect(await t.ctx.db.all(sql`select distinct model from usage_day where org = ${t.orgs.a}`)).toEqual([
    { model: "erased" },
  ]);
});
