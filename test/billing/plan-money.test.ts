/** Money in plans and on jobs over HTTP: ranges at the prices in force, and the prices that a job keeps. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { recordUse } from "../../src/billing/ledger/record.ts";
import type { PriceListView } from "../../src/billing/prices/model.ts";
import { meterInterval, priceList } from "../../src/db/schema/billing.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { newId } from "../../src/lib/ids.ts";
import { jobCost } from "../../src/training/jobs/cost.ts";
import { createJob } from "../../src/training/jobs/store.ts";
import { trainSpec } from "../support/attempt.ts";
import { recordHour } from "../support/billing.ts";
import { MACHINE, type PlanLab, startPlanLab } from "../support/plan-lab.ts";

const HOUR = 3_600_000;

const GPU = { ...MACHINE, gpus: 2, gpuName: "NVIDIA H100", gpuMemoryMb: 80_000 };
const item = { gpu_model: null, provider: null, model: null, unit_micros: null, cost_plus_percent: null };

let p: PlanLab;
beforeAll(async () => {
  p = await startPlanLab();
}, 60_000);
afterAll(() => p.lab.close());

/** Puts a list in force, as an announced one is after its day. */
async function setPrices(items: object[], effectiveAt: number, org: string | null = null): Promise<string> {
  const id = newId("priceList");
  const prices = { items: items.map((one) => ({ ...item, ...one })), free: [] };
  await p.lab.ctx.write((tx) =>
    tx.insert(priceList).values({ id, org, prices, effectiveAt, createdBy: "x", createdAt: effectiveAt }),
  );
  return id;
}

interface SweepPlan {
  seconds_range: [number, number];
  cost_usd: [number, number] | null;
}
const planSweep = () =>
  p.lab.json<SweepPlan>("POST", "/v1/sweeps/plan", {
    body: { training: { model: "tiny", training_file: p.fileId }, space: { seed: [1, 2, 3] } },
  });

test("everything costs 0 in plans as long as nothing has a price, whatever the provider charges", async () => {
  p.offer([{ ...MACHINE, pricePerHour: 2 }]);
  const plan = await p.plan();
  expect(plan).toMatchObject({ cost_usd: [0, 0], price_lists: [], offers: [{ cost_usd: [0, 0] }] });
  expect(plan.offers[0]?.cost_range_usd[1]).toBeGreaterThan(0);
  expect((await planSweep()).cost_usd).toEqual([0, 0]);
});

test("the plan of a job has the charge of each machine: its GPUs, cores, provider's price and tokens", async () => {
  const list = await setPrices(
    [
      { meter: "gpu_seconds", unit_micros: 3_000_000 },
      { meter: "gpu_seconds", provider: "shelf", gpu_model: "NVIDIA L4", cost_plus_percent: 50 },
      { meter: "cpu_seconds", unit_micros: 500_000 },
      { meter: "training_tokens", unit_micros: 1_000_000 },
    ],
    1000,
  );
  p.offer([{ ...MACHINE, pricePerHour: 8 }]);
  const plan = await p.plan();
  const [low, high] = plan.offers[0]?.seconds_range ?? [0, 0];
  const cores = Math.ceil(plan.spec.need.cpus);
  const tokens = (plan.tokens ?? 0) / 1e6;
  expect(tokens).toBeGreaterThan(0);
  const charge = (seconds: number) => (Math.ceil(seconds) * cores * 0.5) / 3600 + tokens;
  expect(plan.price_lists).toEqual([list]);
  expect(plan.cost_usd?.[0]).toBeCloseTo(charge(low), 5);
  expect(plan.cost_usd?.[1]).toBeCloseTo(charge(high), 5);
  expect(plan.offers[0]?.cost_usd).toEqual(plan.cost_usd);

  p.offer([GPU, { ...GPU, id: "l4", gpuName: "NVIDIA L4", pricePerHour: 4 }]);
  const onGpus = await p.plan({ gpus: 2 });
  const byName = Object.fromEntries(onGpus.offers.map((one) => [one.gpu, one]));
  const perHour = (name: string) => {
    const { seconds_range: seconds = [0, 0], cost_usd: cost } = byName[name] ?? {};
    return (((cost?.[1] ?? 0) - (onGpus.tokens ?? 0) / 1e6) * 3600) / Math.ceil(seconds[1]);
  };
  expect(perHour("NVIDIA H100")).toBeCloseTo(2 * 3, 1);
  // Its provider charges 4 for both: 2 for each, and half of it on top.
  expect(perHour("NVIDIA L4")).toBeCloseTo(2 * 3, 1);
  p.offer([{ ...GPU, gpuName: "NVIDIA L4", pricePerHour: 8 }]);
  const dearer = (await p.plan({ gpus: 2 })).offers[0];
  expect(((dearer?.cost_usd?.[1] ?? 0) - (onGpus.tokens ?? 0) / 1e6) / (dearer?.seconds_range[1] ?? 1)).toBeCloseTo(
    12 / 3600,
    4,
  );
});

