/** After a refused launch a job waits for that provider only: own machines and other providers are tried at once. */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { availableParallelism } from "node:os";
import { eq } from "drizzle-orm";
import { OWN_MACHINE } from "../../plugins/shared/own-machine.ts";
import { providerError } from "../../src/compute/providers/host.ts";
import type { Offer, Provider, ProviderPlugin } from "../../src/contract/provider.ts";
import { providerPause } from "../../src/db/schema/hosts.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { newId } from "../../src/lib/ids.ts";
import type { BurstPolicy } from "../../src/lib/text/burst-policy.ts";
import { closedProviders } from "../../src/training/attempts/closed.ts";
import { createJob } from "../../src/training/jobs/store.ts";
import { queueCarry, runQueue } from "../../src/training/queue/runner.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { trainSpec } from "../support/attempt.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";

let t: TestApp;
let clock: FakeClock;
/** What launches and requests for offers answer instead, by provider; the launches that were tried. */
const launchFaults = new Map<string, () => Error>();
const offerFaults = new Map<string, () => Error>();
let launches: string[] = [];

const soldOut = () => providerError("no_capacity", "nothing is left", { vendorCode: "SoldOut" });
const tooFast = () => providerError("rate_limited", "too many requests", { vendorCode: "429", retryAfterS: 60 });
const broken = () => providerError("transient", "no answer");

const offer = (id: string, rented: boolean): Offer => ({
  ...OWN_MACHINE,
  id: rented ? id : "local",
  market: rented ? "on_demand" : "own",
  location: id,
  gpus: 0,
  gpuName: null,
  gpuMemoryMb: 0,
  cpus: availableParallelism(),
  memoryMb: 100_000,
  pricePerHour: rented ? 1 : 0,
  startsInS: 60,
  available: true,
  local: true,
});

function providerOf(id: string, rented: boolean) {
  const [own] = t.ctx.compute.list();
  const capabilities = { ...own?.plugin.capabilities, priced: rented, spot: false, local: !rented };
  const kind = rented ? "machine" : "process";
  const plugin = { ...own?.plugin, id, title: id, kind, capabilities } as ProviderPlugin;
  const provider = {
    validate: async () => ({ ok: true as const }),
    offers: async () => {
      const fault = offerFaults.get(id);
      if (fault) throw fault();
      return [offer(id, rented)];
    },
    async launch(_spec: unknown, _offer: Offer, { key }: { key: string }) {
      launches.push(id);
      const fault = launchFaults.get(id);
      if (fault) throw fault();
      return { provider: id, key };
    },
    describe: async () => ({ state: "running", exitCode: null, reason: null, startedAt: null, endedAt: null }),
    terminate: async () => ({ gone: true as const }),
    listOwned: async () => [],
  } as unknown as Provider;
  return { plugin, provider };
}

beforeAll(async () => {
  clock = fakeClock(Date.now());
  t = await createTestApp({ ctx: { clock }, config: { train_slots: 1 } });
  const entries = [providerOf("own", false), providerOf("first", true), providerOf("second", true)];
  t.ctx.compute = { list: () => entries, get: (id) => entries.find(({ plugin }) => plugin.id === id) ?? null };
});
afterAll(() => t.close());
beforeEach(async () => {
  launchFaults.clear();
  offerFaults.clear();
  launches = [];
  await t.ctx.write(async (tx) => {
    await tx.delete(attempt);
    await tx.delete(job);
    await tx.delete(providerPause);
  });
  clock.advance(3_600_000);
});

const create = (burst: BurstPolicy | null) =>
  createJob(t.ctx, t.actor("admin"), {
    kind: "train",
    name: "waits",
    spec: { ...trainSpec(), limits: { ...trainSpec().limits, total_s: 1_000_000 } },
    request: {},
    place: { estimateLowS: 3600, estimateHighS: 7200, burst },
    maxMicros: null,
  });

/** Rounds of the queue without time passing, until nothing more starts; what was launched meanwhile. */
async function rounds(): Promise<string[]> {
  launches = [];
  for (let n = 0; n < 6; n++) {
    const carry = queueCarry(t.ctx);
    const work: Promise<void>[] = [];
    carry.readAllAt = Number.NEGATIVE_INFINITY;
    await runQueue(t.ctx, carry, (one) => work.push(one));
    await Promise.all(work);
  }
  return launches;
}

