/** Jobs are renamed, tagged, archived and deleted over HTTP, alone and several at once. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { eq } from "drizzle-orm";
import { job } from "../../src/db/schema/jobs.ts";
import { logLine, point, series } from "../../src/db/schema/metrics.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { checkpointFiles, upload } from "../support/artifacts.ts";
import { makeTrainer, metrics } from "../support/attempt.ts";
import { insertTuned, readyBase } from "../support/models.ts";

let t: TestApp;
beforeAll(async () => {
  t = await createTestApp();
  await readyBase(t.ctx, "small");
});
afterAll(() => t.close());

const errorOf = async (answer: Response) => [
  answer.status,
  ((await answer.json()) as { error: { code: string } }).error.code,
];
const end = (id: string, state: "failed" | "succeeded" = "failed") =>
  t.ctx.write((tx) => tx.update(job).set({ state, finishedAt: 5 }).where(eq(job.id, id)));

describe("a job", () => {
  test("gets another name, tags and a note, and the list finds it by its tag", async () => {
    const { jobId } = await makeTrainer(t);
    const body = { name: "Bank intents, r16", tags: ["bank", "r16", "bank"], note: "Better than the first.\nKeep it." };
    const changed = await t.json("PATCH", `/v1/jobs/${jobId}`, { body });
    expect(changed).toMatchObject({ ...body, tags: ["bank", "r16"], archived_at: null });
    const list = async (query: string) =>
      (await t.json<{ data: { id: string }[] }>("GET", `/v1/jobs?${query}`)).data.map((one) => one.id);
    expect(await list("tag=r16")).toEqual([jobId]);
    expect(await list("tag=r8")).toEqual([]);
    expect(await errorOf(await t.request("PATCH", `/v1/jobs/${jobId}`, { body: { color: "red" } }))).toEqual([
      400,
      "unknown_parameter",
    ]);
    expect(await errorOf(await t.request("PATCH", `/v1/jobs/${jobId}`, { body: { archived: true } }))).toEqual([
      409,
      "job_not_ended",
    ]);
    await end(jobId);
    await t.json("PATCH", `/v1/jobs/${jobId}`, { body: { archived: true } });
    expect([await list("archived=true"), await list("archived=false&tag=bank")]).toEqual([[jobId], []]);
  });

  test("is deleted with its metrics, log and checkpoints once it has ended", async () => {
    const trainer = await makeTrainer(t);
    await trainer.send([metrics(1, { "train/loss": 1 }), { type: "log", level: "info", message: "step 1" }]);
    const { artifact_id: artifactId } = await upload(trainer, checkpointFiles(1));
    const path = `/v1/jobs/${trainer.jobId}`;
    expect(await errorOf(await t.request("DELETE", path))).toEqual([409, "job_not_ended"]);
    await end(trainer.jobId);
    const [curve] = await t.ctx.db.select().from(series).where(eq(series.jobId, trainer.jobId));
    expect(await t.json("DELETE", path)).toEqual({ object: "job", id: trainer.jobId, deleted: true });
    expect(await errorOf(await t.request("GET", path))).toEqual([404, "job_not_found"]);
    expect(
      await t.ctx.db
        .select()
        .from(point)
        .where(eq(point.seriesId, curve?.id ?? 0)),
    ).toEqual([]);
    expect(await t.ctx.db.select().from(logLine).where(eq(logLine.jobId, trainer.jobId))).toEqual([]);
    expect(existsSync(t.ctx.files.path("artifacts", artifactId))).toBe(false);
    expect(await errorOf(await t.request("DELETE", path))).toEqual([404, "job_not_found"]);
  });

  test("stays while its model exists", async () => {
    const { jobId, id } = await insertTuned(t.ctx, t.orgs.a, { base: "small" });
    expect(await errorOf(await t.request("DELETE", `/v1/jobs/${jobId}`))).toEqual([409, "model_exists"]);
    await t.json("DELETE", `/v1/models/${encodeURIComponent(id)}`);
    expect((await t.request("DELETE", `/v1/jobs/${jobId}`)).status).toBe(200);
  });
});

test("several jobs are archived and deleted from the list, after a question", async () => {
  const made = await Promise.all([makeTrainer(t), makeTrainer(t)]);
  const ids = made.map((one) => one.jobId);
  const [first = "", running = ""] = ids;
  await end(first);
  const post = async (form: Record<string, string>) => {
    const answer = await t.request("POST", "/jobs/bulk", {
      form: { ids: ids.join(","), ...form },
      headers: { accept: "text/html" },
    });
    return {
      status: answer.status,
      text: await answer.text(),
      flash: Buffer.from(/flash=([^;]*)/.exec(answer.headers.get("set-cookie") ?? "")?.[1] ?? "", "base64").toString(),
    };
  };
  const archived = await post({ act: "archive" });
  expect([archived.status, archived.flash]).toEqual([303, expect.stringContaining("1 job archived. 1 not")]);
  const question = await post({ act: "delete" });
  expect([question.status, question.text]).toEqual([200, expect.stringContaining("Delete 2 jobs?")]);
  await post({ act: "delete", confirm: "yes" });
  expect((await t.request("GET", `/v1/jobs/${first}`)).status).toBe(404);
  expect((await t.request("GET", `/v1/jobs/${running}`)).status).toBe(200);
});
