/** A real training on this machine: its memory dry run, its peak memory, and the correction of the next plan. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Progress } from "../../src/contract/job.ts";
import type { TrainResult } from "../../src/contract/trainer.ts";
import type { planView } from "../../src/training/plan/plan.ts";
import { type Live, startLive, trainerMissing, until } from "../support/live.ts";
import { importTinyModel, trainingLines } from "../support/tiny.ts";

type PlanView = ReturnType<typeof planView>;
interface JobView {
  id: string;
  state: string;
  progress: Progress;
  result: TrainResult;
  spec: { need: { memory_mb: number; formula_mb: number } };
}

describe.skipIf(trainerMissing !== null)("a run on this machine", () => {
  let live: Live;
  let body: Record<string, unknown>;

  beforeAll(async () => {
    live = await startLive();
    await importTinyModel(live);
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set("file", new File([trainingLines(40)], "rows.jsonl"));
    const headers = { authorization: `Bearer ${live.key}` };
    const sent = await fetch(`${live.url}/v1/files`, { method: "POST", body: form, headers });
    const { id } = (await sent.json()) as { id: string };
    body = { model: "tiny", training_file: id, max_steps: 3, batch_size: 4, evaluate_after: false };
  }, 60_000);
  afterAll(() => live.close());

  test("is planned with enough memory, reports its peak, and corrects the next plan", async () => {
    const plan = () => live.call<PlanView>("POST", "/v1/jobs/plan", body);
    const before = await until("the rows", async () => {
      const made = await plan();
      return made.ready && made.tokens ? made : null;
    });
    expect(before.offers).toMatchObject([
      { provider: "process", fits: true, cost_range_usd: [0, 0], basis: "default" },
    ]);
    const { id } = await live.call<{ id: string }>("POST", "/v1/jobs", body);
    const job = await until(
      "the run",
      async () => {
        const now = await live.call<JobView>("GET", `/v1/jobs/${id}`);
        if (["failed", "cancelled"].includes(now.state)) throw new Error(`${now.state}: ${live.log()}`);
        return now.state === "succeeded" ? now : null;
      },
      90_000,
    );
    const { canary } = job.progress;
    const peak = job.result.peak_memory_mb ?? 0;
    expect(canary).toMatchObject({ rows: 4 });
    expect(canary?.peak_memory_mb).toBeGreaterThan(200);
    expect(peak).toBeGreaterThanOrEqual(canary?.peak_memory_mb ?? 0);
    expect(peak).toBeLessThan(job.spec.need.memory_mb);
    const after = await plan();
    expect(after.memory).toMatchObject({ runs: 1 });
    expect(after.memory.correction).toBeCloseTo(peak / job.spec.need.formula_mb, 3);
    expect(after.offers).toMatchObject([{ basis: "history", runs: 1 }]);
    const { data } = await live.call<{ data: { message: string }[] }>(
      "GET",
      `/v1/fine_tuning/jobs/${id}/events?limit=100`,
    );
    expect(data.map((one) => one.message).join("\n")).toContain("Memory test with the longest batch (4 x ");
  }, 120_000);
});
