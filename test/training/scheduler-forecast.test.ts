/** Forecast starts of waiting jobs. */
import { describe, expect, test } from "bun:test";
import { allowForOthers, predict } from "../../src/training/scheduler/forecast.ts";
import { schedule } from "../../src/training/scheduler/round.ts";
import type { DailyWindow, Input } from "../../src/training/scheduler/types.ts";
import { aJob, anInput, cluster, HOUR, START } from "../support/cluster.ts";
import { hours, runs } from "../support/scheduling.ts";

describe("the forecast start", () => {
  const of = (input: Input) => predict(input, schedule(input).order);

  test("has an allowance for later jobs where these can lengthen the wait", () => {
    const found = { low: START + HOUR, high: START + 3 * HOUR, why: null };
    expect(allowForOthers(found, START, "capacity")).toEqual({ ...found, high: START + 6 * HOUR });
    expect(allowForOthers(found, START, "window")).toEqual(found);
    expect(allowForOthers({ ...found, high: null }, START, "capacity")).toEqual({ ...found, high: null });
  });

  test("is a range between short and long durations", () => {
    const input = anInput(cluster(1, 1), {
      queued: [aJob("j", { wants: { gpus: 1 } })],
      running: [runs("r", 1, { left: hours(1, 3) })],
    });
    expect(of(input).get("j")).toEqual({ low: START + HOUR, high: START + 3 * HOUR, why: null });
  });

  test("adds up the jobs ahead", () => {
    const queued = [
      aJob("1", { wants: { gpus: 1 }, estimate: hours(1, 2) }),
      aJob("2", { wants: { gpus: 1 }, queuedAt: START + 1 }),
    ];
    const input = anInput(cluster(1, 1), { queued, running: [runs("r", 1, { left: hours(1, 3) })] });
    expect(of(input).get("2")).toEqual({ low: START + 2 * HOUR, high: START + 5 * HOUR, why: null });
  });

  test("is unknown while the duration of other jobs is", () => {
    const input = anInput(cluster(1, 1), { queued: [aJob("j", { wants: { gpus: 1 } })], running: [runs("r", 1)] });
    expect(of(input).get("j")).toMatchObject({ high: null, why: "The duration of the jobs ahead is unknown." });
  });

  test("respects windows", () => {
    const window: DailyWindow = { from: "22:00", until: "06:00", tz: "UTC" };
    const input = anInput(cluster(1, 1), {
      now: START + 12 * HOUR,
      queued: [aJob("j", { wants: { gpus: 1 }, window })],
    });
    expect(of(input).get("j")).toEqual({ low: START + 22 * HOUR, high: START + 22 * HOUR, why: null });
  });
});