/** Work on the only own slot. @returns ends it */
async function busy(): Promise<() => Promise<unknown>> {
  const row = await create(null);
  const id = newId("attempt");
  await t.ctx.write(async (tx) => {
    await tx.update(job).set({ state: "running", attempts: 1 }).where(eq(job.id, row.id));
    const now = clock.now();
    const place = { provider: "own", offer: offer("own", false), tokenHash: id };
    const row2 = { id, org: row.org, jobId: row.id, number: 1, state: "running" as const, ...place, createdAt: now };
    await tx.insert(attempt).values({ ...row2, startedAt: now });
  });
  return () =>
    t.ctx.write(async (tx) => {
      await tx.delete(attempt).where(eq(attempt.id, id));
      await tx.update(job).set({ state: "succeeded" }).where(eq(job.id, row.id));
    });
}

const stateOf = async (id: string) => (await t.ctx.db.select().from(job).where(eq(job.id, id)))[0];
const POLICIES: [string, BurstPolicy | null][] = [
  ["the default", null],
  ["burst over a wait", { type: "burst", wait_over_s: 60, cost_under_usd: null }],
  ["fastest", { type: "fastest" }],
];

test.each(POLICIES)("%s: an own machine that becomes free is used at once after no capacity", async (_what, burst) => {
  const free = await busy();
  for (const id of ["first", "second"]) launchFaults.set(id, soldOut);
  const row = await create(burst);
  expect(await rounds()).toEqual(["first", "second"]);
  expect((await stateOf(row.id))?.state).toBe("queued");
  expect(await rounds()).toEqual([]);
  await free();
  clock.advance(1000);
  expect(await rounds()).toEqual(["own"]);
  expect((await stateOf(row.id))?.state).toBe("starting");
});

test.each(POLICIES)("%s: providers without capacity are asked again after 15 s, then 30 s", async (_what, burst) => {
  await busy();
  for (const id of ["first", "second"]) launchFaults.set(id, soldOut);
  await create(burst);
  const asked: number[] = [];
  for (let second = 0; second <= 60; second += 5) {
    if ((await rounds()).length > 0) asked.push(second);
    clock.advance(5000);
  }
  expect(asked).toEqual([0, 15, 45]);
});

test.each(POLICIES)("%s: a rate limit of one provider does not hold up the next one", async (_what, burst) => {
  await busy();
  launchFaults.set("first", tooFast);
  offerFaults.set("second", broken);
  const row = await create(burst);
  expect(await rounds()).toEqual(["first"]);
  expect(await rounds()).toEqual([]);
  offerFaults.clear();
  clock.advance(15_000);
  expect(await rounds()).toEqual(["second"]);
  const [last] = await t.ctx.db.select().from(attempt).where(eq(attempt.jobId, row.id)).orderBy(attempt.number);
  expect(last?.outcome).toBe("launch_refused");
});

test("the rate limit itself is obeyed, and the next offer is tried in the same launch", async () => {
  await busy();
  launchFaults.set("first", tooFast);
  await create(null);
  expect(await rounds()).toEqual(["first", "second"]);
  launchFaults.set("second", soldOut);
  await create(null);
  expect(await rounds()).toEqual(["second"]);
  const asked: number[] = [];
  for (let second = 0; second <= 65; second += 5) {
    if ((await rounds()).includes("first")) asked.push(second);
    clock.advance(5000);
  }
  expect(asked).toEqual([60]);
});

test("a job that waits for providers says what they answered and until when, and they are forgotten afterwards", async () => {
  await busy();
  for (const id of ["first", "second"]) launchFaults.set(id, soldOut);
  const row = await create(null);
  await rounds();
  const view = await t.json<{ waiting_for: { code: string; message: string; until: number } }>(
    "GET",
    `/v1/jobs/${row.id}`,
  );
  expect(view.waiting_for).toMatchObject({ code: "retry", message: expect.stringContaining("SoldOut") });
  expect(view.waiting_for.until).toBe(Math.floor(clock.now() / 1000) + 15);
  expect([...(closedProviders(t.ctx).get(row.id)?.keys() ?? [])].sort()).toEqual(["first", "second"]);
  clock.advance(15_001);
  expect(closedProviders(t.ctx).size).toBe(0);
});
