/**
 * Quotas of an organization over HTTP: what goes beyond one is refused and leaves nothing, also when many ask at once;
 * other organizations are not touched.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { eq, sql } from "drizzle-orm";
import { artifact } from "../../src/db/schema/models.ts";
import { type As, createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer } from "../support/attempt.ts";
import { fakeClock } from "../support/clock.ts";
import { chatLines, settled } from "../support/datasets.ts";
import { readyBase } from "../support/models.ts";

type Limits = Record<
  "bytes" | "files" | "datasets" | "pending_uploads" | "waiting_jobs",
  { limit: number; used: number }
>;
interface Said {
  error: { code: string; message: string; type: string };
  id: string;
}

const clock = fakeClock();
let lab: TestApp;
const limits = (as: As = "admin") => lab.json<Limits & { object: string }>("GET", "/v1/limits", { as });
const sendFile = (content: string | Uint8Array, purpose = "batch", as: As = "admin") =>
  lab.request("POST", `/v1/files?filename=x.jsonl&purpose=${purpose}`, {
    raw: content as RequestInit["body"],
    as,
    headers: { "content-type": "application/octet-stream" },
  });
const beginUpload = (bytes: number, as: As = "admin") =>
  lab.request("POST", "/v1/uploads", {
    as,
    body: { filename: "x", purpose: "batch", bytes, mime_type: "text/plain" },
  });
const said = async (answer: Response) => ({ ...((await answer.json()) as Said), status: answer.status });
const stored = (lab: TestApp) => [
  ...readdirSync(lab.ctx.files.path("tmp")),
  ...readdirSync(lab.ctx.files.path("files")),
];

/** Sends `count` requests at once; how many were taken, and the refusals. */
async function atOnce(count: number, send: () => Promise<Response>) {
  const all = await Promise.all(Array.from({ length: count }, async () => said(await send())));
  return { taken: all.filter(({ status }) => status === 200), refused: all.filter(({ status }) => status !== 200) };
}

