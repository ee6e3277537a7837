/** The pipeline with real processes: launch, events, cancel, pause, resume, retries, timeouts, and server restarts. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { keyOf } from "../../src/training/attempts/launch.ts";
import { createLab, type Lab } from "../support/lab.ts";
import { until } from "../support/live.ts";

let lab: Lab;
beforeAll(async () => {
  lab = await createLab({ sweepMs: 200, orphanGraceMs: 5000 });
}, 60_000);
afterAll(() => lab.close(), 60_000);

const post = (id: string, action: string) => lab.request("POST", `/v1/jobs/${id}/${action}`);
const step = async (id: string) => (await lab.job(id)).progress.step ?? 0;
const atStep = (id: string, n: number) => until(`step ${n}`, async () => (await step(id)) >= n, 45_000, 10);
const events = async (id: string) =>
  (
    await lab.json<{ data: { type: string; level: string; message: string; data?: { step?: number } }[] }>(
      "GET",
      `/v1/fine_tuning/jobs/${id}/events?limit=100`,
    )
  ).data;
const lossSteps = async (id: string) => {
  const { series } = await lab.json<{ series: Record<string, { points: [number, number][] }> }>(
    "GET",
    `/v1/jobs/${id}/metrics?keys=train/loss`,
  );
  return (series["train/loss"]?.points ?? []).map(([at]) => at);
};
const allSteps = (n: number) => Array.from({ length: n }, (_, i) => i + 1);
const gone = (id: string) =>
  until("the work to be gone", async () => (await lab.attempts(id)).every((one) => one.goneAt !== null), 45_000, 20);

describe("a training job", () => {
  test("succeeds with model, checkpoints, metered use and result file, and leaves nothing running", async () => {
    const id = await lab.train("well");
    const done = await lab.reached(id, "succeeded");
    // A client that reads the end also reads the result file, because clients do not ask twice.
    const asked = Array.from({ length: 3 }, () =>
      lab.json<{ result_files: string[] }>("GET", `/v1/fine_tuning/jobs/${id}`),
    );
    const [files] = (await Promise.all(asked)).map((seen) => seen.result_files);
    expect(files?.length).toBe(1);
    expect(done.error).toBeNull();
    expect(await lossSteps(id)).toEqual(allSteps(20));
    const model = done.spec.kind === "train" ? done.spec.output_model : "";
    expect((await lab.json<{ id: string }>("GET", `/v1/models/${encodeURIComponent(model)}`)).id).toBe(model);
    const checkpoints = await lab.json<{ data: { step_number: number }[] }>("GET", `/v1/jobs/${id}/checkpoints`);
    expect(checkpoints.data[0]?.step_number).toBe(20);
    await gone(id);
    const [only, ...more] = await lab.attempts(id);
    expect(more).toEqual([]);
    expect(only).toMatchObject({ outcome: "succeeded", exitCode: 0, state: "ended" });
    const { usage } = await lab.json<{ usage: { seconds: number; tokens: number } }>("GET", `/v1/jobs/${id}`);
    expect(usage.tokens).toBe(200);
    expect(usage.seconds).toBeGreaterThan(0.3);
    const csv = await (await lab.request("GET", `/v1/files/${files?.[0]}/content`)).text();
    expect(csv.split("\n")[0]).toBe("step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy");
    expect(csv.trim().split("\n").length).toBe(21);
    expect(await lab.provider.listOwned(lab.ctx.installation)).toEqual([]);
  }, 60_000);

  test("that learned nothing says so on its page, in its events and in the API", async () => {
    const warning = "Nothing was learned: the adapter is all zero.";
    const seen = async (id: string) => ({
      events: (await events(id)).filter((one) => one.level === "warn").map((one) => one.message),
      result: (await lab.json<{ result: { warnings?: string[] } }>("GET", `/v1/jobs/${id}`)).result.warnings,
      page: (await (await lab.request("GET", `/jobs/${id}`, { headers: { accept: "text/html" } })).text()).includes(
        warning,
      ),
    });
    const [idle, well] = await Promise.all([lab.train("idle"), lab.train("learned")]);
    for (const id of [idle, well]) await lab.reached(id, "succeeded");
    const found = await seen(idle);
    expect(found).toMatchObject({ result: [warning], page: true });
    expect(found.events).toContain(warning);
    const other = await seen(well);
    expect(other).toMatchObject({ result: undefined, page: false });
    expect(other.events).not.toContain(warning);
  }, 60_000);

  test("is canceled while it runs, once", async () => {
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set(
      "file",
      await lab.request("GET", `/v1/files/${lab.fileId}/content`).then((file) => file.blob()),
      "own.jsonl",
    );
    const { id: file } = await lab.json<{ id: string }>("POST", "/v1/files", { raw: form });
    const id = await lab.train("long", { max_steps: 5000, training_file: file });
    await atStep(id, 3);
    await lab.goAway();
    const cancel = () => lab.json<{ status: string }>("POST", `/v1/fine_tuning/jobs/${id}/cancel`);
    // The process is still there: a second cancel changes nothing, and the file can be deleted already.
    for (let n = 0; n < 2; n++)
      expect([(await cancel()).status, (await lab.job(id)).state]).toEqual(["cancelled", "stopping"]);
    expect((await lab.request("DELETE", `/v1/files/${file}`)).status).toBe(200);
    lab.comeBack();
    await lab.reached(id, "cancelled");
    await gone(id);
    const again = await post(id, "cancel");
    expect(again.status).toBe(400);
    expect((await again.json()).error.code).toBe("illegal_transition");
    expect((await lab.attempts(id))[0]?.outcome).toBe("cancelled");
  }, 60_000);

  test("that ignores commands is terminated", async () => {
    const id = await lab.train("mute");
    await lab.reached(id, "starting");
    await until("a process", async () => (await lab.attempts(id))[0]?.handle != null, 45_000, 20);
    await post(id, "cancel");
    await lab.reached(id, "cancelled");
    await gone(id);
  }, 60_000);

  test("pauses with a checkpoint, resumes from it, and repeats no step", async () => {
    const id = await lab.train("pausing", { max_steps: 60, save_every: 50 });
    await atStep(id, 7);
    expect((await post(id, "pause")).status).toBe(200);
    await lab.reached(id, "paused");
    const at = await step(id);
    await gone(id);
    expect((await post(id, "pause")).status).toBe(400);
    expect((await post(id, "resume")).status).toBe(200);
    await lab.reached(id, "succeeded");
    expect(await lossSteps(id)).toEqual(allSteps(60));
    const [first, second] = await lab.attempts(id);
    expect(first?.outcome).toBe("paused");
    expect(second?.outcome).toBe("succeeded");
    const plans = (await events(id)).filter((one) => one.type === "metrics" && one.data?.step === at + 1);
    expect(plans.length).toBeLessThanOrEqual(1);
    const { usage } = await lab.json<{ usage: { tokens: number } }>("GET", `/v1/jobs/${id}`);
    expect(usage.tokens).toBe(600);
  }, 60_000);

  test("a canceled run is continued from its newest checkpoint as a new job with the same spec", async () => {
    const id = await lab.train("stopped", { max_steps: 40, save_every: 10 });
    const saved = () => lab.json<{ data: { step_number: number }[] }>("GET", `/v1/jobs/${id}/checkpoints`);
    await until("a checkpoint", async () => (await saved()).data[0], 45_000, 20);
    expect((await post(id, "continue")).status).toBe(409);
    await post(id, "cancel");
    await lab.reached(id, "cancelled");
    const { step_number: from = 0 } = (await saved()).data[0] ?? {};
    const next = await lab.json<{ id: string; name: string; parent_id: string }>("POST", `/v1/jobs/${id}/continue`);
    expect(next).toMatchObject({ name: `stopped from step ${from}`, parent_id: id });
    await lab.reached(next.id, "succeeded");
    expect(await lossSteps(next.id)).toEqual(allSteps(40).slice(from));
  }, 60_000);

  test("is resumed while it still pauses: it saves its checkpoint, is queued again and repeats no step", async () => {
    const id = await lab.train("both", { max_steps: 60, save_every: 50 });
    await atStep(id, 7);
    await lab.goAway();
    for (const action of ["pause", "resume", "pause", "resume"] as const)
      expect([action, (await post(id, action)).status, (await lab.job(id)).state]).toEqual([action, 200, "pausing"]);
    lab.comeBack();
    await lab.reached(id, "succeeded");
    expect(await lossSteps(id)).toEqual(allSteps(60));
    expect((await lab.attempts(id)).map((one) => one.outcome)).toEqual(["paused", "succeeded"]);
  }, 60_000);

  test("saves a checkpoint on request and continues", async () => {
    const id = await lab.train("asked", { max_steps: 100, save_every: 90 });
    await atStep(id, 5);
    expect((await post(id, "checkpoint")).status).toBe(200);
    const found = await until(
      "a checkpoint",
      async () => {
        const { data } = await lab.json<{ data: { step_number: number }[] }>("GET", `/v1/jobs/${id}/checkpoints`);
        return data[0] ?? null;
      },
      45_000,
      20,
    );
    expect(found.step_number).toBeLessThan(90);
    await lab.reached(id, "succeeded");
    expect((await lab.attempts(id)).length).toBe(1);
  }, 60_000);

  test("that waits for a slot says so, and can be paused and canceled without starting", async () => {
    const blockers = [await lab.train("b1", { max_steps: 5000 }), await lab.train("b2", { max_steps: 5000 })];
    for (const id of blockers) await lab.reached(id, "running");
    const id = await lab.train("waits");
    await until("the reason", async () => (await lab.job(id)).progress.waiting?.includes("slot"), 45_000, 20);
    await post(id, "pause");
    expect((await lab.job(id)).state).toBe("paused");
    await post(id, "resume");
    expect((await lab.job(id)).state).toBe("queued");
    await post(id, "cancel");
    expect((await lab.job(id)).state).toBe("cancelled");
    expect(await lab.attempts(id)).toEqual([]);
    for (const blocker of blockers) await post(blocker, "cancel");
    for (const blocker of blockers) await lab.reached(blocker, "cancelled");
    for (const blocker of blockers) await gone(blocker);
  }, 60_000);
});

describe("when an attempt fails", () => {
  test.each([
    ["crash.12-once", "internal", 1],
    ["kill.12-once", "killed", 137],
  ])(
    "with %s, it is retried from its newest checkpoint",
    async (suffix, reason, code) => {
      const id = await lab.train(suffix, { max_steps: 20, save_every: 5 });
      const done = await lab.reached(id, "succeeded");
      expect(done.attempts).toBe(2);
      const [first] = await lab.attempts(id);
      expect(first).toMatchObject({ outcome: reason, exitCode: code });
      if (reason === "internal") expect(first?.detail).toContain("about to crash");
      expect(await lossSteps(id)).toEqual(allSteps(20));
      expect((await events(id)).some((one) => /Attempt 2 follows/.test(one.message))).toBe(true);
    },
    60_000,
  );

  test("for a reason that a retry cannot fix, the job fails with advice", async () => {
    const id = await lab.train("fail.nan_loss");
    const done = await lab.reached(id, "failed");
    expect(done.attempts).toBe(1);
    expect(done.error).toMatchObject({ code: "nan_loss", message: "the fake trainer failed on request" });
    expect(done.error?.advice).toContain("learning rate");
    const seen = await lab.json<{ status: string; error: unknown }>("GET", `/v1/fine_tuning/jobs/${id}`);
    expect(seen).toMatchObject({ status: "failed", error: { code: "nan_loss", param: null } });
  }, 60_000);

  test.each([
    ["raise.3", 5, 2, "ValueError was raised twice in a row at __main__.py:"],
    ["raise.12", 5, 2, "with no step trained in between"],
    ["later.3", 3, 3, null],
    ["crash.2", 2, 2, null],
  ] as const)(
    "with %s, at most %d attempts, it fails after %d",
    async (suffix, max_attempts, attempts, why) => {
      const id = await lab.train(suffix, { max_attempts, save_every: 5 });
      const done = await lab.reached(id, "failed");
      expect(done.attempts).toBe(attempts);
      expect(done.error?.code).toBe("internal");
      if (why) {
        expect(done.error?.message).toStartWith("ValueError: wrong at ");
        expect(done.error?.advice).toContain(why);
      } else expect(done.error?.advice).not.toContain("twice in a row");
    },
    60_000,
  );

  test("because the trainer refuses its spec, it is not retried", async () => {
    const id = await lab.train("code.2");
    const done = await lab.reached(id, "failed");
    expect(done.error?.code).toBe("bad_spec");
    expect(done.attempts).toBe(1);
  }, 60_000);

  test("without a complete checkpoint, a reported success is a failure", async () => {
    const id = await lab.train("bare");
    expect((await lab.reached(id, "failed")).error?.code).toBe("bad_result");
  }, 60_000);
});

describe("timeouts", () => {
  test("a trainer without progress is terminated and the job retried", async () => {
    const id = await lab.train("stall.8-once", { save_every: 5 });
    await atStep(id, 7);
    await lab.setLimits(id, { no_progress_s: 0.6 });
    await until("the second attempt", async () => (await lab.job(id)).attempts === 2, 45_000, 20);
    await lab.setLimits(id, { no_progress_s: 60 });
    await lab.reached(id, "succeeded");
    expect((await lab.attempts(id))[0]?.outcome).toBe("no_progress");
    expect(await lossSteps(id)).toEqual(allSteps(20));
  }, 60_000);

  test("an attempt over its time limit fails the job, and its process is terminated", async () => {
    const id = await lab.train("long", { max_steps: 5000 });
    await atStep(id, 2);
    await lab.setLimits(id, { total_s: 0.2 });
    expect((await lab.reached(id, "failed")).error?.code).toBe("total_timeout");
    await gone(id);
  }, 60_000);

  test("a job over its limit in the queue fails", async () => {
    const blockers = [await lab.train("q1", { max_steps: 5000 }), await lab.train("q2", { max_steps: 5000 })];
    for (const id of blockers) await lab.reached(id, "running");
    const id = await lab.train("late");
    await lab.setLimits(id, { queued_s: 0.1 });
    expect((await lab.reached(id, "failed")).error?.code).toBe("queued_timeout");
    for (const blocker of blockers) await post(blocker, "cancel");
    for (const blocker of blockers) await gone(blocker);
  }, 60_000);
});

describe("a restarted server", () => {
  test("finds the same process again and loses none of its reports", async () => {
    const id = await lab.train("outlives", { max_steps: 80 });
    await atStep(id, 5);
    const [before] = await lab.attempts(id);
    for (let i = 0; i < 3; i++) {
      await lab.goAway();
      await Bun.sleep(150);
      lab.comeBack();
      await Bun.sleep(100);
    }
    await lab.reached(id, "succeeded");
    const [after, ...more] = await lab.attempts(id);
    expect(more).toEqual([]);
    expect(after?.handle).toEqual(before?.handle ?? null);
    expect(await lossSteps(id)).toEqual(allSteps(80));
  }, 60_000);

  test("detects a process that died meanwhile", async () => {
    const id = await lab.train("kill.12-once", { save_every: 5 });
    await atStep(id, 3);
    const [first] = await lab.attempts(id);
    await lab.goAway();
    process.kill(Number(first?.handle?.pid), "SIGKILL");
    lab.comeBack();
    await lab.reached(id, "succeeded");
    expect((await lab.attempts(id)).map((one) => one.outcome)).toEqual(["killed", "succeeded"]);
  }, 60_000);

  test("adopts a process whose handle was not stored", async () => {
    const id = await lab.train("adopted", { max_steps: 60 });
    await atStep(id, 3);
    await lab.goAway();
    const [one] = await lab.attempts(id);
    await lab.ctx.write((tx) =>
      tx
        .update(attempt)
        .set({ handle: null, state: "launching" })
        .where(eq(attempt.id, one?.id ?? "")),
    );
    await lab.ctx.write((tx) => tx.update(job).set({ state: "starting" }).where(eq(job.id, id)));
    lab.comeBack();
    await lab.reached(id, "succeeded");
    const [after, ...more] = await lab.attempts(id);
    expect(more).toEqual([]);
    expect(after?.handle).toEqual(one?.handle ?? null);
  }, 60_000);

  test("launches a stored attempt that was not launched, with a new token", async () => {
    const id = await lab.train("written", { max_steps: 10 });
    await lab.reached(id, "starting", "running");
    await until("a handle", async () => (await lab.attempts(id))[0]?.handle != null, 45_000, 10);
    await lab.goAway();
    const [one] = await lab.attempts(id);
    const handle = { provider: "process", key: keyOf(one?.id ?? "") };
    while (!(await lab.provider.terminate(handle, { graceS: 0 })).gone) await Bun.sleep(20);
    await lab.ctx.write((tx) =>
      tx
        .update(attempt)
        .set({ handle: null, state: "launching", lastSeq: 0 })
        .where(eq(attempt.id, one?.id ?? "")),
    );
    await lab.ctx.write((tx) => tx.update(job).set({ state: "starting" }).where(eq(job.id, id)));
    lab.comeBack();
    await lab.reached(id, "succeeded");
    const [after, ...more] = await lab.attempts(id);
    expect(more).toEqual([]);
    expect(after?.tokenHash).not.toBe(one?.tokenHash ?? "");
  }, 60_000);

  test("terminates orphaned work with its label after a grace period", async () => {
    const need = (await lab.job(await lab.train("any"))).spec.need;
    const [anOffer] = await lab.provider.offers(need);
    if (!anOffer) throw new Error("no offer");
    await lab.provider.launch(
      {
        kind: "train",
        need,
        image: null,
        argv: ["sleep", "600"],
        env: {},
      },
      anOffer,
      {
        key: "att-nobodys",
        labels: {},
        deadline: Date.now() + 600_000,
        maxPricePerHour: null,
        callHome: { url: "unix:/x", token: "fta-x", fingerprint: null },
      },
    );
    const orphan = { provider: "process", key: "att-nobodys" };
    // Several sweeps later it still runs.
    await Bun.sleep(700);
    expect(await lab.provider.describe(orphan)).toMatchObject({ state: "running", reason: null });
    await until(
      "the orphan to be gone",
      async () => (await lab.provider.describe(orphan)).state === "absent",
      45_000,
      50,
    );
  }, 60_000);
});
