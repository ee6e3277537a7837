/** What a plan says about burst policies: wait, time, chance of preemption and total of each offer, and the choice. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Offer, ProviderPlugin } from "../../src/contract/provider.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { newId } from "../../src/lib/ids.ts";
import type { PlanView } from "../../src/training/plan/plan.ts";
import { decideBurst } from "../../src/training/scheduler/burst.ts";
import { trainSpec } from "../support/attempt.ts";
import { until } from "../support/live.ts";
import { MACHINE, type PlanLab, startPlanLab } from "../support/plan-lab.ts";

let p: PlanLab;
/** What the own provider offers. */
let ownOffers: Offer[] = [];
/** Seconds that the work on the own machine still takes. */
const BUSY_S = 7200;

beforeAll(async () => {
  p = await startPlanLab();
  const { ctx } = p.lab;
  const [shelf] = ctx.compute.list();
  if (!shelf) throw new Error("no provider");
  const capabilities = { ...shelf.plugin.capabilities, priced: false, local: true };
  const plugin: ProviderPlugin = { ...shelf.plugin, id: "own", title: "Own machine", kind: "process", capabilities };
  const machine = { ...MACHINE, cpus: 1, id: "local", location: "this machine", local: true, available: false };
  ownOffers = [machine];
  const own = { plugin, provider: { ...shelf.provider, offers: async () => ownOffers } };
  const entries = [own, shelf];
  ctx.compute = { list: () => entries, get: (id) => entries.find((one) => one.plugin.id === id) ?? null };
  p.offer([
    { ...MACHINE, market: "on_demand", id: "demand", location: "demand", cpus: 1, pricePerHour: 2 },
    { ...MACHINE, market: "spot", id: "spot", location: "spot", cpus: 1, pricePerHour: 1.5 },
    { ...MACHINE, market: "on_demand", id: "fast", location: "fast", cpus: 64, pricePerHour: 90 },
    { ...MACHINE, market: "on_demand", id: "gone", location: "gone", pricePerHour: 0.1, available: false },
  ]);
  const now = Date.now();
  const id = newId("trainJob");
  await ctx.write(async (tx) => {
    await tx.insert(job).values({
      id,
      org: p.lab.orgs.a,
      kind: "train",
      name: "busy",
      spec: trainSpec(),
      request: {},
      metadata: {},
      state: "running",
      attempts: 1,
      estimateLowS: BUSY_S,
      estimateHighS: BUSY_S,
      progress: {},
      createdBy: p.lab.users.admin,
      createdAt: now,
    });
    await tx.insert(attempt).values({
      id: newId("attempt"),
      org: p.lab.orgs.a,
      jobId: id,
      number: 1,
      state: "running",
      provider: "own",
      offer: machine,
      tokenHash: id,
      createdAt: now,
      startedAt: now,
    });
  });
  await until("the tokens", async () => (await p.plan()).tokens !== null, 90_000);
}, 120_000);
afterAll(() => p.lab.close());

test.each([
  [{ type: "local_only" }, "this machine", "Would wait for own machines: its burst policy is own machines only"],
  [{ type: "burst", wait_over_s: 9000 }, "this machine", "Would wait for own machines: predicted wait 2 h is within"],
  [{ type: "burst", wait_over_s: 1800 }, "spot", "Would leave for Shelf: predicted wait for own machines 2 h is over"],
  [{ type: "burst", wait_over_s: 1800, cost_under_usd: 0.000001 }, "this machine", "is not below the policy's"],
  [{ type: "cheapest" }, "this machine", "Would wait for own machines: $0 there"],
  [{ type: "fastest" }, "fast", "Would leave for Shelf: done in about"],
  [null, "spot", "Would leave for Shelf: predicted wait for own machines 2 h"],
])("a plan shows what %j would choose, and why not the others", async (burst, location, why) => {
  const plan = (await p.plan({ burst, n_epochs: 50 })) as unknown as PlanView;
  expect(plan.burst?.why).toContain(why);
  expect(plan.burst?.policy).toMatchObject(burst ?? { type: "burst", wait_over_s: 0, cost_under_usd: null });
  const offers = plan.offers ?? [];
  expect(offers.filter((one) => one.chosen).map((one) => one.location)).toEqual([location]);
  for (const one of offers) expect([one.location, one.chosen]).toEqual([one.location, one.not_chosen === null]);
  const by = new Map(offers.map((one) => [one.location, one]));
  const [own, spot, gone] = ["this machine", "spot", "gone"].map((name) => by.get(name));
  expect(own?.rented).toBe(false);
  expect(own?.predicted_wait_s).toBeGreaterThan(BUSY_S * 0.9);
  expect(own?.predicted_wait_s).toBeLessThan(BUSY_S * 1.1);
  expect(spot).toMatchObject({ predicted_wait_s: 0, rented: true });
  expect(spot?.preemption_chance).toBeGreaterThan(0);
  expect(by.get("demand")?.preemption_chance).toBe(0);
  expect(spot?.total_seconds).toBeGreaterThan(by.get("demand")?.total_seconds ?? 0);
  expect(gone).toMatchObject({ not_chosen: "no capacity at Shelf now", predicted_wait_s: null });
});