describe("files, datasets and uploads", () => {
  beforeAll(async () => {
    lab = await createTestApp({
      config: { quota_files: 3, quota_datasets: 2, quota_pending_uploads: 2, quota_bytes: 100_000 },
      ctx: { clock },
    });
  });
  afterAll(() => lab.close());

  test("requests at the same time cannot pass a quota together, and the refusal says limit, use and what to do", async () => {
    const { taken, refused } = await atOnce(8, () => sendFile("one"));
    expect(taken).toHaveLength(3);
    for (const one of refused) expect(one).toMatchObject({ status: 403, error: { code: "quota_exceeded" } });
    expect(refused[0]?.error.message).toMatch(
      /may have 3 files, and this request would make it 4\. Delete .* raise quota_files/,
    );
    expect(stored(lab)).toHaveLength(3);
    expect((await sendFile("mine", "batch", "other")).status).toBe(200);
    expect(await limits()).toMatchObject({ object: "limits", files: { limit: 3, used: 3 } });
    for (const { id } of taken) await lab.json("DELETE", `/v1/files/${id}`);
    expect((await limits()).files.used).toBe(0);
    expect((await limits()).bytes.used).toBe(0);
  });

  test("datasets are counted, and so are the bytes of the rows of every version", async () => {
    const lines = `${chatLines(100).join("\n")}\n`;
    const made = await said(await sendFile(lines, "fine-tune"));
    expect((await limits()).bytes.used).toBeGreaterThanOrEqual(lines.length * 2);
    const dataset = await said(await lab.request("POST", "/v1/datasets", { body: { file_id: made.id } }));
    expect(dataset.status).toBe(200);
    const third = await said(await lab.request("POST", "/v1/datasets", { body: { file_id: made.id } }));
    expect(third).toMatchObject({ status: 403, error: { code: "quota_exceeded" } });
    expect(third.error.message).toContain("2 datasets");
    await settled(lab, dataset.id);
    // Each version is a copy of the rows: at last there is no room for another.
    let answer = { status: 200, error: { code: "", message: "" } };
    for (let n = 0; n < 20 && answer.status === 200; n++) {
      await settled(lab, dataset.id);
      answer = await said(await lab.request("POST", `/v1/datasets/${dataset.id}/versions`, { body: { seed: n } }));
    }
    expect(answer).toMatchObject({ status: 403, error: { code: "quota_exceeded" } });
    expect(answer.error.message).toContain("100,000 bytes stored");
    const { data } = await lab.json<{ data: { id: string }[] }>("GET", "/v1/datasets");
    for (const { id } of data) {
      await settled(lab, id);
      await lab.json("DELETE", `/v1/datasets/${id}`);
    }
    expect((await limits()).bytes.used).toBe(0);
    expect((await limits()).datasets.used).toBe(0);
  }, 60_000);

  test("what a request says it sends is refused before it is read when there is no room for it", async () => {
    let read = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        read++;
        controller.enqueue(new Uint8Array(1000));
        if (read === 101) controller.close();
      },
    });
    const answer = await lab.request("POST", "/v1/files?filename=x&purpose=batch", {
      raw: body,
      headers: { "content-type": "application/octet-stream", "content-length": "101000" },
    });
    expect(await said(answer)).toMatchObject({ status: 403, error: { code: "quota_exceeded" } });
    expect(read).toBeLessThan(10);
    // One that does not say its length is refused at its end, and leaves nothing.
    expect((await sendFile(new Uint8Array(100_001))).status).toBe(403);
    expect(stored(lab).filter((name) => !name.startsWith("file-"))).toEqual([]);
  });

  test("pending uploads are counted by number and declared bytes until they are complete, canceled or expired", async () => {
    const { taken, refused } = await atOnce(6, () => beginUpload(40_000));
    expect(taken).toHaveLength(2);
    expect(refused[0]).toMatchObject({ status: 403, error: { code: "quota_exceeded" } });
    expect(await limits()).toMatchObject({ pending_uploads: { limit: 2, used: 2 }, bytes: { used: 80_000 } });
    expect((await sendFile(new Uint8Array(20_001))).status).toBe(403);
    const [first, second] = taken;
    await lab.json("POST", `/v1/uploads/${first?.id}/cancel`);
    expect((await limits()).pending_uploads.used).toBe(1);
    const tooMany = await said(await beginUpload(60_001));
    expect(tooMany.error.message).toContain("100,000 bytes stored, and this request would make it 100,001");
    // Its bytes pass from the upload to the file: they are not counted twice.
    const part = await lab.json<{ id: string }>("POST", `/v1/uploads/${second?.id}/parts?filename=x`, {
      raw: new Uint8Array(40_000),
      headers: { "content-type": "application/octet-stream" },
    });
    await lab.json("POST", `/v1/uploads/${second?.id}/complete`, { body: { part_ids: [part.id] } });
    expect(await limits()).toMatchObject({ pending_uploads: { used: 0 }, bytes: { used: 40_000 } });
    expect((await beginUpload(60_000)).status).toBe(200);
    clock.advance(3_600_001);
    expect(await limits()).toMatchObject({ pending_uploads: { used: 0 }, bytes: { used: 40_000 } });
    expect((await beginUpload(60_000)).status).toBe(200);
  });

  test("checkpoints and models count with the other bytes, deleted ones do not", async () => {
    const before = (await limits("member")).bytes.used;
    const trainer = await makeTrainer(lab);
    const files = [
      { path: "model.safetensors", size: 5000, sha256: "0".repeat(64) },
      { path: "config.json", size: 2, sha256: "0".repeat(64) },
    ];
    const { artifact_id: id } = (await (
      await trainer.call("POST", "/artifacts", { body: { kind: "model", step: 1, metrics: {}, files } })
    ).json()) as { artifact_id: string };
    expect((await limits()).bytes.used).toBe(before + 5002);
    await lab.ctx.write((tx) => tx.update(artifact).set({ status: "deleted" }).where(eq(artifact.id, id)));
    expect((await limits()).bytes.used).toBe(before);
  });

  test("counting reads indexes that hold nothing else, never a whole table", async () => {
    const plan = async (query: string) =>
      (await lab.ctx.db.all<{ detail: string }>(sql.raw(`explain query plan ${query}`)))
        .map(({ detail }) => detail)
        .join("; ");
    expect(await plan("select sum(bytes) from file where org = 'a' and deleted_at is null")).toContain(
      "COVERING INDEX file_quota",
    );
    expect(
      await plan("select sum(bytes) from upload where org = 'a' and status = 'pending' and expires_at > 1"),
    ).toContain("COVERING INDEX upload_quota");
    expect(await plan("select sum(bytes) from dataset_version where org = 'a' and bytes > 0")).toContain(
      "COVERING INDEX dataset_version_quota",
    );
    expect(
      await plan("select sum(bytes) from artifact where org = 'a' and status in ('uploading', 'complete')"),
    ).toContain("COVERING INDEX artifact_quota");
    expect(await plan("select count(*) from dataset where org = 'a' and deleted_at is null")).toContain(
      "COVERING INDEX dataset_quota",
    );
    expect(await plan("select count(*) from job where org = 'a' and state in ('validating', 'queued')")).toContain(
      "COVERING INDEX job_quota",
    );
  });

  test("the usage page shows what is used of each limit", async () => {
    const page = await (await lab.request("GET", "/usage")).text();
    expect(page).toContain("Limits of your team");
    expect(page).toContain("Waiting jobs");
  });
});

