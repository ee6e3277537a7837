/**
 * Deleting the files of an ended run: unused files are deleted, those in use by a model, an endpoint or another job are
 * kept and listed.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { eq } from "drizzle-orm";
import type { ExportSpec } from "../../src/contract/spec.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { artifact, checkpoint } from "../../src/db/schema/models.ts";
import { newId } from "../../src/lib/ids.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer, saveCheckpoint } from "../support/attempt.ts";

interface Cleared {
  checkpoints: number;
  bytes: number;
  kept: string[];
}

let t: TestApp;
beforeAll(async () => {
  t = await createTestApp();
});
afterAll(() => t.close());

const RESULT = { steps: 15, train_loss: 0.1, eval_loss: 0.7, tokens_seen: 100, adapter_artifact: null };
const clear = (id: string) => t.json<Cleared>("DELETE", `/v1/jobs/${id}/checkpoints`);
const pointsOf = (jobId: string) =>
  t.ctx.db.select().from(checkpoint).where(eq(checkpoint.jobId, jobId)).orderBy(checkpoint.step);
const there = (id = "") => existsSync(t.ctx.files.path("artifacts", id));

/** A run with two checkpoints that ended with `outcome`. */
async function ended(outcome: "succeeded" | "cancelled") {
  const trainer = await makeTrainer(t);
  for (const step of [5, 10]) await saveCheckpoint(trainer, step, { "eval/loss": 1 / step });
  if (outcome === "cancelled") await t.json("POST", `/v1/jobs/${trainer.jobId}/cancel`);
  const result = outcome === "succeeded" ? [{ type: "result", result: RESULT }] : [];
  await trainer.send([...result, { type: "finished", outcome }]);
  return { id: trainer.jobId, points: await pointsOf(trainer.jobId) };
}

/** A job that reads the checkpoint, in `state`, with files of its own. */
async function reads(jobId: string, point: typeof checkpoint.$inferSelect | undefined, state: "running" | "succeeded") {
  const { id, artifactId, model } = point ?? { id: "", artifactId: "", model: "" };
  const spec = { kind: "export", tuned: { model, checkpoint_id: id, artifact_id: artifactId } } as ExportSpec;
  const made = { id: newId("job"), artifact: newId("artifact") };
  await t.ctx.write(async (tx) => {
    await tx.insert(job).values({
      id: made.id,
      org: t.orgs.a,
      kind: "export",
      name: "as GGUF",
      state,
      spec,
      request: {},
      metadata: {},
      parentId: jobId,
      progress: {},
      createdBy: t.users.admin,
      createdAt: Date.now(),
    });
    await tx.insert(artifact).values({
      id: made.artifact,
      org: t.orgs.a,
      jobId: made.id,
      attemptId: made.id,
      kind: "gguf",
      step: 0,
      metrics: {},
      files: [],
      manifestHash: "h",
      bytes: 1000,
      status: "complete",
      createdAt: Date.now(),
    });
  });
  return made;
}

test("a run without a model loses all checkpoints with their files, and keeps its record", async () => {
  const { id, points } = await ended("cancelled");
  expect(points.map((one) => there(one.artifactId))).toEqual([true, true]);
  const { checkpoints, bytes, kept } = await clear(id);
  expect([checkpoints, kept]).toEqual([2, []]);
  expect(bytes).toBeGreaterThan(100);
  expect(points.map((one) => there(one.artifactId))).toEqual([false, false]);
  expect((await t.json<{ data: unknown[] }>("GET", `/v1/jobs/${id}/checkpoints`)).data).toEqual([]);
  expect((await t.json("GET", `/v1/jobs/${id}`)).state).toBe("cancelled");
  const page = await (await t.request("GET", `/jobs/${id}`)).text();
  expect(page).toContain("Files deleted: 2 checkpoints");
  expect(page).not.toContain("Delete the files of this run?");
  expect(await clear(id)).toMatchObject({ checkpoints: 0, bytes: 0 });
});

test("the checkpoint of a model is kept until the model is deleted, and then goes with its exports", async () => {
  const { id, points } = await ended("succeeded");
  const [first, last] = points;
  const { model } = await t.json<{ model: string }>("GET", `/v1/jobs/${id}`);
  const files = await reads(id, last, "succeeded");
  expect(await clear(id)).toMatchObject({ checkpoints: 1, kept: [model, last?.model ?? ""] });
  expect([first, last].map((one) => there(one?.artifactId))).toEqual([false, true]);
  expect((await t.json("GET", `/v1/models/${encodeURIComponent(model)}`)).id).toBe(model);
  await t.json("DELETE", `/v1/models/${encodeURIComponent(model)}`);
  const answer = await t.request("POST", `/jobs/${id}/clear`, { form: {} });
  expect(answer.status).toBe(303);
  expect(there(last?.artifactId)).toBe(false);
  expect(await pointsOf(id)).toEqual([]);
  const [gone] = await t.ctx.db.select().from(artifact).where(eq(artifact.id, files.artifact));
  expect(gone?.status).toBe("deleted");
  expect((await t.request("GET", `/jobs/${id}`)).status).toBe(200);
});

test("what an open job reads is kept and listed", async () => {
  const { id, points } = await ended("cancelled");
  const busy = await reads(id, points[0], "running");
  expect(await clear(id)).toMatchObject({ checkpoints: 1, kept: [points[0]?.model ?? ""] });
  expect(there(points[0]?.artifactId)).toBe(true);
  await t.ctx.write((tx) => tx.update(job).set({ state: "failed" }).where(eq(job.id, busy.id)));
  expect(await clear(id)).toMatchObject({ checkpoints: 1, kept: [] });
});

test("open runs, other kinds of jobs and runs of another organization are refused", async () => {
  const running = await makeTrainer(t);
  await saveCheckpoint(running, 5, {});
  const codeOf = async (id: string, as: "admin" | "other" = "admin") => {
    const answer = await t.request("DELETE", `/v1/jobs/${id}/checkpoints`, { as });
    return [answer.status, ((await answer.json()) as { error: { code: string } }).error.code];
  };
  expect(await codeOf(running.jobId)).toEqual([409, "job_not_ended"]);
  const { id, points } = await ended("cancelled");
  const other = await reads(id, points[0], "succeeded");
  expect(await codeOf(other.id)).toEqual([400, "nothing_to_clear"]);
  expect(await codeOf(id, "other")).toEqual([404, "job_not_found"]);
  expect(await codeOf("ftjob-nowhere")).toEqual([404, "job_not_found"]);
});
