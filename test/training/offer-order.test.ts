/** Offers are tried in the order of the job's total cost on each, and no path to a machine goes past a limit. */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { availableParallelism } from "node:os";
import { eq } from "drizzle-orm";
import { OWN_MACHINE } from "../../plugins/shared/own-machine.ts";
import { changeLimits } from "../../src/compute/limits/service.ts";
import { providerError } from "../../src/compute/providers/host.ts";
import type { LaunchContext, Offer, Provider, ProviderPlugin } from "../../src/contract/provider.ts";
import type { TrainSpec } from "../../src/contract/spec.ts";
import { budgetHold } from "../../src/db/schema/billing.ts";
import { attempt } from "../../src/db/schema/jobs.ts";
import { newId } from "../../src/lib/ids.ts";
import { begin } from "../../src/training/attempts/begin.ts";
import { createJob } from "../../src/training/jobs/store.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { trainSpec } from "../support/attempt.ts";
import { type FakeClock, fakeClock } from "../support/clock.ts";
import { random } from "../support/cluster.ts";

const HOUR_MS = 3_600_000;
let t: TestApp;
let clock: FakeClock;
/** What the vendor offers, which of it is sold out, and what was asked of it. */
let shelf: Offer[];
let soldOut: Set<string>;
let launches: { offer: Offer; context: LaunchContext }[];

const machine = (id: string, more: Partial<Offer>): Offer => ({
  ...OWN_MACHINE,
  id,
  market: "on_demand",
  location: `region ${id}`,
  gpus: 0,
  gpuName: null,
  gpuMemoryMb: 0,
  cpus: availableParallelism(),
  memoryMb: 100_000,
  pricePerHour: 1,
  startsInS: 60,
  available: true,
  local: true,
  ...more,
});
const provider = {
  validate: async () => ({ ok: true as const }),
  offers: async () => shelf,
  async launch(_spec: unknown, offer: Offer, context: LaunchContext) {
    launches.push({ offer, context });
    if (soldOut.has(offer.id)) throw providerError("no_capacity", "sold out", { vendorCode: "SoldOut" });
    return { provider: "cloud", key: context.key };
  },
  describe: async () => ({ state: "running", exitCode: null, reason: null, startedAt: null, endedAt: null }),
  terminate: async () => ({ gone: true as const }),
  listOwned: async () => [],
} as unknown as Provider;

beforeAll(async () => {
  clock = fakeClock(Date.now());
  t = await createTestApp({ ctx: { clock } });
  const [own] = t.ctx.compute.list();
  const capabilities = { ...own?.plugin.capabilities, priced: true, spot: true, local: false };
  const plugin = { ...own?.plugin, id: "cloud", title: "Cloud", capabilities } as ProviderPlugin;
  const entry = { plugin, provider };
  t.ctx.compute = { list: () => [entry], get: (id) => (id === "cloud" ? entry : null) };
});
afterAll(() => t.close());
beforeEach(() => {
  [shelf, soldOut, launches] = [[], new Set(), []];
  clock.advance(61_000);
});

/** Starts a training of about `hours` on an unknown machine; what was tried, in order. */
async function start(given: { hours?: number; saves?: boolean; most?: number; maxUsd?: number } = {}) {
  const { hours = 10, saves = true, most = null, maxUsd = null } = given;
  const base = trainSpec();
  const spec: TrainSpec = {
    ...base,
    need: { ...base.need, max_price_per_hour: most },
    schedule: { ...base.schedule, total_steps: 100, save_every: saves ? 5 : null } as TrainSpec["schedule"],
    limits: { ...base.limits, total_s: 1_000_000 },
  };
  const actor = t.actor("admin");
  const [estimateLowS, estimateHighS] = [Math.floor(hours * 3600 * 0.4), Math.ceil(hours * 3600 * 2.5)];
  const row = await createJob(t.ctx, actor, {
    kind: "train",
    name: "order",
    spec,
    request: {},
    place: { estimateLowS, estimateHighS },
    maxMicros: maxUsd === null ? null : Math.round(maxUsd * 1e6),
  });
  launches = [];
  const work: Promise<void>[] = [];
  const outcome = await begin(t.ctx, row.id, { providers: t.ctx.compute.list(), hostId: null, gpus: [] }, (one) =>
    work.push(one),
  );
  await Promise.all(work);
  return { row, outcome, tried: launches.map(({ offer }) => offer.id) };
}

test("a faster machine comes first when the whole run costs less there, though its hour costs more", async () => {
  shelf = [machine("slow", { cpus: 2, pricePerHour: 1 }), machine("fast", { cpus: 32, pricePerHour: 3 })];
  expect((await start()).tried).toEqual(["fast"]);
});

