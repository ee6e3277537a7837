/** Rented machines: limits, the next offer, refusals shown to people, machines taken back, the stop switch, orphans. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { changeLimits, resumeProvider, stopProvider } from "../../src/compute/limits/service.ts";
import { meterInterval } from "../../src/db/schema/billing.ts";
import { providerError, providerOrphan } from "../../src/db/schema/hosts.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { noticeEvent } from "../../src/db/schema/notices.ts";
import { closedProviders, openProviders } from "../../src/training/attempts/closed.ts";
import { TAKEN_BACK } from "../../src/training/jobs/preemptions.ts";
import { createLab, type Lab } from "../support/lab.ts";
import { until } from "../support/live.ts";
import { addCloud, type Cloud, rented } from "../support/rented-cloud.ts";

let lab: Lab;
let cloud: Cloud;
beforeAll(async () => {
  lab = await createLab({
    sweepMs: 100,
    orphanGraceMs: 200,
    config: { trainer_url: "https://127.0.0.1:9", trainer_probe: false },
  });
  await lab.goAway();
  cloud = addCloud(lab);
  lab.comeBack();
}, 60_000);
afterAll(() => lab.close(), 60_000);

const NONE = { regions: [], machine_types: [], max_price_per_hour: null, max_machines: null, month_usd: null };
const limit = (change: Partial<Parameters<typeof changeLimits>[3]>) =>
  changeLimits(lab.ctx, lab.actor("admin"), "cloud", { ...NONE, ...change });
afterEach(async () => {
  Object.assign(cloud, { offers: [rented("a")], down: null, status: {}, stray: [] });
  cloud.faults.clear();
  cloud.asked.launches.length = 0;
  await limit({});
});

const rent = (suffix: string, more: Record<string, unknown> = {}) =>
  lab.train(suffix, { gpus: 1, provider: "cloud", ...more });
const waiting = async (id: string) => (await lab.job(id)).progress.waiting ?? "";
const waits = (id: string, text: string) =>
  until(`"${text}"`, async () => (await waiting(id)).includes(text), 30_000, 20);
/** Lets a job try again at once. */
const hurry = (id: string) => {
  openProviders(lab.ctx);
  return lab.ctx.write((tx) => tx.update(job).set({ notBefore: 0 }).where(eq(job.id, id)));
};
const cancel = async (id: string) => {
  await lab.request("POST", `/v1/jobs/${id}/cancel`);
  await lab.reached(id, "cancelled").catch(() => null);
};
const atStep = (id: string, n: number) =>
  until(`step ${n}`, async () => ((await lab.job(id)).progress.step ?? 0) >= n, 45_000, 10);

describe("an offer without capacity", () => {
  test("is followed by the next ones in the same pass and the same attempt", async () => {
    cloud.offers = [rented("a"), rented("b", { pricePerHour: 2 }), rented("c", { pricePerHour: 3 })];
    for (const id of ["a", "b"]) cloud.faults.set(id, { kind: "no_capacity", code: "InsufficientInstanceCapacity" });
    const id = await rent("next");
    await lab.reached(id, "succeeded");
    expect(cloud.asked.launches).toEqual(["a", "b", "c"]);
    const [only, ...more] = await lab.attempts(id);
    expect(more).toEqual([]);
    expect(only).toMatchObject({ number: 1, outcome: "succeeded", offer: { id: "c" } });
  }, 60_000);

  test("of all offers leaves the job in the queue, and none of its attempts count", async () => {
    cloud.faults.set("a", { kind: "no_capacity", code: "SoldOut" });
    const id = await rent("none", { max_attempts: 1 });
    await waits(id, "SoldOut");
    expect(await lab.attempts(id)).toMatchObject([{ outcome: "no_capacity", state: "ended" }]);
    const closed = closedProviders(lab.ctx).get(id)?.get("cloud") ?? 0;
    expect(closed - Date.now()).toBeGreaterThan(5000);
    cloud.faults.clear();
    await hurry(id);
    await lab.reached(id, "succeeded");
  }, 60_000);
});

