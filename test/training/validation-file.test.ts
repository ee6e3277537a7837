/** Real trainings with a validation file: everything that validation rows decide goes by its rows, and by no others. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TrainResult } from "../../src/contract/trainer.ts";
import type { planView } from "../../src/training/plan/plan.ts";
import { type Live, startLive, TRAINER_ENV, trainerMissing, until } from "../support/live.ts";
import { importTinyModel, TINY_MODEL, trainingLines } from "../support/tiny.ts";

interface JobView {
  id: string;
  state: string;
  result: TrainResult;
  progress: { first_batch?: { state: string; rows?: number } };
}
interface Checkpoint {
  step_number: number;
  metrics: Record<string, number>;
}

/** Rows whose answers contradict the training rows: the better the model learns, the worse it does on them. */
const CONTRARY = `${Array.from({ length: 12 }, (_, i) =>
  JSON.stringify({
    messages: [
      { role: "system", content: "Answer with JSON." },
      { role: "user", content: `Message ${i}: please help me` },
      { role: "assistant", content: `No JSON today, ask again on day ${i}` },
    ],
  }),
).join("\n")}\n`;

describe.skipIf(trainerMissing !== null)("a validation file", () => {
  let live: Live;
  const files: Record<string, string> = {};

  beforeAll(async () => {
    live = await startLive();
    await importTinyModel(live);
    const headers = { authorization: `Bearer ${live.key}` };
    for (const [name, text] of Object.entries({ training: trainingLines(40), validation: CONTRARY })) {
      const form = new FormData();
      form.set("purpose", "fine-tune");
      form.set("file", new File([text], `${name}.jsonl`));
      const sent = await fetch(`${live.url}/v1/files`, { method: "POST", body: form, headers });
      files[name] = ((await sent.json()) as { id: string }).id;
    }
  }, 60_000);
  afterAll(() => live.close());

  const ended = (id: string) =>
    until(
      "the run",
      async () => {
        const now = await live.call<JobView>("GET", `/v1/jobs/${id}`);
        if (["failed", "cancelled"].includes(now.state)) throw new Error(`${now.state}: ${live.log()}`);
        return now.state === "succeeded" ? now : null;
      },
      150_000,
    );

  test("is what the eval loss, the samples and the best checkpoint go by, and the training file trains whole", async () => {
    const body = {
      model: "tiny",
      training_file: files.training,
      validation_file: files.validation,
      evaluate_after: false,
      batch_size: 40,
      max_steps: 6,
      learning_rate: 0.05,
      eval_every: 2,
      save_every: 2,
      keep_best: true,
      precision: "float32",
    };
    const plan = await until("the rows", async () => {
      const made = await live.call<ReturnType<typeof planView>>("POST", "/v1/jobs/plan", body);
      return made.ready ? made : null;
    });
    expect(plan.spec).toMatchObject({
      dataset: { train_rows: 40, holdout_rows: 0 },
      validation: { train_rows: 0, holdout_rows: 12 },
      schedule: { eval_rows: 12, sample_rows: 3, total_steps: 6 },
    });
    const { id } = await live.call<{ id: string }>("POST", "/v1/jobs", body);
    const job = await ended(id);

    // All 40 rows of the training file are in the first batch, those of its own validation split among them.
    expect(job.progress.first_batch).toEqual({ state: "same", rows: 40 });
    const events = await live.call<{ data: { message: string }[] }>(
      "GET",
      `/v1/fine_tuning/jobs/${id}/events?limit=100`,
    );
    const messages = events.data.map((one) => one.message).join("\n");
    expect(messages).toContain("40 rows, 6 steps");
    expect(messages).not.toContain("no validation row");

    const { data } = await live.call<{ data: Checkpoint[] }>("GET", `/v1/fine_tuning/jobs/${id}/checkpoints`);
    const losses = new Map(data.map(({ step_number, metrics }) => [step_number, metrics.valid_loss ?? Number.NaN]));
    expect([...losses.keys()].sort()).toEqual([2, 4, 6]);
    // The model moves towards the training rows, so by these rows an early checkpoint is the best.
    const [best] = [...losses].sort(([, a], [, b]) => a - b)[0] ?? [];
    expect(best).not.toBe(6);
    expect(job.result.best_step).toBe(best);
    expect(job.result.eval_loss).toBeCloseTo(losses.get(best ?? 0) ?? 0, 5);

    const rows = join(mkdtempSync(join(tmpdir(), "ftl-rows-")), "validation.jsonl");
    writeFileSync(rows, CONTRARY);
    const adapter = readdirSync(join(live.dir, "artifacts")).find((one) => one === job.result.adapter_artifact);
    const run = Bun.spawnSync([
      join(TRAINER_ENV, "bin/python"),
      join(import.meta.dir, "../support/row_losses.py"),
      TINY_MODEL,
      join(live.dir, "artifacts", adapter ?? "missing"),
      rows,
    ]);
    if (run.exitCode !== 0) throw new Error(run.stderr.toString());
    const own = JSON.parse(run.stdout.toString()) as { loss: number };
    expect(job.result.eval_loss).toBeCloseTo(own.loss, 3);

    const { data: samples } = await live.call<{ data: { expected: string }[] }>("GET", `/v1/jobs/${id}/samples`);
    expect(new Set(samples.map((one) => one.expected))).toEqual(
      new Set([0, 1, 2].map((i) => `No JSON today, ask again on day ${i}`)),
    );
  }, 240_000);
});
