/** The state table of jobs for every pair of states, and the actions that each state allows. */

import { describe, expect, test } from "bun:test";
import { isFinal, JOB_STATES, type JobState } from "../../src/contract/job.ts";
import { REASONS, reasonOfExit, stateAfter } from "../../src/training/jobs/failures.ts";
import { repeatedFailure } from "../../src/training/jobs/repeated-failure.ts";
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

describe("a failure that repeats", () => {
  const detail = (line = 7, type = "ValueError", said = "no such name") =>
    [
      "Traceback (most recent call last):",
      `  File "/a/attempt-${Math.random()}/trainer/attempt.py", line 3, in run`,
      "    step()",
      "    ^^^^^^",
      `  File "/a/trainer/step.py", line ${line}, in step`,
      "    raise ValueError(name)",
      `${type}: ${said}`,
    ].join("\n");
  const internal = { reason: "internal" as const, detail: detail() };
  const job = (step: number, queuedAt = 1) => ({ progress: { step }, queuedAt });

  test.each([
    ["the same exception at the same step", job(5), internal, true],
    ["the same one after fewer steps", job(2), internal, true],
    ["with another text", job(5), { ...internal, detail: detail(7, "ValueError", "object at 0x7f") }, true],
    ["the same one after more steps", job(6), internal, false],
    ["at another place", job(5), { ...internal, detail: detail(8) }, false],
    ["of another type", job(5), { ...internal, detail: detail(7, "KeyError") }, false],
    ["after the job was queued again", job(5, 2), internal, false],
    ["for another reason", job(5), { ...internal, reason: "killed" as const }, false],
    ["without a traceback", job(5), { ...internal, detail: "it went away" }, false],
    ["without detail", job(5), { reason: "internal" as const }, false],
  ])("%s: %#", (_name, second, failure, repeats) => {
    const { remember } = repeatedFailure(job(5), 1, internal);
    const now = { ...second, progress: { ...second.progress, last_failure: remember } };
    const { why } = repeatedFailure(now, 2, failure);
    if (repeats) expect(why).toContain("ValueError was raised twice in a row at step.py:7 step");
    else expect(why).toBeNull();
    expect(repeatedFailure(now, 3, failure).why).toBeNull();
  });
});
