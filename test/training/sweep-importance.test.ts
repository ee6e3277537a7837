/** The rank correlation of the settings of a sweep with its result. */
import { expect, test } from "bun:test";
import { importanceOf, rankCorrelation } from "../../src/training/sweeps/importance.ts";
import type { TrialView } from "../../src/training/sweeps/model.ts";

test.each([
  ["the same order", [1, 2, 3, 100], [5, 6, 7, 8], 1],
  ["the opposite order", [1, 2, 3, 4], [8, 7, 6, 5], -1],
  ["equal values share a rank", [1, 2, 2, 3], [1, 2, 3, 4], 0.9487],
  ["no variation", [1, 1, 1, 1], [1, 2, 3, 4], null],
])("%s", (_name, xs, ys, found) => {
  const value = rankCorrelation(xs, ys);
  expect(value === null ? null : Number(value.toFixed(4))).toBe(found);
});

const trial = (number: number, more: Partial<TrialView>) =>
  ({ number, state: "succeeded", values: {}, score: number, ...more }) as TrialView;

test("settings are sorted by strength; names have no order; five completed trials are needed", () => {
  const space = { seed: [1, 2], learning_rate: [1, 2], scheduler: ["linear", "cosine"] };
  const seeds = [3, 1, 4, 2, 5];
  const trials = seeds.map((seed, n) =>
    trial(n, { values: { seed, learning_rate: 10 - n, scheduler: n % 2 ? "linear" : "cosine" } }),
  );
  const found = importanceOf({ space, trials });
  expect(found.map(({ field }) => field)).toEqual(["learning_rate", "seed"]);
  expect(found[0]?.correlation).toBeCloseTo(-1, 10);
  expect(found[1]?.correlation).toBeCloseTo(0.5, 10);
  const stopped = trials.map((one) => (one.number === 4 ? { ...one, state: "stopped" as const } : one));
  expect(importanceOf({ space, trials: stopped })).toEqual([]);
});