describe("jobs that wait", () => {
  let fileId = "";
  beforeAll(async () => {
    lab = await createTestApp({ config: { quota_waiting_jobs: 4, quota_bytes: 50_000 } });
    await readyBase(lab.ctx);
    fileId = (await said(await sendFile(`${chatLines(30).join("\n")}\n`, "fine-tune"))).id;
    const ready = async () => (await lab.json("GET", `/v1/files/${fileId}`)).status !== "uploaded";
    while (!(await ready())) await Bun.sleep(20);
  }, 30_000);
  afterAll(() => lab.close());

  const train = () => lab.request("POST", "/v1/jobs", { body: { model: "tiny", training_file: fileId } });
  const sweep = (trials: number) =>
    lab.request("POST", "/v1/sweeps", {
      body: {
        training: { model: "tiny", training_file: fileId, max_steps: 18 },
        space: { seed: Array.from({ length: trials }, (_, n) => n) },
        metric: "train/loss",
      },
    });

  test("the trials of a sweep count as the jobs they will be", async () => {
    const tooLarge = await said(await sweep(5));
    expect(tooLarge).toMatchObject({ status: 403, error: { code: "quota_exceeded" } });
    const made = await said(await sweep(3));
    expect(made.status).toBe(200);
    expect((await limits()).waiting_jobs).toEqual({ limit: 4, used: 3 });
    await lab.json("POST", `/v1/sweeps/${made.id}/cancel`);
    expect((await limits()).waiting_jobs.used).toBe(0);
  });

  test("concurrent requests cannot pass together; a canceled one frees its slot", async () => {
    const { taken, refused } = await atOnce(7, train);
    expect(taken).toHaveLength(4);
    expect(refused[0]).toMatchObject({ status: 403, error: { code: "quota_exceeded" } });
    expect(refused[0]?.error.message).toContain("4 jobs waiting to start");
    await lab.json("POST", `/v1/jobs/${taken[0]?.id}/cancel`);
    expect((await train()).status).toBe(200);
    for (const { id } of taken.slice(1)) await lab.json("POST", `/v1/jobs/${id}/cancel`);
  });

  test("nothing new is trained while more is stored than allowed", async () => {
    const { bytes } = await limits();
    expect((await sendFile(new Uint8Array(bytes.limit - bytes.used))).status).toBe(200);
    expect((await train()).status).toBe(200);
    const trainer = await makeTrainer(lab);
    const files = [
      { path: "model.safetensors", size: 5000, sha256: "0".repeat(64) },
      { path: "config.json", size: 2, sha256: "0".repeat(64) },
    ];
    // A run that was accepted keeps its results.
    const opened = await trainer.call("POST", "/artifacts", { body: { kind: "model", step: 1, metrics: {}, files } });
    expect(opened.status).toBe(200);
    expect(await said(await train())).toMatchObject({ status: 403, error: { code: "quota_exceeded" } });
  });
});
