/** The pure state machine of deployments: every case of what is wanted and what is so. */
import { describe, expect, test } from "bun:test";
import { canMove, type Facts, MOVES, nextStep } from "../../src/serving/deployments/state.ts";

describe("the state machine", () => {
  const facts: Facts = {
    wanted: "running",
    state: "ready",
    job: "live",
    engine: "unknown",
    idle: false,
    waiting: false,
    exhausted: false,
  };
  const cases: [string, Partial<Facts>, string][] = [
    ["asleep and wanted", { state: "asleep", job: "none" }, "launch"],
    ["starting without a job", { state: "starting", job: "none" }, "launch"],
    ["starting too early after a death", { state: "starting", job: "none", waiting: true }, "none"],
    ["starting and silent", { state: "starting" }, "none"],
    ["starting and healthy", { state: "starting", engine: "healthy" }, "ready"],
    ["starting with a job that ended", { state: "starting", job: "over" }, "died"],
    ["starting once too often", { state: "starting", job: "over", exhausted: true }, "give_up"],
    ["ready and well", { engine: "healthy" }, "none"],
    ["ready and gone", { engine: "gone" }, "died"],
    ["ready without its job", { job: "over" }, "died"],
    ["ready and idle", { idle: true }, "sleep"],
    ["ready but to be stopped", { wanted: "stopped" }, "stop"],
    ["stopping while the job lives", { wanted: "stopped", state: "stopping" }, "stop"],
    ["stopping and over", { wanted: "asleep", state: "stopping", job: "over" }, "rest"],
    ["stopping but wanted again", { state: "stopping", job: "over" }, "launch"],
    ["failed", { state: "failed", job: "none" }, "none"],
    ["failed and to be stopped", { wanted: "stopped", state: "failed", job: "none" }, "rest"],
    ["stopped as wanted", { wanted: "stopped", state: "stopped", job: "none" }, "none"],
  ];
  test.each(cases)("%s", (_, change, step) => {
    expect(nextStep({ ...facts, ...change })).toBe(step as ReturnType<typeof nextStep>);
  });

  test("every state can be left, and none leads to itself but starting", () => {
    for (const [from, to] of Object.entries(MOVES)) {
      expect(to.length).toBeGreaterThan(0);
      expect(to.filter((one) => one === from && one !== "starting")).toEqual([]);
    }
    expect(canMove("asleep", "ready")).toBe(false);
  });
});