test("a refused quota is shown, and the provider is not asked again until a test of it passes", async () => {
  cloud.offers = [rented("a"), rented("b")];
  for (const id of ["a", "b"]) cloud.faults.set(id, { kind: "quota", code: "VcpuLimitExceeded" });
  const id = await rent("quota");
  await waits(id, "VcpuLimitExceeded");
  expect(cloud.asked.launches).toEqual(["a"]);
  const { offers } = cloud.asked;
  await hurry(id);
  await waits(id, "An administrator has to see to it");
  expect(cloud.asked.offers).toBe(offers);
  const notices = await lab.ctx.db.select().from(noticeEvent).where(eq(noticeEvent.type, "provider.refused"));
  expect(notices.length).toBeGreaterThan(0);
  expect(notices[0]?.body).toContain("VcpuLimitExceeded");
  const errors = await lab.ctx.db.select().from(providerError).where(eq(providerError.kind, "quota"));
  expect(errors).toMatchObject([{ provider: "cloud", request: "launch", vendorCode: "VcpuLimitExceeded" }]);
  cloud.faults.clear();
  const result = await lab.json("POST", "/v1/admin/providers/cloud/test");
  expect(result).toMatchObject({ ok: true, account: { balance_usd: 12.5, regions: ["r-a"] } });
  await lab.reached(id, "succeeded");
}, 60_000);

describe("the limits of a provider", () => {
  test.each([
    ["price per hour", { max_price_per_hour: 0.5 }, "more than the provider's limit of $0.50"],
    ["regions", { regions: ["elsewhere"] }, "r-a is not an allowed region of Cloud"],
    ["machine types", { machine_types: ["gpu.large"] }, "gpu.small is not an allowed machine type of Cloud"],
    ["machines", { max_machines: 0 }, "Cloud runs 0 of 0 machines"],
    ["month", { month_usd: 0.2 }, "are left this month"],
  ] as const)("hold a job back, with the reason: %s", async (_what, change, text) => {
    await limit(change as never);
    const id = await rent("limited");
    await waits(id, text);
    expect(cloud.asked.launches).toEqual([]);
    await cancel(id);
  });

  test("and the currency and price limit of the job are checked too", async () => {
    cloud.offers = [rented("a", { currency: "EUR" }), rented("b", { pricePerHour: 4 })];
    const id = await rent("dear", { max_price_per_hour: 2 });
    await waits(id, "only offers in USD are used");
    expect(await waiting(id)).toContain("1 more offers are out");
    expect(cloud.asked.launches).toEqual([]);
    await cancel(id);
  });
});

describe("a machine that the vendor takes back", () => {
  test("without notice counts as no failure: the job resumes, and the provider's charge is in the ledger", async () => {
    cloud.offers = [rented("a", { market: "spot", pricePerHour: 3600 })];
    const id = await rent("slow.50", { max_attempts: 1, max_steps: 60 });
    await atStep(id, 6);
    cloud.status = { state: "absent", preempted: true, reason: "spot price" };
    await until("the loss", async () => (await lab.attempts(id)).some((one) => one.outcome === "preempted"), 30_000);
    cloud.status = {};
    await hurry(id);
    await lab.reached(id, "succeeded");
    const charged = await lab.ctx.db.select().from(meterInterval).where(eq(meterInterval.meter, "provider_micros"));
    expect(charged.filter((row) => row.jobId === id).length).toBeGreaterThan(1);
    expect((await lab.attempts(id)).length).toBe(2);
  }, 90_000);

  test("with notice: the job saves a checkpoint at once and resumes from it", async () => {
    const id = await rent("slow.50", { max_steps: 60 });
    await atStep(id, 2);
    cloud.status = { preemptAt: Date.now() + 120_000 };
    await until("the pause", async () => (await lab.attempts(id)).some((one) => one.outcome === "paused"), 30_000);
    cloud.status = {};
    await lab.reached(id, "succeeded");
    const attempts = await lab.attempts(id);
    expect(attempts.map((one) => one.outcome).sort()).toEqual(["paused", "succeeded"]);
    // It counts as experience with the provider, other than a pause of the scheduler.
    expect(attempts.find((one) => one.outcome === "paused")?.detail).toBe(TAKEN_BACK);
  }, 90_000);
});

