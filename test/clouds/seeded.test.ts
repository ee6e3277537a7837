/**
 * Hundreds of launches with random faults, the same on every run: no orphan, no second machine, money accounted for.
 */
import { describe, expect, test } from "bun:test";
import { FakeCloud } from "../support/fake-cloud/core.ts";
import { cloudLab, endAs, launchAs, sweepAs } from "../support/fake-cloud/lab.ts";
import { VENDORS } from "../support/fake-cloud/vendors.ts";

const LAUNCHES = 250;
const RATES = {
  error_before: 0.03,
  error_after: 0.05,
  lost_answer: 0.05,
  timeout: 0.02,
  duplicate_create: 0.05,
  list_lag: 0.05,
  slow_delete: 0.05,
  stuck_delete: 0.1,
  no_capacity: 0.05,
  rate_limited: 0.02,
  rate_limited_silent: 0.01,
  broken_list: 0.02,
};

describe.each(Object.keys(VENDORS))("%s", (vendor) => {
  const { plugin, dialect, config } = VENDORS[vendor] as (typeof VENDORS)[string];

  test(`${LAUNCHES} launches with faults leave nothing behind`, async () => {
    const lab = cloudLab(plugin, new FakeCloud(dialect, { seed: 20261130 }), config);
    lab.cloud.faults.chaos(RATES);
    let launched = 0;
    let doubles = 0;
    for (let i = 0; i < LAUNCHES; i++) {
      const key = `att-${i}`;
      const { handle } = await launchAs(lab, key, { tries: 8 });
      // The host keeps nothing but the key of a launch that failed or that it did not hear of.
      if (i % 10 === 9) lab.provider = lab.restart();
      if (handle) {
        launched++;
        lab.cloud.advance(dialect.bootMs + 120_000);
        // The host looks every few seconds; a deletion of the second one may fail as well.
        let alive = 2;
        for (let look = 0; look < 6 && alive > 1; look++) {
          await lab.provider.describe(handle).catch(() => null);
          lab.cloud.advance(60_000);
          alive = lab.cloud.alive().filter(({ name, goneAt }) => name.endsWith(`-${key}`) && goneAt === null).length;
        }
        if (alive > 1) doubles++;
      }
      await endAs(lab, { provider: plugin.id, key });
      if (i % 25 === 24) await sweepAs(lab).catch(() => null);
    }
    lab.cloud.faults.chaos({});
    lab.cloud.advance(600_000);
    await sweepAs(lab);
    lab.cloud.advance(600_000);
    const left = lab.cloud.alive();
    const faults = [...lab.cloud.faults.happened.values()].reduce((sum, count) => sum + count, 0);
    console.log(
      `${vendor}: ${launched} of ${LAUNCHES} launched, ${lab.cloud.machines.size} machines, ${faults} faults, ${lab.cloud.calls.length} requests, ${lab.cloud.cost().toFixed(2)} USD, ${doubles} doubles, ${left.length} orphans`,
    );
    expect(left).toEqual([]);
    expect(doubles).toBe(0);
    expect(launched).toBeGreaterThan(LAUNCHES * 0.9);
    expect(lab.cloud.calls.length).toBeLessThan(LAUNCHES * 40);
  }, 60_000);
});
