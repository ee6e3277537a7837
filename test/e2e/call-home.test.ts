/**
 * A training on a machine elsewhere: a real trainer that is given a bootstrap token and a fingerprint, and reaches the
 * server only over HTTPS, through a TLS proxy whose connections break.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { TrainResult } from "../../src/contract/trainer.ts";
import { type RunningServer, startServer } from "../../src/server.ts";
import { listAttempts } from "../../src/training/jobs/service.ts";
import { startPipeline } from "../../src/training/queue/pipeline.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { type Certificates, makeCertificates } from "../support/certificates.ts";
import { farMachines } from "../support/far-machines.ts";
import { trainerMissing, until } from "../support/live.ts";
import { TINY_MODEL, trainingLines } from "../support/tiny.ts";
import { tlsProxy } from "../support/tls-proxy.ts";

describe.skipIf(trainerMissing !== null)("a trainer elsewhere", () => {
  let certificates: Certificates;
  let t: TestApp;
  let server: RunningServer;
  let proxy: ReturnType<typeof tlsProxy>;
  let stop: () => Promise<void>;
  const given: Record<string, string>[] = [];

  beforeAll(async () => {
    certificates = makeCertificates();
    t = await createTestApp({
      config: { trainer_listen: "127.0.0.1:0", listen_trainers: false, trainer_fingerprint: certificates.ca },
    });
    server = startServer(t.ctx, t.app);
    proxy = tlsProxy(server.trainerUrl as string, certificates);
    t.ctx.config = { ...t.ctx.config, trainer_url: proxy.url };
    t.ctx.compute = await farMachines(t, given);
    stop = startPipeline(t.ctx, { activeMs: 100, idleMs: 200 });
  });
  afterAll(async () => {
    await stop();
    proxy.stop();
    await server.stop(1);
    await t.close();
    certificates.remove();
  });

  test("downloads, trains, uploads and reports over HTTPS with a pinned authority", async () => {
    const model = { source: "local", directory: TINY_MODEL, id: "tiny", license: "apache-2.0" };
    await t.json("POST", "/v1/base_models/import", { body: model });
    await until("the model", async () => (await t.json("GET", "/v1/base_models/tiny")).status === "ready");
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set("file", new File([trainingLines(40)], "rows.jsonl"));
    const { id: file } = await t.json<{ id: string }>("POST", "/v1/files", { raw: form });
    await until("the rows", async () => (await t.json("GET", `/v1/files/${file}`)).status === "processed");
    const weights = "/trainer/v1/inputs/base/model.safetensors";
    for (const path of [weights, "/trainer/v1/data/train"]) proxy.breakNext(path);

    const body = { model: "tiny", training_file: file, max_steps: 3, batch_size: 4, evaluate_after: false };
    const { id } = await t.json<{ id: string }>("POST", "/v1/jobs", { body });
    interface View {
      state: string;
      error: unknown;
      result: TrainResult;
    }
    const done = await until(
      "the run",
      async () => {
        const now = await t.json<View>("GET", `/v1/jobs/${id}`);
        if (["failed", "cancelled"].includes(now.state)) throw new Error(JSON.stringify(now.error));
        return now.state === "succeeded" ? now : null;
      },
      90_000,
    );
    expect(done.result.steps).toBe(3);
    expect(given).toEqual([{ url: proxy.url, token: expect.stringMatching(/^ftb-/), fingerprint: certificates.ca }]);
    const [only, ...more] = await listAttempts(t.ctx, t.actor("admin"), id);
    expect([more, only?.outcome, only?.bootstrapNonceHash]).toEqual([[], "succeeded", expect.any(String)]);
    // Broken downloads went on where they broke.
    expect(proxy.seen.filter((one) => one.includes(weights))).toEqual([`GET ${weights}`, `GET ${weights} bytes=1000-`]);
    const rows = "/trainer/v1/data/train";
    const read = [`GET ${rows}/digest`, `GET ${rows}`, `GET ${rows} bytes=1000-`];
    expect(proxy.seen.filter((one) => one.includes(rows))).toEqual(read);
    expect(proxy.seen.filter((one) => one === "POST /trainer/v1/bootstrap").length).toBe(1);
    expect(proxy.seen.some((one) => one.startsWith("PUT /trainer/v1/artifacts/"))).toBe(true);
  }, 120_000);
});
