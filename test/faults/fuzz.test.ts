/**
 * The fuzzer with a fixed seed and number of requests: nothing it sends ends a server, fails it or fills its memory.
 */
import { describe, expect, test } from "bun:test";
import { fuzz } from "../../scripts/fuzz.ts";
import { mutated, randomOf } from "../support/mutations.ts";

describe("the fuzzer", () => {
  test("makes the same values of the same seed, and others of another", () => {
    const value = { a: "text", b: [1, 2, { c: null }] };
    const many = (seed: number) => {
      const random = randomOf(seed);
      return JSON.stringify(Array.from({ length: 50 }, () => mutated(random, new Set(), value)));
    };
    expect(many(5)).toBe(many(5));
    expect(many(5)).not.toBe(many(6));
    expect(value).toEqual({ a: "text", b: [1, 2, { c: null }] });
  });

  test("finds no request that fails a server", async () => {
    const report = await fuzz({ seed: 20261, requests: 4_000 });
    console.log(`${report.requests} requests, ${JSON.stringify(report.statuses)}, grown by ${report.grown / 1e6} MB`);
    expect(report.failures).toEqual([]);
    // Most were understood well enough to be answered by a handler, and every page was read.
    expect(report.requests).toBeGreaterThan(1_000);
    expect(report.statuses[200] ?? 0).toBeGreaterThan(report.requests / 10);
  }, 600_000);
});
