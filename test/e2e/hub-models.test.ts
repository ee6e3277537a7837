/**
 * Base models from the hub on machines elsewhere: real trainers download them at the pinned commit, and the server
 * sends none of their bytes; a file that somebody changed at the hub is refused, and comes from the server.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type RunningServer, startServer } from "../../src/server.ts";
import { startPipeline } from "../../src/training/queue/pipeline.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { type Certificates, makeCertificates } from "../support/certificates.ts";
import { FORKED_PYTHON, farMachines } from "../support/far-machines.ts";
import { trainerMissing, until } from "../support/live.ts";
import { startModelHub } from "../support/model-hub.ts";
import { TINY_MODEL, trainingLines } from "../support/tiny.ts";
import { tlsProxy } from "../support/tls-proxy.ts";

/** A trainer that downloads its base model with the trainer's own code and goes no further. */
const DOWNLOADS = `
import os
from pathlib import Path
from finetune_trainer.protocol.bootstrap import attempt_token
from finetune_trainer.protocol.home import Home
from finetune_trainer.protocol.inputs import input_dir
url, scratch = os.environ["FTL_HOME_URL"], Path(os.environ["FTL_SCRATCH"])
home = Home(url, attempt_token(url, os.environ["FTL_ATTEMPT_TOKEN"], scratch), scratch)
reply = home.start()
input_dir(home, "base", reply["inputs"]["base"])
home.emit("failed", reason="internal", message="it only downloads", retry=False)
home.close()
`;
const INPUTS = "GET /trainer/v1/inputs/";

describe.skipIf(trainerMissing !== null)("base models on machines elsewhere", () => {
  let certificates: Certificates;
  let t: TestApp;
  let server: RunningServer;
  let proxy: ReturnType<typeof tlsProxy>;
  let hub: ReturnType<typeof startModelHub>;
  let stop: () => Promise<void>;
  let file = "";
  let argv = [FORKED_PYTHON, "-m", "finetune_trainer"];

  beforeAll(async () => {
    certificates = makeCertificates();
    hub = startModelHub(TINY_MODEL, "acme/tiny");
    t = await createTestApp({
      config: {
        trainer_listen: "127.0.0.1:0",
        listen_trainers: false,
        trainer_fingerprint: certificates.ca,
        hub_url: hub.url,
        hub_token: "hf_token_of_the_server",
        models_from_hub: "rented",
      },
    });
    server = startServer(t.ctx, t.app);
    proxy = tlsProxy(server.trainerUrl as string, certificates);
    t.ctx.config = { ...t.ctx.config, trainer_url: proxy.url };
    t.ctx.compute = await farMachines(t, [], () => argv);
    stop = startPipeline(t.ctx, { activeMs: 100, idleMs: 200 });
    await t.json("POST", "/v1/base_models/import", { body: { source: "hub", repo: "acme/tiny", id: "tiny" } });
    await until("the model", async () => (await t.json("GET", "/v1/base_models/tiny")).status === "ready");
    // The server downloads with its token. Trainers have none.
    expect(hub.seen.every(({ secret }) => secret)).toBe(true);
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set("file", new File([trainingLines(20)], "rows.jsonl"));
    ({ id: file } = await t.json<{ id: string }>("POST", "/v1/files", { raw: form }));
    await until("the rows", async () => (await t.json("GET", `/v1/files/${file}`)).status === "processed");
  }, 60_000);
  afterAll(async () => {
    await stop?.();
    proxy?.stop();
    await server?.stop(1);
    await t?.close();
    await hub?.stop();
    certificates?.remove();
  });

  /** A job that ends as it is to. @returns what was asked of the server and the hub, and the lines of the job's log */
  async function run(end: "succeeded" | "failed") {
    const [asked, downloaded] = [proxy.seen.length, hub.seen.length];
    const body = { model: "tiny", training_file: file, max_steps: 1, batch_size: 2, evaluate_after: false };
    const { id } = await t.json<{ id: string }>("POST", "/v1/jobs", { body });
    await until(
      "the run",
      async () => {
        const now = await t.json<{ state: string; error: unknown }>("GET", `/v1/jobs/${id}`);
        if (["failed", "cancelled"].includes(now.state) && now.state !== end)
          throw new Error(JSON.stringify(now.error));
        return now.state === end;
      },
      90_000,
    );
    const { data } = await t.json<{ data: { level: string; message: string }[] }>("GET", `/v1/jobs/${id}/logs`);
    return {
      fromServer: proxy.seen.slice(asked).flatMap((one) => (one.startsWith(INPUTS) ? [one.slice(INPUTS.length)] : [])),
      fromHub: hub.seen.slice(downloaded),
      log: data,
    };
  }
  const about = (lines: { level: string; message: string }[], word: string) =>
    lines.flatMap(({ message }) => (message.includes(word) ? [message] : []));

  test("come from the hub without a token, and none of their bytes from the server", async () => {
    const { fromServer, fromHub, log } = await run("succeeded");
    expect(fromServer).toEqual([]);
    expect(fromHub.map(({ path }) => path)).toContain("model.safetensors");
    expect(fromHub.some(({ secret }) => secret)).toBe(false);
    const { host } = new URL(hub.url);
    expect(about(log, "downloaded base")).toEqual([
      expect.stringMatching(
        new RegExp(`^downloaded base: \\d+ files \\(\\d+\\.\\d MB\\) from the hub \\(${host}\\) in `),
      ),
    ]);
    expect(log.filter(({ level }) => level === "warn")).toEqual([]);
  }, 120_000);

  test("with a changed file at the hub: it is refused, said once, and the server sends it", async () => {
    const weights = new Uint8Array(readFileSync(join(TINY_MODEL, "model.safetensors")));
    weights[weights.length - 1] = (weights.at(-1) ?? 0) ^ 1;
    hub.replaced.set("model.safetensors", weights);
    argv = [FORKED_PYTHON, "-c", DOWNLOADS];
    const { fromServer, log } = await run("failed");
    expect(fromServer[0]).toBe("base/model.safetensors");
    expect(about(log, "does not have the hash that the job names").length).toBe(1);
    expect(about(log, "downloaded base")[0]).toContain("from the server");
  }, 120_000);
});
