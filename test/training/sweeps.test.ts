/** Sweeps: the values of their trials, refusals, the best trial, early stopping with its reasons, and restarts. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { noticeEvent } from "../../src/db/schema/notices.ts";
import { rankAtRung, rungCount, rungsOf } from "../../src/training/sweeps/halving.ts";
import type { SweepPlan, SweepView } from "../../src/training/sweeps/model.ts";
import { startSweeps } from "../../src/training/sweeps/run.ts";
import { gridSize, trialsOf } from "../../src/training/sweeps/space.ts";
import { createLab, type Lab } from "../support/lab.ts";
import { until } from "../support/live.ts";

describe("the values of trials", () => {
  const range = { min: 1e-5, max: 1e-3, scale: "log" as const, points: 3 };

  test("a grid has every combination once, and ranges follow their scale", () => {
    const space = { learning_rate: range, lora_r: [8, 16, 8] };
    expect(trialsOf(space, { type: "grid" })).toEqual([
      { learning_rate: 1e-5, lora_r: 8 },
      { learning_rate: 1e-5, lora_r: 16 },
      { learning_rate: 1e-4, lora_r: 8 },
      { learning_rate: 1e-4, lora_r: 16 },
      { learning_rate: 1e-3, lora_r: 8 },
      { learning_rate: 1e-3, lora_r: 16 },
    ]);
    expect(gridSize(space)).toBe(6);
  });

  test("draws depend only on the seed, stay in their range, and never repeat", () => {
    const space = { learning_rate: range, batch_size: { min: 1, max: 8, scale: "linear" as const, points: 3 } };
    const draw = (seed: number) => trialsOf(space, { type: "random", trials: 20, seed });
    expect(draw(7)).toEqual(draw(7));
    expect(draw(8)).not.toEqual(draw(7));
    for (const { learning_rate: rate, batch_size: batch } of draw(7)) {
      expect(rate).toBeGreaterThanOrEqual(1e-5);
      expect(rate).toBeLessThanOrEqual(1e-3);
      expect(Number.isInteger(batch)).toBe(true);
    }
    const few = trialsOf({ seed: [1, 2, 3] }, { type: "random", trials: 20, seed: 1 });
    expect(few.map(({ seed }) => seed).sort()).toEqual([1, 2, 3]);
  });

  test("rungs are whole steps and multiples of the first", () => {
    expect(rungCount(9, 3)).toBe(2);
    expect(rungCount(2, 3)).toBe(0);
    expect(rungsOf(90, 2, 3)).toEqual([10, 30]);
    expect(rungsOf(100, 2, 3)).toEqual([11, 33]);
    expect(rungsOf(4, 3, 3)).toEqual([1]);
    expect(rungsOf(2, 3, 3)).toEqual([]);
    // Each comes after the warm-up, in which nothing can be compared yet.
    expect(rungsOf(1000, 4, 3)).toEqual([12, 36, 108, 324]);
    expect(rungsOf(1000, 4, 3, 30)).toEqual([37, 111, 333]);
    expect(rungsOf(9, 2, 3, 0)).toEqual([1, 3]);
    expect(rungsOf(10, 2, 3, 1)).toEqual([3]);
  });

  test("one trial in eta continues, the first to arrive always, and a loss of NaN never", () => {
    expect(rankAtRung(5, [], 3, "min")).toEqual({ rank: 1, of: 1, kept: true });
    expect(rankAtRung(5, [4], 3, "min")).toEqual({ rank: 2, of: 2, kept: false });
    expect(rankAtRung(5, [4], 3, "max")).toEqual({ rank: 1, of: 2, kept: true });
    expect(rankAtRung(5, [4, 6, 7, 8, 9], 3, "min")).toEqual({ rank: 2, of: 6, kept: true });
    expect(rankAtRung(Number.NaN, [1], 3, "min").kept).toBe(false);
  });
});

describe("a sweep", () => {
  let lab: Lab;
  let stop: () => void;
  beforeAll(async () => {
    lab = await createLab({ trainSlots: 2 });
    stop = startSweeps(lab.ctx);
  }, 60_000);
  afterAll(async () => {
    stop();
    await lab.close();
  }, 60_000);

  const training = (more: object = {}) => ({
    model: "tiny",
    training_file: lab.fileId,
    suffix: "judged",
    max_steps: 18,
    learning_rate: 1e-4,
    ...more,
  });
  const create = (body: object) =>
    lab.json<SweepView>("POST", "/v1/sweeps", { body: { metric: "train/loss", ...body } });
  const read = (id: string) => lab.json<SweepView>("GET", `/v1/sweeps/${id}`);
  const ended = (id: string) =>
    until(
      "the sweep to end",
      async () => {
        const view = await read(id);
        return ["running", "stopping"].includes(view.state) ? null : view;
      },
      60_000,
      50,
    );
  /** Events about a sweep, and whom they concern. */
  const eventsOf = async (id: string) => {
    const found = await lab.ctx.db.select().from(noticeEvent).where(eq(noticeEvent.subject, id));
    return found.map(({ type, title, userId }) => [type, title, userId === null ? "nobody" : "its creator"]);
  };
  const refusal = async (path: string, body: object) => {
    const answer = await lab.request("POST", path, { body });
    const { error } = (await answer.json()) as { error: { code: string; param: string; message: string } };
    return [answer.status, error.code, error.param] as const;
  };

  test("shows its trials, their time, and which are refused, before anything starts", async () => {
    const plan = await lab.json<SweepPlan>("POST", "/v1/sweeps/plan", {
      body: { training: training(), space: { adapter: ["lora", "full"], quantization: ["none", "nf4"] } },
    });
    expect(plan.trials.map((one) => one.refused === null)).toEqual([true, true, true, false]);
    expect(plan.trials[3]?.refused).toMatch(/full|whole/);
    expect(plan.refused).toBe(1);
    expect(plan.trials[0]?.steps).toBe(18);
    expect((await lab.json<{ data: unknown[] }>("GET", "/v1/sweeps")).data).toEqual([]);
  });

  test("is refused when it is too large, varies nothing, or has no trial that can be trained", async () => {
    const of = (space: object, more: object = {}) => ({ training: training(), space, ...more });
    const steps = Array.from({ length: 11 }, (_, n) => n + 1);
    expect(await refusal("/v1/sweeps", of({ seed: steps, max_steps: steps }))).toEqual([
      400,
      "too_many_trials",
      "space",
    ]);
    expect((await refusal("/v1/sweeps", of({})))[0]).toBe(400);
    expect((await refusal("/v1/sweeps", of({ training_file: ["a"] })))[0]).toBe(400);
    expect((await refusal("/v1/sweeps", of({ learning_rate: { min: 2, max: 1 } })))[0]).toBe(400);
    expect((await refusal("/v1/sweeps", of({ learning_rate: [-1, 7] })))[1]).toBe("invalid_value");
    expect(
      (await refusal("/v1/sweeps", { training: training({ training_file: "file-none" }), space: { seed: [1] } }))[0],
    ).toBe(400);
  });

  test("with a grid trains every combination, two at a time, and names the best", async () => {
    const made = await create({
      name: "rates",
      training: training(),
      space: { learning_rate: [3e-4, 1e-4, 1e-3, 2e-4] },
    });
    expect(made.counts).toEqual({ trials: 4, ended: 0, succeeded: 0 });
    let most = 0;
    const done = await until(
      "the sweep to end",
      async () => {
        const view = await read(made.id);
        most = Math.max(most, view.trials.filter((one) => one.state === "running").length);
        return view.state === "running" ? null : view;
      },
      60_000,
      30,
    );
    expect(most).toBe(2);
    expect([done.state, done.counts.succeeded, done.best]).toEqual(["succeeded", 4, 2]);
    for (const one of done.trials) {
      expect(one.score).toBeCloseTo(1 / 18 + 1000 * Number(one.values.learning_rate), 6);
      const job = await lab.job(one.job_id ?? "");
      expect(job.metadata).toMatchObject({ sweep: made.id, trial: String(one.number) });
      expect(job.name).toBe(`rates ${one.number}: learning_rate ${one.values.learning_rate}`);
      expect(one.model).toBe(job.spec.kind === "train" ? job.spec.output_model : "");
    }
    expect((await lab.request("POST", `/v1/sweeps/${made.id}/cancel`)).status).toBe(400);

    // Deleted, the jobs whose models exist stay as ordinary jobs.
    const jobs = done.trials.map((one) => one.job_id ?? "");
    const [first = ""] = jobs;
    await lab.json("DELETE", `/v1/models/${encodeURIComponent(done.trials[0]?.model ?? "")}`);
    const deleted = await lab.json<{ object: string; id: string; deleted: boolean; kept_jobs: string[] }>(
      "DELETE",
      `/v1/sweeps/${made.id}`,
    );
    expect(deleted).toEqual({ object: "sweep", id: made.id, deleted: true, kept_jobs: jobs.slice(1) });
    expect((await lab.request("GET", `/v1/sweeps/${made.id}`)).status).toBe(404);
    expect((await lab.request("GET", `/v1/jobs/${first}`)).status).toBe(404);
    const [kept = ""] = deleted.kept_jobs;
    for (const path of ["/v1/jobs/", "/jobs/"]) expect((await lab.request("GET", path + kept)).status).toBe(200);
    const log = await lab.json<{ data: { target: string }[] }>("GET", "/v1/admin/audit?action=sweep.delete");
    expect(log.data.map(({ target }) => target)).toEqual([made.id]);
  }, 90_000);

  test("with halving stops the worse trials at their rungs with a reason, and continues after a restart", async () => {
    const rates = { min: 1e-5, max: 1e-3, scale: "log" };
    const made = await create({
      training: training({ suffix: "judged-slow.40", max_steps: 36 }),
      space: { learning_rate: rates },
      strategy: { type: "halving", trials: 6, seed: 3, eta: 3 },
    });
    expect(made.trials[0]?.rungs).toEqual([12]);
    await until(
      "a first decision",
      async () => (await read(made.id)).trials.some((one) => one.decisions.length),
      30_000,
    );
    stop();
    await lab.goAway();
    lab.comeBack();
    stop = startSweeps(lab.ctx);
    const done = await ended(made.id);
    expect(done.state).toBe("succeeded");
    const stopped = done.trials.filter((one) => one.state === "stopped");
    const completed = done.trials.filter((one) => one.state === "succeeded");
    expect(stopped.length).toBeGreaterThanOrEqual(2);
    expect(stopped.length + completed.length).toBe(6);
    for (const one of stopped) {
      expect(one.reason).toMatch(/^Stopped at step 12: \d(st|nd|rd|th) of \d by train\/loss/);
      expect(one.decisions.at(-1)).toMatchObject({ rung: 0, step: 12, kept: false });
      expect((await lab.job(one.job_id ?? "")).state).toBe("cancelled");
    }
    const lowest = [...done.trials].sort((a, b) => Number(a.values.learning_rate) - Number(b.values.learning_rate))[0];
    expect(done.best).toBe(lowest?.number ?? null);
    // No trial was compared twice or trained twice.
    for (const one of done.trials) expect(one.decisions.length).toBe(1);
    expect(new Set(done.trials.map((one) => one.job_id)).size).toBe(6);
  }, 120_000);

  test("continues when a trial fails, and fails when all do", async () => {
    const some = await create({
      training: training({ suffix: "judged-crash.10", max_attempts: 1 }),
      space: { max_steps: [6, 12] },
    });
    const mixed = await ended(some.id);
    expect(mixed.state).toBe("succeeded");
    expect(mixed.trials.map((one) => one.state)).toEqual(["succeeded", "failed"]);
    expect([mixed.best, typeof mixed.trials[1]?.reason]).toEqual([1, "string"]);
    expect(await eventsOf(some.id)).toEqual([["sweep.succeeded", `Sweep ${mixed.name} finished`, "its creator"]]);
    const none = await create({ training: training({ suffix: "code.1", max_attempts: 1 }), space: { seed: [1, 2] } });
    const failed = await ended(none.id);
    expect([failed.state, failed.best]).toEqual(["failed", null]);
    expect(failed.error).toContain("No trial completed its training.");
    expect(await eventsOf(none.id)).toEqual([["sweep.failed", `Sweep ${failed.name} failed`, "its creator"]]);
  }, 90_000);

  test("is created in the browser from a training, with errors beside their fields, and shows its trials", async () => {
    const page = async (method: string, path: string, form?: Record<string, string>) => {
      const answer = await lab.request(method, path, form ? { raw: new URLSearchParams(form) } : {});
      return { status: answer.status, location: answer.headers.get("location") ?? "", text: await answer.text() };
    };
    const first = await page("GET", `/sweeps/new?job=${await lab.train("before")}`);
    expect([first.status, first.text.includes("3 trials")]).toEqual([200, true]);
    const form = {
      training: JSON.stringify(training()),
      metric: "train/loss",
      name: "by hand",
      field_0: "learning_rate",
      values_0: "1e-4 to 1e-2",
      field_1: "seed",
      values_1: "1, 2",
    };
    expect((await page("POST", "/sweeps/plan", form)).text).toContain("6 trials");
    const wrong = await page("POST", "/sweeps", { ...form, values_0: "2 to 1" });
    expect([wrong.status, wrong.text.includes("The field needs a min below its max.")]).toEqual([422, true]);
    const twice = await page("POST", "/sweeps", { ...form, field_1: "learning_rate" });
    expect(twice.text).toContain("This field is already listed above.");
    const made = await page("POST", "/sweeps", { ...form, values_0: "1e-4" });
    expect(made.status).toBe(303);
    const done = await ended(made.location.replace("/sweeps/", ""));
    expect(done.counts.succeeded).toBe(2);
    const shown = await page("GET", made.location);
    expect(shown.text).toContain("Best: learning_rate 0.0001, seed");
    expect((await page("GET", "/sweeps")).text).toContain("by hand");
  }, 90_000);

  test("is canceled with its jobs, and waiting trials never start", async () => {
    const made = await create({
      training: training({ suffix: "judged-slow.50", max_steps: 2000 }),
      space: { seed: [1, 2, 3] },
      parallel: 1,
    });
    await until("a trial to train", async () => ((await read(made.id)).trials[0]?.step ?? 0) > 1, 30_000);
    expect((await lab.request("DELETE", `/v1/sweeps/${made.id}`)).status).toBe(409);
    expect((await lab.json<SweepView>("POST", `/v1/sweeps/${made.id}/cancel`)).state).toBe("stopping");
    const done = await ended(made.id);
    expect(done.state).toBe("cancelled");
    expect(await eventsOf(made.id)).toEqual([["sweep.cancelled", `Sweep ${done.name} was canceled`, "nobody"]]);
    expect(done.trials.map((one) => one.state)).toEqual(["cancelled", "cancelled", "cancelled"]);
    expect(done.trials.map((one) => one.job_id !== null)).toEqual([true, false, false]);
    const page = await lab.request("POST", `/sweeps/${made.id}/delete`, { form: {} });
    expect([page.status, page.headers.get("location")]).toEqual([303, "/sweeps"]);
    expect((await lab.request("GET", `/v1/jobs/${done.trials[0]?.job_id}`)).status).toBe(404);
  }, 90_000);
});