test("the plan of a sweep is that of all of its trials", async () => {
  p.offer([MACHINE]);
  const one = await p.plan();
  const sweep = await planSweep();
  expect(sweep.cost_usd?.[0]).toBeCloseTo(3 * (one.cost_usd?.[0] ?? 0), 2);
  expect(sweep.cost_usd?.[1]).toBeCloseTo(3 * (one.cost_usd?.[1] ?? 0), 2);
});

test("the plan of an endpoint has its price by the hour and by million tokens", async () => {
  const plan = (model: string) => p.lab.request("POST", "/v1/deployments/plan", { body: { model } });
  const [list] = (await p.plan()).price_lists;
  p.offer([MACHINE]);
  expect(await (await plan("tiny")).json()).toEqual({
    object: "deployment.plan",
    model: "tiny",
    per_hour_usd: [0.5, 0.5],
    per_million_input_tokens_usd: 0,
    per_million_output_tokens_usd: 0,
    price_lists: [list],
  });
  const own = await setPrices(
    [
      { meter: "endpoint_seconds", model: "tiny", unit_micros: 250_000 },
      { meter: "input_tokens", unit_micros: 150_000 },
      { meter: "output_tokens", unit_micros: 600_000 },
    ],
    1500,
    p.lab.orgs.a,
  );
  expect(await (await plan("tiny")).json()).toMatchObject({
    per_hour_usd: [0.75, 0.75],
    per_million_input_tokens_usd: 0.15,
    per_million_output_tokens_usd: 0.6,
    price_lists: [own, list],
  });
  p.offer([]);
  expect(await (await plan("tiny")).json()).toMatchObject({ per_hour_usd: null });
  expect((await plan("no-model")).status).toBe(404);
});

test("the plan of an evaluation has its cost once one of the same base model has finished", async () => {
  p.offer([MACHINE]);
  const body = { model: "tiny", dataset: p.fileId, split: "all", max_rows: 10 };
  const plan = () => p.lab.json("POST", "/v1/evaluations/plan", { body });
  const unknown = { seconds_range: null, cost_usd: null };
  expect(await plan()).toMatchObject({ object: "evaluation.plan", rows: 10, per_hour_usd: [0.5, 0.5], ...unknown });
  const { job_id } = await p.lab.json<{ job_id: string }>("POST", "/v1/evaluations", { body });
  const ended = { state: "succeeded" as const, startedAt: 1_000_000, finishedAt: 1_000_000 + 2 * HOUR };
  await p.lab.ctx.write((tx) => tx.update(job).set(ended).where(eq(job.id, job_id)));
  // Two hours for ten rows, at half a dollar for an hour.
  expect(await plan()).toMatchObject({ seconds_range: [0.6 * 7200, 1.8 * 7200], cost_usd: [0.6, 1.8] });
  const page = await p.lab.request("GET", `/evaluations/new?model=tiny&dataset=${p.fileId}&split=all&max_rows=10`, {
    headers: { accept: "text/html" },
  });
  expect((await page.text()).replace(/<[^>]+>/g, "")).toContain("Cost for 10 rows: $0.60 to $1.80, $0.50 per hour");
});

interface Job {
  id: string;
  cost: { so_far_usd: number; per_hour_usd: number | null; at_end_usd: [number, number] | null; price_lists: string[] };
}

