/** Checkpoint uploads over HTTP: resumable, verified to the last byte, and pruned. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import type { ArtifactCompleted } from "../../src/contract/trainer.ts";
import { attempt } from "../../src/db/schema/jobs.ts";
import { artifact, checkpoint, model } from "../../src/db/schema/models.ts";
import { newId } from "../../src/lib/ids.ts";
import { newestCheckpoint } from "../../src/models/tuned/service.ts";
import { dropUnfinished } from "../../src/training/trainer-protocol/service.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { bytesOf, checkpointFiles, complete, errorOf, open, order, put, upload } from "../support/artifacts.ts";
import { makeTrainer, metrics, trainSpec } from "../support/attempt.ts";

let t: TestApp;
beforeAll(async () => {
  t = await createTestApp();
});
afterAll(() => t.close());

describe("uploading a checkpoint", () => {
  test("registers it, and a retried attempt resumes from it", async () => {
    const trainer = await makeTrainer(t);
    await trainer.send([1, 2, 3, 4, 5, 6, 7].map((step) => metrics(step, { "train/loss": step })));
    const done = await upload(trainer, checkpointFiles(1));
    const spec = trainSpec();
    expect(done.model).toMatch(/^ft:tiny:.*:ckpt-step-5$/);
    const manifest = JSON.parse(readFileSync(t.ctx.files.path("artifacts", done.artifact_id, "manifest.json"), "utf8"));
    expect(manifest).toMatchObject({ artifact_id: done.artifact_id, step: 5, kind: "checkpoint" });
    expect((await newestCheckpoint(t.ctx, trainer.jobId))?.id).toBe(done.checkpoint_id as string);
    const [row] = await t.ctx.db.select().from(checkpoint).where(eq(checkpoint.jobId, trainer.jobId));
    expect(row?.metrics).toEqual({ "eval/loss": 0.5 });
    expect(spec.output_model).not.toBe(done.model as string);

    // The next attempt resumes from step 5. Its first report drops the points beyond that step.
    const next = await makeTrainer(t, { jobId: trainer.jobId, number: 2 });
    const reply = await next.json<{ resume: { step: number; files: unknown[] } }>("GET", "/spec");
    expect([reply.resume.step, reply.resume.files.length]).toEqual([5, 4]);
    const file = await next.call("GET", "/inputs/resume/adapter_config.json");
    expect(await file.text()).toBe('{"r":4}');
    await next.send([metrics(6, { "train/loss": 60 })]);
    const { series } = await t.json<{ series: Record<string, { points: unknown }> }>(
      "GET",
      `/v1/jobs/${trainer.jobId}/metrics`,
    );
    expect(series["train/loss"]?.points).toEqual([
      [1, 1],
      [2, 2],
      [3, 3],
      [4, 4],
      [5, 5],
      [6, 60],
    ]);
  });

  test("continues where a part ended, and a wrong offset is answered with the right one", async () => {
    const trainer = await makeTrainer(t);
    const files = checkpointFiles(2);
    const name = "adapter_model.safetensors";
    const bytes = bytesOf(files[name] as Uint8Array);
    const { artifact_id: id } = await open(trainer, order(files));
    expect(await (await put(trainer, id, name, 0, bytes.subarray(0, 100))).json()).toEqual({ offset: 100 });
    for (const offset of [0, 50, 101, 5000]) {
      const answer = await put(trainer, id, name, offset, bytes.subarray(offset, offset + 10));
      expect([answer.status, await answer.json()]).toMatchObject([
        409,
        { error: { code: "wrong_offset" }, offset: 100 },
      ]);
    }
    // Opening it again returns the same artifact with its current offsets.
    const again = await open(trainer, order(files));
    expect(again.artifact_id).toBe(id);
    expect(again.complete).toBe(false);
    expect(again.files.find((file) => file.path === name)?.offset).toBe(100);
    await put(trainer, id, name, 100, bytes.subarray(100));
    for (const [path, content] of Object.entries(files))
      if (path !== name) await put(trainer, id, path, 0, bytesOf(content));
    const first = (await (await complete(trainer, id)).json()) as ArtifactCompleted;
    const second = (await (await complete(trainer, id)).json()) as ArtifactCompleted;
    expect(second).toEqual(first);
    const reopened = await open(trainer, order(files));
    expect([reopened.artifact_id, reopened.complete]).toEqual([id, true]);
    expect((await put(trainer, id, name, 0, bytes)).status).toBe(409);
  });

  test("is refused with the name of an incomplete file", async () => {
    const trainer = await makeTrainer(t);
    const files = checkpointFiles(3);
    const { artifact_id: id } = await open(trainer, order(files));
    for (const [path, content] of Object.entries(files)) {
      const bytes = bytesOf(content);
      await put(trainer, id, path, 0, path.startsWith("optimizer") ? bytes.subarray(0, bytes.byteLength - 1) : bytes);
    }
    const error = await errorOf(await complete(trainer, id));
    expect(error).toMatchObject({ status: 422, code: "incomplete_file", param: "optimizer.safetensors" });
    expect(existsSync(t.ctx.files.path("artifacts", id, "manifest.json"))).toBe(false);
    expect(await newestCheckpoint(t.ctx, trainer.jobId)).toBeNull();
  });

  test("detects a flipped bit, and succeeds when the file is sent again", async () => {
    const trainer = await makeTrainer(t);
    const files = checkpointFiles(4);
    const name = "adapter_model.safetensors";
    const good = bytesOf(files[name] as Uint8Array);
    const bad = good.slice();
    bad[bad.byteLength - 3] = (bad[bad.byteLength - 3] ?? 0) ^ 4;
    const { artifact_id: id } = await open(trainer, order(files));
    for (const [path, content] of Object.entries(files))
      await put(trainer, id, path, 0, path === name ? bad : bytesOf(content));
    expect(await errorOf(await complete(trainer, id))).toMatchObject({ status: 422, param: name });
    expect((await open(trainer, order(files))).files.find((file) => file.path === name)?.offset).toBe(0);
    await put(trainer, id, name, 0, good);
    expect((await complete(trainer, id)).status).toBe(200);
  });

  test("refuses more bytes than declared", async () => {
    const trainer = await makeTrainer(t);
    const files = checkpointFiles(5);
    const { artifact_id: id } = await open(trainer, order(files));
    const answer = await put(trainer, id, "adapter_config.json", 0, bytesOf('{"r":4,"more":1}'));
    expect([answer.status, existsSync(t.ctx.files.path("artifacts", id, "adapter_config.json"))]).toEqual([413, false]);
    expect((await put(trainer, id, "adapter_config.json", 0, new Uint8Array(8 * 1024 ** 2 + 1))).status).toBe(413);
    for (const offset of ["", "-1", "x", "1e3", "9".repeat(20)])
      expect(
        (await trainer.call("PUT", `/artifacts/${id}/adapter_config.json?offset=${offset}`, { raw: "{" })).status,
      ).toBe(400);
  });

  test("is possible only for the attempt that opened the artifact", async () => {
    const [mine, theirs] = [await makeTrainer(t), await makeTrainer(t, { org: t.orgs.b })];
    const files = checkpointFiles(6);
    const { artifact_id: id } = await open(mine, order(files));
    expect((await put(theirs, id, "adapter_config.json", 0, bytesOf('{"r":4}'))).status).toBe(404);
    expect((await complete(theirs, id)).status).toBe(404);
  });

  test("is refused before the first byte when the disk has too little space", async () => {
    const trainer = await makeTrainer(t);
    const files = Array.from({ length: 200 }, (_, n) => ({
      path: `model-${n}.safetensors`,
      size: 256 * 1024 ** 3,
      sha256: "0".repeat(64),
    }));
    const answer = await trainer.call("POST", "/artifacts", { body: { ...order(checkpointFiles(7)), files } });
    expect(await errorOf(answer)).toMatchObject({ status: 507, code: "disk_full" });
  });

  test("truncates a part that fails because the disk is full", () => {
    const script = join(import.meta.dir, "../support/write-part.ts");
    const path = join(t.dir, "tmp", "part");
    // Files of this process are limited to 8 KiB, so the part fails half-way, as on a full disk.
    const limited = ["bash", "-c", 'ulimit -f 8 && exec "$0" "$@"', process.execPath, script, path];
    const run = Bun.spawnSync(limited);
    expect(JSON.parse(run.stdout.toString())).toEqual({ code: "disk_full", size: 4096 });
  });
});

describe("disk space", () => {
  test("old checkpoints are removed, except those a model uses and the newest valid one", async () => {
    const spec = trainSpec();
    const trainer = await makeTrainer(t, { spec });
    const made: ArtifactCompleted[] = [];
    const add = async (step: number) => made.push(await upload(trainer, checkpointFiles(100 + step), step));
    await add(1);
    await t.ctx.write((tx) =>
      tx.insert(model).values({
        id: newId("job"),
        org: t.orgs.a,
        name: "m",
        baseModelId: "tiny",
        jobId: trainer.jobId,
        checkpointId: made[0]?.checkpoint_id ?? "",
        createdBy: "x",
        createdAt: 1,
      }),
    );
    for (const step of [2, 3, 4, 5]) await add(step);
    const rows = await t.ctx.db.select().from(checkpoint).where(eq(checkpoint.jobId, trainer.jobId));
    expect(rows.map((row) => row.step).sort()).toEqual([1, 4, 5]);
    const exists = made.map((one) => existsSync(t.ctx.files.path("artifacts", one.artifact_id)));
    expect(exists).toEqual([true, false, false, true, true]);
    const removed = await t.ctx.db
      .select()
      .from(artifact)
      .where(eq(artifact.id, made[1]?.artifact_id ?? ""));
    expect(removed[0]?.status).toBe("deleted");
  });

  test("a step that is saved again replaces the older checkpoint and its files", async () => {
    const trainer = await makeTrainer(t);
    const old = await upload(trainer, checkpointFiles(1), 5);
    const again = await makeTrainer(t, { jobId: trainer.jobId, number: 2 });
    const fresh = await upload(again, checkpointFiles(9), 5);
    expect(fresh.checkpoint_id).toBe(old.checkpoint_id);
    const rows = await t.ctx.db.select().from(checkpoint).where(eq(checkpoint.jobId, trainer.jobId));
    expect(rows.map((row) => row.artifactId)).toEqual([fresh.artifact_id]);
    expect(existsSync(t.ctx.files.path("artifacts", old.artifact_id))).toBe(false);
  });

  test("unfinished uploads of ended attempts are removed, and those of live ones stay", async () => {
    const [live, ended] = [await makeTrainer(t), await makeTrainer(t)];
    const [keep, drop] = [await open(live, order(checkpointFiles(1))), await open(ended, order(checkpointFiles(2)))];
    await put(ended, drop.artifact_id, "adapter_config.json", 0, bytesOf('{"r"'));
    await t.ctx.write((tx) => tx.update(attempt).set({ state: "ended" }).where(eq(attempt.id, ended.attemptId)));
    await dropUnfinished(t.ctx, ended.jobId);
    await dropUnfinished(t.ctx, live.jobId);
    const exists = [keep, drop].map((one) => existsSync(t.ctx.files.path("artifacts", one.artifact_id)));
    expect(exists).toEqual([true, false]);
  });
});