test("the page and the API of providers show machines, cost, limits and errors, and take limits", async () => {
  const form = (fields: Record<string, string>) =>
    lab.request("POST", "/admin/providers/cloud/limits", { raw: new URLSearchParams(fields) });
  const page = async () => (await lab.request("GET", "/providers", { headers: { accept: "text/html" } })).text();
  const refused = await form({ month_usd: "lots" });
  expect(refused.status).toBe(422);
  expect(await refused.text()).toContain("must be a number");
  expect((await form({ month_usd: "1000000", regions: "r-a, r-b", max_machines: "3" })).status).toBeLessThan(400);
  const id = await rent("slow.50", { max_steps: 60 });
  await atStep(id, 1);
  const state = await lab.json("GET", "/v1/admin/providers/cloud");
  expect(state).toMatchObject({
    health: "active",
    limits: { month_usd: 1_000_000, regions: ["r-a", "r-b"], max_machines: 3, max_price_per_hour: null },
    machines: [{ job: id, region: "r-a", market: "on_demand", price_per_hour: 1 }],
  });
  expect((state.errors as { vendor_code: string }[]).map((one) => one.vendor_code)).toContain("VcpuLimitExceeded");
  const shown = await page();
  for (const text of ["1 of 3", "VcpuLimitExceeded", "Stop everything here", "of $1000000.00"])
    expect(shown).toContain(text);
  await cancel(id);
}, 60_000);

test("a plan shows why an offer is out", async () => {
  await limit({ max_price_per_hour: 0.5 });
  const plan = await lab.json<{ offers: { provider: string; out: string | null; market: string }[] }>(
    "POST",
    "/v1/jobs/plan",
    { body: { model: "tiny", training_file: lab.fileId, gpus: 1, provider: "cloud" } },
  );
  expect(plan.offers).toMatchObject([{ provider: "cloud", market: "on_demand" }]);
  expect(plan.offers[0]?.out).toContain("more than the provider's limit of $0.50");
});

test("stopping a provider preempts its jobs, and nothing starts there until that is lifted", async () => {
  const id = await rent("slow.50", { max_steps: 60 });
  await atStep(id, 2);
  await stopProvider(lab.ctx, lab.actor("admin"), "cloud", { reason: "the invoice is under review" });
  await waits(id, "Cloud is stopped by an administrator: the invoice is under review");
  const launches = cloud.asked.launches.length;
  await Bun.sleep(300);
  expect(cloud.asked.launches.length).toBe(launches);
  await resumeProvider(lab.ctx, lab.actor("admin"), "cloud");
  await hurry(id);
  await lab.reached(id, "succeeded");
  const attempts = await lab.ctx.db.select().from(attempt).where(eq(attempt.jobId, id));
  expect(attempts.map((one) => one.outcome).sort()).toEqual(["paused", "succeeded"]);
}, 90_000);

test("the sweep terminates orphans of every kind until they are gone, records them, and spares shared ones", async () => {
  const stray = (key: string, more: object = {}) => ({
    staysFor: 3,
    work: { handle: { provider: "cloud", key }, labels: {}, state: "running" as const, ...more },
  });
  cloud.stray = [
    stray("att-lost"),
    stray("att-disk", { resource: "volume" }),
    stray("ssh", { resource: "key", shared: true }),
  ];
  const found = () => lab.ctx.db.select().from(providerOrphan);
  await until("both to be gone", async () => (await found()).filter((one) => one.removedAt !== null).length === 2);
  expect((await found()).map(({ resource, key, tries }) => ({ resource, key, tries }))).toEqual([
    { resource: "machine", key: "att-lost", tries: 3 },
    { resource: "volume", key: "att-disk", tries: 3 },
  ]);
  expect(cloud.asked.terminated).not.toContain("ssh");
});
