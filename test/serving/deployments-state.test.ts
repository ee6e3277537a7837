/** The pure state machine of deployments: every combination of wanted and actual state. */
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
    ["starting too early after a failure", { state: "starting", job: "none", waiting: true }, "none"],
    ["starting and silent", { state: "starting" }, "none"],
    ["starting and healthy", { state: "starting", engine: "healthy" }, "ready"],
    ["starting with a job that ended", { state: "starting", job: "over" }, "died"],
    ["starting after too many restarts", { state: "starting", job: "over", exhausted: true }, "give_up"],
    ["ready and healthy", { engine: "healthy" }, "none"],
    ["ready and terminated", { engine: "gone" }, "died"],
    ["ready without its job", { job: "over" }, "died"],
    ["ready and idle", { idle: true }, "sleep"],
    ["ready, stop requested", { wanted: "stopped" }, "stop"],
    ["stopping while the job runs", { wanted: "stopped", state: "stopping" }, "stop"],
    ["stopping, job ended", { wanted: "asleep", state: "stopping", job: "over" }, "rest"],
    ["stopping, start requested", { state: "stopping", job: "over" }, "launch"],
    ["failed", { state: "failed", job: "none" }, "none"],
    ["failed, stop requested", { wanted: "stopped", state: "failed", job: "none" }, "rest"],
    ["stopped as wanted", { wanted: "stopped", state: "stopped", job: "none" }, "none"],
  ];
  test.each(cases)("%s", (_, change, step) => {
    expect(nextStep({ ...facts, ...change })).toBe(step as ReturnType<typeof nextStep>);
  });

  test("every state has an exit, and only starting leads to itself", () => {
    for (const [from, to] of Object.entries(MOVES)) {
      expect(to.length).toBeGreaterThan(0);
      expect(to.filter((one) => one === from && one !== "starting")).toEqual([]);
    }
    expect(canMove("asleep", "ready")).toBe(false);
  });
});
