/**
 * Load best checkpoint at end: the checkpoint with the lowest eval loss is not pruned, becomes the model, and is
 * evaluated.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { evaluation } from "../../src/db/schema/evaluations.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { checkpoint, model } from "../../src/db/schema/models.ts";
import { createEvaluation } from "../../src/evaluation/service.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer, saveCheckpoint, trainSpec } from "../support/attempt.ts";

let t: TestApp;
beforeAll(async () => {
  t = await createTestApp();
});
afterAll(() => t.close());

const LOSSES = [0.9, 0.2, 0.5, 0.6, 0.7];

async function run(
  keepBest: boolean,
  measured = (loss: number): Record<string, number> => ({ "eval/loss": loss }),
): Promise<{ jobId: string; steps: number[]; modelStep: number | undefined }> {
  const spec = trainSpec();
  if (keepBest) spec.hyperparameters.keep_best = true;
  const trainer = await makeTrainer(t, { spec });
  for (const [index, loss] of LOSSES.entries()) await saveCheckpoint(trainer, (index + 1) * 5, measured(loss));
  const result = { steps: 25, train_loss: 0.1, eval_loss: 0.7, tokens_seen: 100, adapter_artifact: null };
  await trainer.send([
    { type: "result", result: { ...result, ...(keepBest ? { best_step: 10 } : {}) } },
    { type: "finished", outcome: "succeeded" },
  ]);
  const { jobId } = trainer;
  const points = await t.ctx.db.select().from(checkpoint).where(eq(checkpoint.jobId, jobId)).orderBy(checkpoint.step);
  const [made] = await t.ctx.db.select().from(model).where(eq(model.jobId, jobId));
  return {
    jobId,
    steps: points.map(({ step }) => step),
    modelStep: points.find(({ id }) => id === made?.checkpointId)?.step,
  };
}

test("the last checkpoint becomes the model by default", async () => {
  expect(await run(false)).toMatchObject({ steps: [20, 25], modelStep: 25 });
});

test("the best checkpoint is not pruned, and becomes the model that is evaluated", async () => {
  const { jobId, ...kept } = await run(true);
  expect(kept).toEqual({ steps: [10, 20, 25], modelStep: 10 });
  const made = await createEvaluation(t.ctx, t.actor("admin"), { trainJobId: jobId });
  const [row] = await t.ctx.db.select().from(evaluation).where(eq(evaluation.id, made.id));
  const [work] = await t.ctx.db
    .select({ spec: job.spec })
    .from(job)
    .where(eq(job.id, row?.jobId ?? ""));
  const [best] = await t.ctx.db.select().from(checkpoint).where(eq(checkpoint.step, 10));
  expect(work?.spec.kind === "evaluate" && work.spec.tuned?.artifact_id).toBe(best?.artifactId as string);
});

test("the best checkpoint of a graded run has the highest reward", async () => {
  const graded = (loss: number) => ({ "train/loss": loss, "eval/reward": 1 - loss });
  expect(await run(true, graded)).toMatchObject({ steps: [10, 20, 25], modelStep: 10 });
});
