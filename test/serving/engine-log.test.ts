/** The engine log of a deployment over HTTP and on its page: of a running engine, and of one that died. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import { deployment } from "../../src/db/schema/deployments.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { logLine } from "../../src/db/schema/metrics.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { deployEngine } from "../support/engine.ts";
import { insertAttempt, readyBase } from "../support/models.ts";

type Logs = { data: { message: string }[]; output: string[]; job_id: string | null };
const KEY = "ftl-engine-log-1";
let t: TestApp;
let id: string;
let jobId: string;

const logs = (of = id, query = "") => t.json<Logs>("GET", `/v1/deployments/${of}/logs${query}`);
const page = async (of = id) =>
  (await t.request("GET", `/deployments/${of}`, { headers: { accept: "text/html" } })).text();

beforeAll(async () => {
  t = await createTestApp();
  await readyBase(t.ctx, "tiny");
  ({ id, jobId } = await deployEngine(t.ctx, { address: "unix:/nowhere" }, { org: t.orgs.a, model: "tiny" }));
  await insertAttempt(t.ctx, jobId, { socketDir: "/nowhere" });
  await t.ctx.write(async (tx) => {
    await tx
      .update(job)
      .set({ metadata: { deployment_id: id } })
      .where(eq(job.id, jobId));
    await tx
      .update(attempt)
      .set({ handle: { provider: "process", key: KEY } })
      .where(eq(attempt.jobId, jobId));
    await tx.insert(logLine).values(
      ["engine: vllm", "loading weights", "serving"].map((message, n) => ({
        jobId,
        attemptId: "a",
        batchId: 1,
        at: 1000 + n,
        level: n === 1 ? "warn" : "info",
        message,
      })),
    );
  });
  const directory = t.ctx.files.path("process", KEY);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "output.log"), "engine: vllm\nCUDA error: out of <memory>\n");
});
afterAll(() => t.close());

test("a running engine has its lines, with search, and no output of its process", async () => {
  const all = await logs();
  expect([all.job_id, all.output, all.data.map((line) => line.message)]).toEqual([
    jobId,
    [],
    ["engine: vllm", "loading weights", "serving"],
  ]);
  expect((await logs(id, "?search=WEIGHTS")).data.map((line) => line.message)).toEqual(["loading weights"]);
  expect((await t.request("GET", `/v1/deployments/${id}/logs?lines=3`)).status).toBe(400);
  const text = await page();
  expect(text).toContain("Engine log");
  expect(text).not.toContain("Last output of the process");
});

test("a failed deployment keeps the log of its last engine and what the process wrote last", async () => {
  await t.ctx.write(async (tx) => {
    await tx.update(job).set({ state: "failed" }).where(eq(job.id, jobId));
    await tx
      .update(deployment)
      .set({ state: "failed", jobId: null, address: null, error: "The engine exited by itself." })
      .where(eq(deployment.id, id));
  });
  const { job_id, data, output } = await logs();
  expect([job_id, data.length, output]).toEqual([jobId, 3, ["engine: vllm", "CUDA error: out of <memory>"]]);
  const text = await page();
  expect(text).toContain("Log of the last engine");
  expect(text).toContain("CUDA error: out of &lt;memory");
  expect(text.indexOf("Log of the last engine")).toBeLessThan(text.indexOf("Example request"));
});

test("a deployment that never started has none, and other organizations see none", async () => {
  await readyBase(t.ctx, "other-base");
  const made = await t.json<{ id: string }>("POST", "/v1/deployments", { body: { model: "other-base" } });
  expect(await logs(made.id)).toMatchObject({ data: [], output: [], job_id: null });
  expect(await page(made.id)).not.toContain("Engine log");
  expect((await t.request("GET", `/v1/deployments/${id}/logs`, { as: "other" })).status).toBe(404);
});
