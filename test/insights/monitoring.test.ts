/** GET /metrics: its figures, its format read by a strict parser, and who may read it. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { gpu, gpuAllocation, host } from "../../src/db/schema/hosts.ts";
import { prometheusText } from "../../src/lib/text/prometheus.ts";
import { type RunningServer, startServer } from "../../src/server.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { deployEngine, startEngine, type TestEngine } from "../support/engine.ts";
import { insertJob, readyBase, serveSpec } from "../support/models.ts";
import { parsePrometheus } from "../support/prometheus.ts";

const TOKEN = "scrape-me-please";
let t: TestApp;
let server: RunningServer;
let engine: TestEngine;

const chat = (model: string) =>
  t.request("POST", "/v1/chat/completions", { body: { model, messages: [{ role: "user", content: "Hi" }] } });
const scrape = (headers: Record<string, string> = {}, at = server.url) => fetch(`${at}/metrics`, { headers });
/** Values by series. */
const read = async () => parsePrometheus(await (await scrape()).text());

beforeAll(async () => {
  t = await createTestApp({ config: { metrics_token: TOKEN } });
  server = startServer(t.ctx, t.app);
  await readyBase(t.ctx, "tiny");
  engine = startEngine();
});
afterAll(async () => {
  await engine.stop();
  await server.stop(1);
  await t.close();
});

test("jobs, queue, GPUs and validations", async () => {
  const before = await read();
  const org = t.orgs.a;
  for (const state of ["queued", "queued", "running", "succeeded"] as const)
    await insertJob(t.ctx, { org, kind: "serve", state, spec: serveSpec("tiny", []) });
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", new File(['{"prompt": "a", "completion": "b"}\n'], "rows.jsonl"));
  // It becomes a dataset, which nothing validates here.
  await t.json("POST", "/v1/files", { form });
  const now = t.ctx.clock.now();
  const machine = (id: string, state: "ready" | "cordoned") => ({
    id,
    provider: "process",
    name: id,
    state,
    cpus: 1,
    memoryMb: 1,
    createdAt: now,
    seenAt: now,
  });
  const card = (uuid: string, hostId: string, lostAt: number | null = null) => ({
    uuid,
    hostId,
    position: 0,
    model: "H200",
    memoryMb: 1,
    createdAt: now,
    seenAt: now,
    lostAt,
  });
  await t.ctx.write(async (tx) => {
    await tx.insert(host).values([machine("process.a", "ready"), machine("process.b", "cordoned")]);
    const gpus = [card("GPU-1", "process.a"), card("GPU-2", "process.a"), card("GPU-3", "process.a", now)];
    await tx.insert(gpu).values([...gpus, card("GPU-4", "process.b")]);
    await tx.insert(gpuAllocation).values({ gpuUuid: "GPU-1", share: 0, attemptId: "a", jobId: "j", createdAt: now });
  });
  const after = await read();
  const grown = (series: string) => (after.get(series) ?? Number.NaN) - (before.get(series) ?? Number.NaN);
  expect({
    queued: grown('finetune_lab_jobs{kind="serve",state="queued"}'),
    running: grown('finetune_lab_jobs{kind="serve",state="running"}'),
    paused: grown('finetune_lab_jobs{kind="serve",state="paused"}'),
    succeeded: grown('finetune_lab_jobs_ended_total{state="succeeded"}'),
    queue: grown("finetune_lab_queue_length"),
    used: after.get('finetune_lab_gpus{state="used"}'),
    free: after.get('finetune_lab_gpus{state="free"}'),
    unavailable: after.get('finetune_lab_gpus{state="unavailable"}'),
    validations: after.get("finetune_lab_dataset_validations"),
  }).toEqual({
    queued: 2,
    running: 1,
    paused: 0,
    succeeded: 1,
    queue: 2,
    used: 1,
    free: 1,
    unavailable: 1,
    validations: 1,
  });
  for (const name of ["finetune_lab_disk_free_bytes", "process_resident_memory_bytes"])
    expect([name, (after.get(name) ?? 0) > 1_000_000]).toEqual([name, true]);
});

test("requests, tokens and latency by deployment, until the deployment is deleted", async () => {
  const { id } = await deployEngine(t.ctx, engine, { org: t.orgs.a, model: "tiny" });
  for (let n = 0; n < 3; n++) expect((await chat("tiny")).status).toBe(200);
  engine.instead = () => new Response("broken", { status: 500 });
  const failed = (await chat("tiny")).status;
  engine.instead = null;
  expect((await chat("no-such-model")).status).toBe(404);
  const of = `deployment="${id}",model="tiny"`;
  const now = await read();
  expect([
    now.get(`finetune_lab_requests_total{${of},status="200"}`),
    now.get(`finetune_lab_requests_total{${of},status="${failed}"}`),
    now.get('finetune_lab_requests_total{deployment="",model="",status="404"}'),
    now.get(`finetune_lab_tokens_total{${of},direction="input"}`),
    now.get(`finetune_lab_tokens_total{${of},direction="output"}`),
    now.get(`finetune_lab_request_duration_seconds_bucket{${of},le="+Inf"}`),
    now.get(`finetune_lab_request_duration_seconds_count{${of}}`),
  ]).toEqual([3, 1, 1, 21, 12, 4, 4]);
  await t.json("DELETE", `/v1/deployments/${id}`);
  expect([...(await read()).keys()].filter((series) => series.includes(id))).toEqual([]);
});

test("labels and help are escaped", () => {
  const text = prometheusText([
    { name: "a", type: "gauge", help: 'back\\slash\nline "q"', samples: [{ labels: { x: 'q"\\\n' }, value: 0.5 }] },
  ]);
  expect(text).toBe('# HELP a back\\\\slash\\nline "q"\n# TYPE a gauge\na{x="q\\"\\\\\\n"} 0.5\n');
  expect([...parsePrometheus(text)]).toEqual([['a{x="q\\"\\\\\\n"}', 0.5]]);
});

test.each([
  ["this machine", {}, 200],
  ["a proxy on this machine", { "x-forwarded-for": "203.0.113.9" }, 401],
  ["a proxy on this machine that sends Via", { via: "1.1 nginx" }, 401],
  ["a proxy, with the token", { "x-forwarded-for": "203.0.113.9", authorization: `Bearer ${TOKEN}` }, 200],
  ["a proxy, with another token", { "x-forwarded-for": "203.0.113.9", authorization: "Bearer wrong" }, 401],
] as const)("for %s", async (_, headers, status) => {
  const answer = await scrape(headers);
  expect([answer.status, answer.headers.get("content-type")]).toEqual([
    status,
    status === 200 ? "text/plain; version=0.0.4; charset=utf-8" : "application/json;charset=utf-8",
  ]);
});

test("behind a public address every request needs the token, and without one set nobody gets in", async () => {
  const lab = await createTestApp({ config: { public_url: "https://lab.example" } });
  const ask = (authorization: string) =>
    lab.request("GET", "/metrics", { as: "anonymous", headers: { authorization } });
  expect([(await ask("")).status, (await ask("Bearer ")).status, (await ask("Bearer undefined")).status]).toEqual([
    401, 401, 401,
  ]);
  await lab.close();
});