test("a job keeps the prices that it was created with, and shows its cost while it runs, and to its end", async () => {
  const own = await setPrices([{ meter: "cpu_seconds", unit_micros: 3_600_000 }], 2000, p.lab.orgs.a);
  const { id } = await p.lab.json<Job>("POST", "/v1/jobs", {
    body: { kind: "train", model: "tiny", training_file: p.fileId },
  });
  const read = async () => (await p.lab.json<Job>("GET", `/v1/jobs/${id}`)).cost;
  const { list } = await p.lab.json<{ list: PriceListView }>("GET", "/v1/prices");
  expect(await read()).toEqual({ so_far_usd: 0, per_hour_usd: null, at_end_usd: null, price_lists: [own, list.id] });

  const now = Date.now();
  const hour = Math.floor(now / HOUR) * HOUR;
  const attemptId = newId("attempt");
  const progress = { step: 10, total_steps: 20, eta_s: 3600, tokens_seen: 1_000_000, phase: "training" };
  const [row] = await p.lab.ctx.db.select().from(job).where(eq(job.id, id));
  const cores = Math.ceil(row?.spec.need.cpus ?? 0);
  await p.lab.ctx.write(async (tx) => {
    await tx.update(job).set({ state: "running", progress, progressAt: now }).where(eq(job.id, id));
    await tx.insert(attempt).values({
      id: attemptId,
      org: p.lab.orgs.a,
      jobId: id,
      number: 1,
      state: "running",
      provider: "shelf",
      offer: MACHINE,
      tokenHash: id,
      createdAt: hour,
      startedAt: hour - HOUR,
    });
  });
  const record = (source: string, from: number, to: number, quantity: number, more: object = {}) =>
    p.lab.ctx.write((tx) =>
      recordUse(tx, to, {
        source: `${attemptId} ${source}`,
        org: p.lab.orgs.a,
        userId: p.lab.users.admin,
        keyId: null,
        kind: "train",
        meter: "cpu_seconds",
        jobId: id,
        attemptId,
        deploymentId: null,
        sweepId: null,
        model: "tiny",
        provider: "shelf",
        gpuModel: null,
        from,
        to,
        quantity,
        free: null,
        costMicros: null,
        ...more,
      }),
    );
  // Start-up is free, and nothing of it runs up before it ends.
  await record("start", hour - HOUR, hour - HOUR + 1000, cores, { free: "start_up" });
  expect((await read()).so_far_usd).toBeCloseTo(1, 2);

  // A list of everybody and one of the team that came later change nothing.
  await setPrices([{ meter: "cpu_seconds", unit_micros: 1 }], now - 1, p.lab.orgs.a);
  await setPrices([{ meter: "training_tokens", unit_micros: 1 }], now - 1);
  await record("work", hour - HOUR + 1000, hour, 3599 * cores);
  await record("tokens", hour - HOUR + 1000, hour, 1_000_000, { meter: "training_tokens" });
  const running = (Date.now() - hour) / 1000;
  const cost = await read();
  const soFar = 1 + ((3599 + running) * cores * 3.6) / 3600;
  expect(cost.price_lists).toEqual([own, list.id]);
  expect(Math.abs(cost.so_far_usd - soFar)).toBeLessThan(0.02 * cores);
  expect(cost.per_hour_usd).toBeCloseTo(3.6 * cores, 5);
  // Half of the tokens and an hour are left.
  const [least, most] = cost.at_end_usd ?? [0, 0];
  expect(Math.abs(least - (soFar + 0.9 * 3.6 * cores + 1))).toBeLessThan(0.05 * cores);
  expect(Math.abs(most - (soFar + 1.3 * 3.6 * cores + 1))).toBeLessThan(0.05 * cores);

  await p.lab.ctx.write((tx) => tx.update(attempt).set({ state: "ended" }).where(eq(attempt.id, attemptId)));
  expect(await read()).toMatchObject({ per_hour_usd: null, at_end_usd: null });
  expect((await read()).so_far_usd).toBeCloseTo(1 + (3599 * cores * 3.6) / 3600, 5);
  const rows = await p.lab.ctx.db.select().from(meterInterval).where(eq(meterInterval.jobId, id));
  expect(rows.map((one) => one.priceListId)).toEqual([own, own, list.id]);
});

