/**
 * A training on rented machines of a site without inbound connections: no trainer reaches the server, everything goes
 * through an S3 server that checks signatures. A spot pod reports live, saves on command, is taken back, and another
 * one resumes; the model is downloaded at the end.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/lib/clock.ts";
import { sha256Hex } from "../../src/lib/ids.ts";
import { s3Store } from "../../src/lib/objects/s3.ts";
import { bootOf } from "../support/fake-cloud/boot.ts";
import { FakeCloud, type Machine } from "../support/fake-cloud/core.ts";
import { serveCloud } from "../support/fake-cloud/server.ts";
import { VENDORS } from "../support/fake-cloud/vendors.ts";
import { type Live, startLive, trainerMissing, until } from "../support/live.ts";
import { ACCESS, BUCKET, cloudsMissing, type S3Server, startS3 } from "../support/s3-servers.ts";
import { importTinyModel, trainingLines } from "../support/tiny.ts";

const skip = trainerMissing ?? cloudsMissing;
/** What RunPod gives a pod between its notice and its end. */
const NOTICE_S = 60;

interface JobView {
  state: string;
  error: unknown;
  model: string | null;
  progress: { step?: number };
}

describe.skipIf(skip !== null)(`a site without inbound connections${skip ? ` (skipped: ${skip})` : ""}`, () => {
  let s3: S3Server;
  let live: Live;
  let root: string;
  let cloud: FakeCloud;
  let address: Awaited<ReturnType<typeof serveCloud>>;
  let jobId = "";
  const job = async () => {
    const now = await live.call<JobView>("GET", `/v1/jobs/${jobId}`);
    if (["failed", "cancelled"].includes(now.state)) throw new Error(JSON.stringify(now.error));
    return now;
  };
  const steps = async () => (await job()).progress.step ?? 0;
  const checkpoints = async () =>
    (await live.call<{ data: { step_number: number }[] }>("GET", `/v1/jobs/${jobId}/checkpoints`)).data;

  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), "ftl-mailbox-"));
    s3 = await startS3("rclone");
    const { dialect, config } = VENDORS.runpod as (typeof VENDORS)[string];
    cloud = new FakeCloud(
      { ...dialect, bootMs: 200, endMs: 100 },
      { clock: systemClock, onBoot: bootOf("runpod", root) },
    );
    address = await serveCloud(cloud);
    const settings = { ...config, api_url: address.url, api_key: cloud.account.apiKey, spot: true };
    live = await startLive({
      env: {
        FTL_PROVIDERS: "process,runpod",
        FTL_PROVIDER_SETTINGS: JSON.stringify({ runpod: settings }),
        FTL_TRAIN_SLOTS: "0",
        FTL_LISTEN_TRAINERS: "false",
        FTL_TRAINER_CHANNEL: "mailbox",
        FTL_MAILBOX_POLL_MS: "200",
        FTL_S3_ENDPOINT: s3.endpoint,
        FTL_S3_BUCKET: BUCKET,
        FTL_S3_ACCESS_KEY_ID: ACCESS.accessKey,
        FTL_S3_SECRET_KEY: ACCESS.secretKey,
      },
    });
    await importTinyModel(live);
  }, 180_000);

  afterAll(async () => {
    for (const one of cloud?.alive() ?? []) cloud.preempt(one.id);
    await address?.stop();
    await live?.close();
    await s3?.stop();
    if (root) rmSync(root, { recursive: true, force: true });
  });

  test("a pod trains, and its metrics arrive while it does", async () => {
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set("file", new File([trainingLines(60)], "bank.jsonl"));
    const headers = { authorization: `Bearer ${live.key}` };
    const sent = await fetch(`${live.url}/v1/files`, { method: "POST", body: form, headers });
    const { id: file } = (await sent.json()) as { id: string };
    const body = { model: "tiny", training_file: file, max_steps: 600, batch_size: 2, evaluate_after: false };
    jobId = (await live.call<{ id: string }>("POST", "/v1/jobs", body)).id;
    expect((await fetch(`${live.url}/trainer/v1/hello?nonce=aaaaaaaaaaaaaaaa`)).status).toBe(404);
    await until("first steps", async () => (await steps()) > 2, 240_000);
    const pod = cloud.alive()[0] as Machine;
    expect(pod.env.FTL_HOME_URL?.startsWith("mailbox:")).toBe(true);
    const before = await steps();
    await until("more steps", async () => (await steps()) > before, 60_000);
    expect((await job()).state).toBe("running");
  }, 320_000);

  test("it saves a checkpoint on command", async () => {
    const before = (await checkpoints()).length;
    await live.call("POST", `/v1/jobs/${jobId}/checkpoint`);
    await until("the checkpoint", async () => (await checkpoints()).length > before, 60_000);
  }, 70_000);

  test("the pod is taken back, another resumes, and the server starts again meanwhile", async () => {
    const pod = cloud.alive()[0] as Machine;
    cloud.preempt(pod.id, NOTICE_S);
    await until("another pod", async () => cloud.alive().some(({ id }) => id !== pod.id), 120_000);
    await live.kill9();
    await live.start();
    const done = await until(
      "the end of the job",
      async () => ((await job()).state === "succeeded" ? job() : null),
      300_000,
      500,
    );
    const { data } = await live.call<{ data: { outcome: string }[] }>("GET", `/v1/jobs/${jobId}/attempts`);
    // The first pauses by itself within the notice, or the vendor is faster.
    expect(["interrupted", "preempted"]).toContain(data[0]?.outcome as string);
    expect(data.slice(1).map(({ outcome }) => outcome)).toEqual(["succeeded"]);
    expect(done.model).toContain("ft:tiny");
  }, 500_000);

  test("the model is downloaded with the bytes that were trained", async () => {
    const { model } = await job();
    const lineage = await live.call<{ checkpoints: { artifact_id: string }[] }>("GET", `/v1/models/${model}/lineage`);
    const id = lineage.checkpoints[0]?.artifact_id;
    const artifact = await live.call<{ files: { path: string; sha256: string }[] }>("GET", `/v1/artifacts/${id}`);
    const weights = artifact.files.find(({ path }) => path === "adapter_model.safetensors");
    const headers = { authorization: `Bearer ${live.key}` };
    const got = await fetch(`${live.url}/v1/artifacts/${id}/content/${weights?.path}`, { headers });
    expect(sha256Hex(new Uint8Array(await got.arrayBuffer()))).toBe(weights?.sha256 ?? "");
  }, 60_000);

  test("nothing of the job is left in the mailbox but what its trainer may still read", async () => {
    const settings = { endpoint: s3.endpoint, region: "us-east-1", bucket: BUCKET, prefix: "", pathStyle: true };
    const store = s3Store({ ...settings, ca: null, credentials: () => ACCESS, quietMs: 20_000 }, Date.now);
    const waiting = async () => {
      const keys: string[] = [];
      for await (const { key } of store.list("mailbox/")) if (key.includes("/in/")) keys.push(key);
      return keys;
    };
    await until("the last request", async () => (await waiting()).length === 0, 20_000);
    await until("no pod", async () => cloud.alive().length === 0, 60_000);
  }, 90_000);
});