test("spot comes before on demand only where it is cheaper, and on demand is tried when spot is sold out", async () => {
  shelf = [machine("demand", { pricePerHour: 2 }), machine("spot", { market: "spot", pricePerHour: 1.9 })];
  expect((await start({ hours: 2 })).tried).toEqual(["spot"]);
  // A week without a checkpoint would begin again many times.
  expect((await start({ hours: 168, saves: false })).tried).toEqual(["demand"]);
  soldOut.add("spot");
  expect((await start({ hours: 2 })).tried).toEqual(["spot", "demand"]);
});

test("own machines come before rented ones", async () => {
  shelf = [machine("spot", { market: "spot", pricePerHour: 0.01 }), machine("own", { market: "own", pricePerHour: 0 })];
  expect((await start()).tried).toEqual(["own"]);
});

test("max_price_per_hour, max_cost_usd and the provider's limits hold in every path, over 60 random cases", async () => {
  const next = random(20_261_130);
  const seen = { launched: 0, walked: 0, none: 0 };
  for (let round = 0; round < 60; round++) {
    const price = () => Math.round(next() * 800) / 100;
    shelf = Array.from({ length: 1 + Math.floor(next() * 6) }, (_, n) =>
      machine(`o${n}`, {
        market: next() < 0.5 ? "spot" : "on_demand",
        pricePerHour: price(),
        cpus: 1 + Math.floor(next() * 32),
        available: next() < 0.9,
        quoteExpiresAt: next() < 0.2 ? clock.now() - 1 : null,
      }),
    );
    soldOut = new Set(shelf.filter(() => next() < 0.4).map(({ id }) => id));
    const most = next() < 0.7 ? price() + 0.01 : null;
    const maxUsd = next() < 0.7 ? price() + 0.01 : null;
    const limit = next() < 0.5 ? price() : null;
    await changeLimits(t.ctx, t.actor("admin"), "cloud", {
      regions: [],
      machine_types: [],
      max_price_per_hour: limit,
      max_machines: null,
      month_usd: null,
    });
    const { row, outcome } = await start({
      hours: next() * 50,
      saves: next() < 0.5,
      ...(most === null ? {} : { most }),
      ...(maxUsd === null ? {} : { maxUsd }),
    });
    const [ceiling, usable] = [Math.min(most ?? Infinity, limit ?? Infinity), new Set<string>()];
    for (const one of shelf)
      if (one.available && one.quoteExpiresAt === null && one.pricePerHour <= ceiling) usable.add(one.id);
    for (const { offer, context } of launches) {
      expect([round, offer.pricePerHour <= ceiling, usable.has(offer.id)]).toEqual([round, true, true]);
      if (Number.isFinite(ceiling)) expect(context.maxPricePerHour ?? Infinity).toBeLessThanOrEqual(ceiling);
    }
    expect(new Set(launches.map(({ offer }) => offer.id)).size).toBe(launches.length);
    const [held] = await t.ctx.db.select().from(budgetHold).where(eq(budgetHold.jobId, row.id));
    const runs = launches.some(({ offer }) => !soldOut.has(offer.id));
    expect([round, held !== undefined]).toEqual([round, runs]);
    if (held && maxUsd !== null) expect(held.micros).toBeLessThanOrEqual(Math.round(maxUsd * 1e6));
    // What may be used is used: a job only waits when nothing is left for it.
    if (outcome !== "begun") expect([round, usable.size]).toEqual([round, 0]);
    if (runs) seen.launched++;
    else seen.none++;
    if (launches.length > 1) seen.walked++;
  }
  expect(Math.min(seen.launched, seen.walked, seen.none)).toBeGreaterThan(5);
  await changeLimits(t.ctx, t.actor("admin"), "cloud", {
    regions: [],
    machine_types: [],
    max_price_per_hour: null,
    max_machines: null,
    month_usd: null,
  });
}, 60_000);

test("a provider that took its spot machines back often is tried on demand first", async () => {
  shelf = [machine("demand", { pricePerHour: 2 }), machine("spot", { market: "spot", pricePerHour: 1.5 })];
  const { row, tried } = await start({ hours: 2, saves: false });
  expect(tried).toEqual(["spot"]);
  const at = clock.now();
  for (let n = 0; n < 60; n++)
    await t.ctx.write((tx) =>
      tx.insert(attempt).values({
        id: newId("attempt"),
        org: row.org,
        jobId: row.id,
        number: 100 + n,
        state: "ended",
        provider: "cloud",
        offer: shelf[1] as Offer,
        tokenHash: newId("attempt"),
        outcome: n % 2 ? "preempted" : "paused",
        detail: n % 2 ? "spot price" : "The provider took the machine back",
        createdAt: at - HOUR_MS,
        startedAt: at - HOUR_MS,
        endedAt: at - HOUR_MS / 2,
        goneAt: at,
      }),
    );
  clock.advance(61_000);
  expect((await start({ hours: 2, saves: false })).tried).toEqual(["demand"]);
});
