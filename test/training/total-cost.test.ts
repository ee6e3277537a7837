/** The predicted total cost of a run on a machine that may be taken back. */
import { describe, expect, test } from "bun:test";
import {
  ASSUMED_PREEMPTIONS,
  preemptionsPerHour,
  type RunOn,
  totalCost,
} from "../../src/training/scheduler/total-cost.ts";
import { random } from "../support/cluster.ts";

const HOUR_S = 3600;
const run = (more: Partial<RunOn> = {}): RunOn => ({
  pricePerHour: 2,
  seconds: 10 * HOUR_S,
  startsInS: 0,
  perHour: 0,
  saveEveryS: HOUR_S / 2,
  ...more,
});

describe("the total cost", () => {
  test("of a machine that is never taken back is price times time, its start included", () => {
    expect(totalCost(run())).toEqual({ usd: 20, seconds: 36_000, preemptions: 0 });
    expect(totalCost(run({ startsInS: 360 })).usd).toBeCloseTo(20.2);
    expect(totalCost(run({ pricePerHour: 0, perHour: 1 })).usd).toBe(0);
    expect(totalCost(run({ seconds: 0, perHour: 1 }))).toEqual({ usd: 0, seconds: 0, preemptions: 0 });
  });

  test("is less on a faster machine whose hour costs more", () => {
    const slow = totalCost(run({ pricePerHour: 1, seconds: 10 * HOUR_S }));
    const fast = totalCost(run({ pricePerHour: 3, seconds: 2 * HOUR_S }));
    expect(fast.usd).toBeLessThan(slow.usd);
  });

  test("puts spot before on demand only where repeated work does not eat up what it saves", () => {
    const onDemand = totalCost(run()).usd;
    const spot = (more: Partial<RunOn>) => totalCost(run({ pricePerHour: 1, perHour: 0.05, ...more })).usd;
    expect(spot({})).toBeLessThan(onDemand);
    // Ten hours without a checkpoint at one preemption in two hours: it begins again 148 times.
    expect(spot({ perHour: 0.5, saveEveryS: null })).toBeGreaterThan(5 * onDemand);
    expect(spot({ perHour: 0.5 })).toBeLessThan(onDemand);
    expect(spot({ pricePerHour: 1.98 })).toBeGreaterThan(onDemand);
  });

  test.each([
    ["with checkpoints", { perHour: 0.4, saveEveryS: HOUR_S / 2, startsInS: 240 }],
    ["with checkpoints at a high rate", { perHour: 2, saveEveryS: HOUR_S / 2, startsInS: 60 }],
    ["without checkpoints", { perHour: 0.3, saveEveryS: null, seconds: 4 * HOUR_S }],
  ])("is the mean of 20,000 simulated runs: %s", (_what, more) => {
    const given = run(more);
    const next = random(11);
    const segment = Math.min(given.seconds, given.saveEveryS ?? given.seconds) / HOUR_S;
    const [start, again] = [given.startsInS / HOUR_S, (given.startsInS + 120) / HOUR_S];
    const runs = 20_000;
    let [hours, lost] = [0, 0];
    for (let n = 0; n < runs; n++) {
      hours += start;
      for (let done = 0; done < given.seconds / HOUR_S - 1e-9; ) {
        const survives = -Math.log(1 - next()) / given.perHour;
        if (survives >= segment) done += segment;
        else lost++;
        hours += survives >= segment ? segment : survives + again;
      }
    }
    const found = totalCost(given);
    expect(Math.abs(found.usd / ((hours / runs) * given.pricePerHour) - 1)).toBeLessThan(0.03);
    expect(Math.abs(found.preemptions / (lost / runs) - 1)).toBeLessThan(0.05);
  });

  test("grows with the price, the time, the rate of preemption and the interval of checkpoints, and stays finite", () => {
    const next = random(3);
    for (let n = 0; n < 500; n++) {
      const one = run({
        pricePerHour: next() * 30,
        seconds: next() * 100 * HOUR_S,
        startsInS: next() * 900,
        perHour: next(),
        saveEveryS: [null, 0, next() * 4 * HOUR_S][n % 3] as number | null,
      });
      const { usd, seconds, preemptions } = totalCost(one);
      for (const value of [usd, seconds, preemptions]) expect(Number.isFinite(value)).toBe(true);
      expect(usd).toBeGreaterThanOrEqual((one.pricePerHour * one.seconds) / HOUR_S - 1e-9);
      expect(Math.abs((seconds / HOUR_S) * one.pricePerHour - usd)).toBeLessThanOrEqual(usd * 1e-9);
      const more = (change: Partial<RunOn>) => totalCost({ ...one, ...change }).usd * (1 + 1e-9);
      expect(more({ pricePerHour: one.pricePerHour * 2 })).toBeGreaterThanOrEqual(usd);
      expect(more({ perHour: one.perHour * 2 })).toBeGreaterThanOrEqual(usd);
      expect(more({ startsInS: one.startsInS + 60 })).toBeGreaterThanOrEqual(usd);
      if (one.saveEveryS !== null) expect(more({ saveEveryS: one.saveEveryS * 2 })).toBeGreaterThanOrEqual(usd);
    }
  });
});

test("the rate of preemption is an assumption for spot, corrected by experience; own machines are never taken back", () => {
  expect(preemptionsPerHour("spot", undefined)).toBe(ASSUMED_PREEMPTIONS.spot);
  expect(preemptionsPerHour("on_demand", undefined)).toBe(0);
  expect(preemptionsPerHour("own", { preemptions: 9, hours: 1 })).toBe(0);
  expect(preemptionsPerHour("spot", { preemptions: 0, hours: 980 })).toBeCloseTo(0.001);
  expect(preemptionsPerHour("spot", { preemptions: 500, hours: 980 })).toBeCloseTo(0.501);
  // One bad hour says little.
  expect(preemptionsPerHour("spot", { preemptions: 1, hours: 1 })).toBeLessThan(0.1);
});