test("an own machine that is free needs no figures to be chosen", async () => {
  const none = { type: "burst", wait_over_s: 0, cost_under_usd: null } as const;
  const place = { spot: false, machine: "", seconds: 60, usd: 1, out: null };
  const own = { ...place, rented: false, title: "own", waitS: 0, usd: 0 };
  const cloud = { ...place, rented: true, title: "Cloud", waitS: 0 };
  expect(decideBurst(none, [own, cloud], "own GPUs").others.get(cloud)).toBe("an own machine is free");
});

test("equal machines in many places are one offer, and leave room for those of others", async () => {
  const demand = { ...MACHINE, market: "on_demand" } as const;
  const places = Array.from({ length: 20 }, (_, n) => ({
    ...demand,
    id: `p${n}`,
    location: `place ${n}`,
    pricePerHour: 1,
  }));
  p.offer([...places, { ...demand, id: "dear", location: "elsewhere", cpus: 64, gpuName: "big", pricePerHour: 9 }]);
  const plan = (await p.plan({ burst: { type: "local_only" }, n_epochs: 49 })) as unknown as PlanView;
  const rented = (plan.offers ?? []).filter((one) => one.rented);
  expect(rented.map(({ location, also_in: also }) => [location, also.length])).toEqual([
    ["place 0", 19],
    ["elsewhere", 0],
  ]);
});

test("the form shows the same beside each machine", async () => {
  const { data } = await p.lab.json<{ data: { id: string }[] }>("GET", "/v1/datasets");
  const form = { data: data[0]?.id ?? "", model: "tiny", burst: "burst", burst_wait: "30" };
  const page = await (await p.lab.request("POST", "/jobs/plan", { form, headers: { accept: "text/html" } })).text();
  for (const text of ["Chosen by the burst policy", "Not chosen:", "Would leave for Shelf", "Preemption"])
    expect(page).toContain(text);
});

test("own GPUs cost what the administrator says, and the policy cheapest compares offers with it", async () => {
  const { lab } = p;
  const gpus = { gpus: 1, gpuName: "NVIDIA L4", gpuMemoryMb: 24_000 };
  await p.addGpu(24_000);
  ownOffers = [{ ...MACHINE, ...gpus, id: "local", location: "this machine", local: true }];
  p.offer([{ ...MACHINE, ...gpus, market: "on_demand", id: "demand", location: "demand", pricePerHour: 2 }]);
  const set = (provider: string, cost: number | null, as: "admin" | "member" = "admin") =>
    lab.request("POST", `/v1/admin/providers/${provider}/limits`, { body: { cost_per_gpu_hour: cost }, as });
  const chosen = async (epochs: number) => {
    const plan = (await p.plan({ burst: { type: "cheapest" }, n_epochs: epochs })) as unknown as PlanView;
    const own = plan.offers?.find((one) => !one.rented);
    return [plan.offers?.find((one) => one.chosen)?.location, own?.own_cost_per_hour_usd, own?.price_per_hour_usd];
  };
  expect(await chosen(47)).toEqual(["this machine", 0, 0]);
  expect((await set("own", 3, "member")).status).toBe(403);
  expect((await set("shelf", 3)).status).toBe(400);
  expect(await (await set("own", 3)).json()).toMatchObject({ provider: "own", cost_per_gpu_hour: 3 });
  expect(await chosen(46)).toEqual(["demand", 3, 0]);
  const form = { data: "", model: "tiny", burst: "cheapest" };
  const { data } = await lab.json<{ data: { id: string }[] }>("GET", "/v1/datasets");
  const html = { form: { ...form, data: data[0]?.id ?? "" }, headers: { accept: "text/html" } };
  expect(await (await lab.request("POST", "/jobs/plan", html)).text()).toContain("own cost $3.00 per hour");
  const page = await (await lab.request("GET", "/providers", { headers: { accept: "text/html" } })).text();
  expect(page.match(/name="cost_per_gpu_hour"/g)?.length).toBe(1);
  expect((await set("own", null)).status).toBe(200);
  expect(await chosen(45)).toEqual(["this machine", 0, 0]);
});

test("administrators set the default of a team on its page, and it is in force in plans", async () => {
  const { lab } = p;
  const save = (more: Record<string, string>, as: "admin" | "member" = "admin") =>
    lab.request("POST", `/admin/teams/${lab.orgs.a}`, { as, form: { weight: "1", ...more } });
  const wrong = await save({ burst: "burst", burst_wait: "soon" });
  expect(wrong.status).toBe(422);
  expect(await wrong.text()).toContain("Must be a number");
  expect((await save({ burst: "cheapest" }, "member")).status).toBe(403);
  expect((await save({ burst: "burst", burst_wait: "0,5", burst_cost: "12.5" })).status).toBe(303);
  const plan = (await p.plan({ n_epochs: 50 })) as unknown as PlanView;
  expect(plan.burst?.policy).toEqual({ type: "burst", wait_over_s: 30, cost_under_usd: 12.5 });
  const page = await lab.request("GET", `/admin/teams/${lab.orgs.a}`, { headers: { accept: "text/html" } });
  expect(await page.text()).toContain('value="0.5"');
  expect((await save({})).status).toBe(303);
  expect(((await p.plan()) as unknown as PlanView).burst?.policy).toMatchObject({ type: "burst", wait_over_s: 0 });
});
