/**
 * Hundreds of launches with random faults, the same on every run: no orphan, no second machine, money accounted for.
 * `bun run launches` runs ten thousand.
 */
import { expect, test } from "bun:test";
import { launchMany } from "../support/fake-cloud/launches.ts";
import { VENDORS } from "../support/fake-cloud/vendors.ts";

const LAUNCHES = 250;

test.each(Object.keys(VENDORS))(
  "%s: launches with faults leave nothing behind",
  async (vendor) => {
    const seen = await launchMany(vendor, LAUNCHES, 20261130);
    expect(seen.orphans).toBe(0);
    expect(seen.doubles).toBe(0);
    expect(seen.launched).toBeGreaterThan(LAUNCHES * 0.9);
    expect(seen.requests).toBeLessThan(LAUNCHES * 40);
    expect([...seen.faults.values()].reduce((sum, count) => sum + count, 0)).toBeGreaterThan(LAUNCHES / 2);
    expect(seen.wastedUsd).toBeLessThan(seen.costUsd);
  },
  60_000,
);
