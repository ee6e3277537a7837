/** The state table of jobs for every pair of states, and the actions that each state allows. */

import { describe, expect, test } from "bun:test";
import { isFinal, JOB_STATES, type JobState } from "../../src/contract/job.ts";
import { REASONS, reasonOfExit, stateAfter } from "../../src/training/jobs/failures.ts";
import { type Action, actionTarget, canMove, openaiStatus } from "../../src/training/jobs/state.ts";

/** The legal transitions by target, written in another form than in the code. */
const LEGAL: Partial<Record<JobState, string>> = {
  queued: "validating starting running pausing paused",
  starting: "queued",
  running: "starting",
  pausing: "starting running",
  paused: "queued pausing",
  stopping: "starting running pausing",
  succeeded: "running pausing",
  failed: "validating queued starting running pausing",
  cancelled: "validating queued paused stopping",
};

describe("the state table", () => {
  for (const from of JOB_STATES)
    for (const to of JOB_STATES) {
      const legal = LEGAL[to]?.split(" ").includes(from) ?? false;
      test(`${from} to ${to} is ${legal ? "legal" : "refused"}`, () => expect(canMove(from, to)).toBe(legal));
    }

  test("exactly three states are final", () => {
    expect(JOB_STATES.filter(isFinal)).toEqual(["succeeded", "failed", "cancelled"]);
  });

  test("every state leads to a final state", () => {
    for (const start of JOB_STATES) {
      const seen = new Set<JobState>([start]);
      for (const at of seen) for (const to of JOB_STATES) if (canMove(at, to)) seen.add(to);
      expect([...seen].some(isFinal)).toBe(true);
    }
  });
});

const ACTIONS: Record<Action, Partial<Record<JobState, JobState>>> = {
  cancel: {
    validating: "cancelled",
    queued: "cancelled",
    starting: "stopping",
    running: "stopping",
    pausing: "stopping",
    paused: "cancelled",
    stopping: "stopping",
  },
  pause: { queued: "paused", starting: "pausing", running: "pausing", pausing: "pausing" },
  resume: { paused: "queued", pausing: "pausing" },
  checkpoint: { running: "running" },
};

describe("actions", () => {
  for (const action of Object.keys(ACTIONS) as Action[])
    for (const state of JOB_STATES)
      test(`${action} of a ${state} job ${ACTIONS[action][state] ? `leads to ${ACTIONS[action][state]}` : "is refused"}`, () => {
        const target = actionTarget(state, action);
        expect(target).toBe(ACTIONS[action][state] ?? null);
        if (target && target !== state) expect(canMove(state, target)).toBe(true);
      });
});

describe("after a failed attempt", () => {
  const end = (reason: keyof typeof REASONS, retry = true, failures = 1) => ({
    reason,
    retry,
    failures,
    maxAttempts: 3,
  });

  test.each([
    ["running", end("killed"), "queued"],
    ["running", end("killed", true, 3), "failed"],
    ["running", end("internal", false), "failed"],
    ["running", end("nan_loss"), "failed"],
    ["running", end("out_of_memory"), "failed"],
    ["starting", end("launch_failed"), "queued"],
    ["pausing", end("killed"), "paused"],
    ["pausing", end("nan_loss"), "failed"],
    ["stopping", end("killed"), "cancelled"],
    ["stopping", end("nan_loss", false), "cancelled"],
  ] as const)("%s after %o becomes %s", (state, given, expected) => {
    expect(stateAfter(state, given)).toBe(expected);
    expect(canMove(state, expected)).toBe(true);
  });

  test.each([
    [0, null, "bad_result"],
    [1, null, "internal"],
    [2, null, "bad_spec"],
    [3, null, "server_refused"],
    [4, null, "interrupted"],
    [137, null, "killed"],
    [137, "killed: out of memory", "out_of_memory"],
    [143, null, "interrupted"],
    [139, null, "killed"],
    [null, "ended together with its launcher", "lost"],
  ] as const)("exit code %p (%p) means %s", (code, word, reason) => {
    expect(reasonOfExit("train", code, word)).toBe(reason);
  });

  test("every reason has advice", () => {
    for (const rule of Object.values(REASONS)) expect(rule.advice.length).toBeGreaterThan(20);
  });
});

test("OpenAI's clients get only statuses they know, and paused", () => {
  const known = ["validating_files", "queued", "running", "succeeded", "failed", "cancelled", "paused"];
  for (const state of JOB_STATES) expect(known).toContain(openaiStatus(state));
  expect([openaiStatus("stopping"), openaiStatus("pausing")]).toEqual(["cancelled", "running"]);
});