test("an endpoint follows the prices of the time, and a job those that it was created with", async () => {
  const { orgs, users, ctx } = p.lab;
  const first = await setPrices([{ meter: "gpu_seconds", unit_micros: 1_000_000 }], 3000, orgs.b);
  const make = (kind: "serve" | "train") =>
    createJob(ctx, p.lab.actor("other"), { kind, name: kind, spec: { ...trainSpec(), kind: "train" }, request: {} });
  const [endpoint, training] = [await make("serve"), await make("train")];
  const raised = Date.now() + 1;
  const second = await setPrices([{ meter: "gpu_seconds", unit_micros: 2_000_000 }], raised, orgs.b);
  for (const { id, kind } of [endpoint, training])
    for (const from of [raised - HOUR, raised])
      await recordHour(p.lab, {
        source: `${id} ${from}`,
        org: orgs.b,
        userId: users.other,
        kind: kind === "serve" ? "serve" : "train",
        jobId: id,
        from,
        to: from + HOUR,
      });
  const charged = async (id: string) =>
    (await ctx.db.select().from(meterInterval).where(eq(meterInterval.jobId, id))).map(({ micros }) => micros);
  expect(await charged(endpoint.id)).toEqual([1_000_000, 2_000_000]);
  expect(await charged(training.id)).toEqual([1_000_000, 1_000_000]);
  expect((await jobCost(ctx, endpoint)).price_lists[0]).toBe(second);
  expect((await jobCost(ctx, training)).price_lists[0]).toBe(first);
});

test("plans of jobs and sweeps have the maximum cost, and warn when the estimate is above it", async () => {
  await setPrices([{ meter: "cpu_seconds", unit_micros: 500_000_000 }], Date.now(), p.lab.orgs.a);
  p.offer([MACHINE]);
  const { cost_usd: cost } = await p.plan();
  const [low, high] = [cost?.[0] ?? 0, cost?.[1] ?? 0];
  const warningsAt = async (max: number) => {
    const plan = await p.plan({ max_cost_usd: max });
    expect(plan.max_cost_usd).toBe(max);
    return plan.warnings.filter((one) => one.includes("maximum"));
  };
  const round = (usd: number) => Math.round(usd * 1e6) / 1e6;
  expect(await warningsAt(round(high * 2))).toEqual([]);
  expect(await warningsAt(round((low + high) / 2))).toEqual([
    expect.stringMatching(/^It may cost more than its maximum/),
  ]);
  expect(await warningsAt(round(low / 2))).toEqual([expect.stringMatching(/^It costs more than its maximum of \$/)]);
  expect((await p.plan()).max_cost_usd).toBeNull();
  const page = async (path: string, form: Record<string, string>) =>
    (await (await p.lab.request("POST", path, { form, headers: { accept: "text/html" } })).text()).replace(
      /<[^>]+>/g,
      " ",
    );
  const training = JSON.stringify({ model: "tiny", training_file: p.fileId });
  const sweep = { training, strategy: "grid", field_0: "seed", values_0: "1, 2", parallel: "2" };
  expect(await page("/sweeps/plan", { ...sweep, max_cost_usd: "0,000001" })).toContain(
    "The trials may cost more than $",
  );
  const enough = await page("/sweeps/plan", { ...sweep, max_cost_usd: "1000" });
  expect(enough).not.toContain("may cost more");
  expect(enough).toMatch(/Maximum cost\s+\$1,000/);
  expect(await page("/sweeps/plan", { ...sweep, max_cost_usd: "cheap" })).toContain("The field must be a number");
  const made = await p.lab.request("POST", "/sweeps", { form: { ...sweep, max_cost_usd: "3.5" } });
  expect(made.status).toBe(303);
  const budgets = await p.lab.json<{ data: { limit_usd: number; period: string }[] }>("GET", "/v1/budgets?scope=sweep");
  expect(budgets.data).toMatchObject([{ limit_usd: 3.5, period: "total" }]);
});
