/** Limits of providers over random offers, prices and limits: what is allowed never exceeds any of them. */
import { describe, expect, test } from "bun:test";
import { ceilingOf, type Limits, NO_LIMITS, type ProviderUse, refusalOf } from "../../src/compute/limits/check.ts";
import type { Offer } from "../../src/contract/provider.ts";
import { rented } from "../support/rented-cloud.ts";

/** A generator with a seed (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const pick = <T>(random: () => number, values: readonly T[]): T => values[Math.floor(random() * values.length)] as T;

test("no allowed launch exceeds a limit of the provider or of the job, over 20,000 random cases", () => {
  const random = randomOf(18);
  const maybe = (most: number) => (random() < 0.4 ? null : random() * most);
  let [allowed, refused] = [0, 0];
  for (let n = 0; n < 20_000; n++) {
    const offer: Offer = rented("a", {
      pricePerHour: pick(random, [0, 0.05, 0.5, 1, 2.5, 8, Number.NaN, -1, Number.POSITIVE_INFINITY]),
      currency: pick(random, ["USD", "USD", "USD", "EUR"]),
      market: pick(random, ["on_demand", "spot"]),
      region: pick(random, ["us", "eu", null]),
      machineType: pick(random, ["small", "large", null]),
    });
    const limits: Limits = {
      regions: pick(random, [[], [], ["us"], ["eu", "us"]]),
      machineTypes: pick(random, [[], [], ["large"]]),
      maxPricePerHour: maybe(4),
      maxMachines: random() < 0.5 ? null : Math.floor(random() * 5),
      monthUsd: maybe(100),
      stopReason: null,
      stopped: random() < 0.1,
    };
    const use: ProviderUse = { machines: Math.floor(random() * 5), monthUsd: random() * 100, perHourUsd: random() * 9 };
    const job = { maxPricePerHour: maybe(4) };
    if (refusalOf("Cloud", offer, limits, use, job) !== null) {
      refused++;
      continue;
    }
    allowed++;
    const most = ceilingOf(offer, limits, job) ?? 0;
    expect(most).toBeGreaterThanOrEqual(offer.pricePerHour);
    expect(most).toBeLessThanOrEqual(job.maxPricePerHour ?? Number.POSITIVE_INFINITY);
    expect(most).toBeLessThanOrEqual(limits.maxPricePerHour ?? Number.POSITIVE_INFINITY);
    expect(limits.stopped).toBe(false);
    expect(use.machines + 1).toBeLessThanOrEqual(limits.maxMachines ?? Number.POSITIVE_INFINITY);
    if (most > 0) expect(offer.currency).toBe("USD");
    if (most > 0) expect(use.monthUsd + use.perHourUsd + most).toBeLessThanOrEqual(limits.monthUsd ?? 1e9);
    if (limits.regions.length > 0) expect(limits.regions).toContain(offer.region ?? "");
    if (limits.machineTypes.length > 0) expect(limits.machineTypes).toContain(offer.machineType ?? "");
  }
  expect(allowed).toBeGreaterThan(1000);
  expect(refused).toBeGreaterThan(1000);
});

describe("the most that a launch may cost", () => {
  test.each([
    ["an on-demand price is firm", rented("a", { pricePerHour: 2 }), NO_LIMITS, null, 2],
    ["a spot price may move", rented("a", { pricePerHour: 2, market: "spot" }), NO_LIMITS, null, 2.4],
    ["up to the job's limit", rented("a", { pricePerHour: 2, market: "spot" }), NO_LIMITS, 2.1, 2.1],
    ["an own machine costs nothing", rented("a", { pricePerHour: 0, market: "own" }), NO_LIMITS, 1, null],
  ] as const)("%s", (_what, offer, limits, maxPricePerHour, expected) => {
    expect(ceilingOf(offer, limits, { maxPricePerHour })).toBe(expected);
  });
});
