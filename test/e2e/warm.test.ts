/**
 * Real trainings of the tiny model: a warm and a reproduced start give exactly the losses of a cold one, and a
 * maintenance interrupts a training without losing a step.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Live, startLive, TRAINER_ENV, trainerMissing, until } from "../support/live.ts";
import { importTinyModel, trainingLines } from "../support/tiny.ts";

interface Job {
  id: string;
  state: string;
  error: unknown;
}
let live: Live;
let file: string;

/** Trains to the end, or reproduces the job `again`; returns the losses and whether a warm launcher started it. */
async function train(again?: string) {
  const request = { model: "tiny", training_file: file, seed: 7, max_steps: 6, batch_size: 4, evaluate_after: false };
  const { id } = await live.call<Job>("POST", again ? `/v1/jobs/${again}/reproduce` : "/v1/jobs", again ? {} : request);
  const job = await until(
    "the job to end",
    async () => {
      const now = await live.call<Job>("GET", `/v1/jobs/${id}`);
      return ["succeeded", "failed"].includes(now.state) ? now : null;
    },
    90_000,
  );
  expect(job).toMatchObject({ state: "succeeded", error: null });
  const attempts = await live.call<{ data: { handle: { warm: boolean } }[] }>("GET", `/v1/jobs/${id}/attempts`);
  const { series } = await live.call<{ series: Record<string, { points: [number, number][] }> }>(
    "GET",
    `/v1/jobs/${id}/metrics?keys=train/loss`,
  );
  return { id, warm: attempts.data[0]?.handle.warm, losses: series["train/loss"]?.points.map(([, value]) => value) };
}

describe.skipIf(trainerMissing !== null)(
  `a real training${trainerMissing ? ` (skipped: ${trainerMissing})` : ""}`,
  () => {
    beforeAll(async () => {
      live = await startLive({ env: { FTL_TRAINER_ENV: TRAINER_ENV } }); // a start of its own is what it is about
      await importTinyModel(live);
      const form = new FormData();
      form.set("purpose", "fine-tune");
      form.set("file", new File([trainingLines(60)], "bank.jsonl"));
      const headers = { authorization: `Bearer ${live.key}` };
      const answer = await fetch(`${live.url}/v1/files`, { method: "POST", body: form, headers });
      file = ((await answer.json()) as { id: string }).id;
    }, 60_000);
    afterAll(() => live?.close());

    test("trains exactly like a cold start", async () => {
      const cold = await train();
      const warm = await until(
        "a warm start",
        async () => {
          const run = await train();
          return run.warm ? run : null;
        },
        120_000,
      );
      expect(cold.losses).toHaveLength(6);
      expect(warm.losses).toEqual(cold.losses);
      // The same frozen spec gives the same run, and the server reports that.
      const again = await train(cold.id);
      const { reproduction } = await live.call<{ reproduction: object }>("GET", `/v1/jobs/${again.id}`);
      const same = { original: cold.id, steps: 6, same: true, first_difference: null, differences: [] };
      expect([again.losses, reproduction]).toEqual([cold.losses, same]);
    }, 300_000);

    test("a training saves a checkpoint when a maintenance starts, and resumes at its end without losing a step", async () => {
      const request = { model: "tiny", training_file: file, max_steps: 200, batch_size: 4, evaluate_after: false };
      const { id } = await live.call<Job>("POST", "/v1/jobs", request);
      const job = () => live.call<Job & { progress: { step?: number; total_steps?: number } }>("GET", `/v1/jobs/${id}`);
      const reached = (state: string) =>
        until(`the job to be ${state}`, async () => (await job()).state === state, 90_000, 20);
      await until("some steps", async () => ((await job()).progress.step ?? 0) >= 3, 90_000, 10);
      const ends_at = Math.floor(Date.now() / 1000) + 3600;
      const window = await live.call<{ id: string }>("POST", "/v1/admin/maintenance", { ends_at, reason: "Test" });
      await reached("queued");
      const { step = 0, total_steps: steps = 0 } = (await job()).progress;
      expect([step >= 3, step < steps]).toEqual([true, true]);
      await live.call("POST", `/v1/admin/maintenance/${window.id}/end`);
      await reached("succeeded");
      const { data } = await live.call<{ data: { outcome: string }[] }>("GET", `/v1/jobs/${id}/attempts`);
      expect(data.map(({ outcome }) => outcome).sort()).toEqual(["paused", "succeeded"]);
      const { series } = await live.call<{ series: Record<string, { points: [number, number][] }> }>(
        "GET",
        `/v1/jobs/${id}/metrics?keys=train/loss`,
      );
      expect(series["train/loss"]?.points.map(([at]) => at)).toEqual(Array.from({ length: steps }, (_, n) => n + 1));
    }, 120_000);
  },
);
