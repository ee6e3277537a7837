/** The main workflow with its files in a bucket: upload, train, lose this machine's copies, download, deploy, chat. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { sha256Hex } from "../../src/lib/ids.ts";
import { s3Store } from "../../src/lib/objects/s3.ts";
import { type Live, startLive, trainerMissing, until } from "../support/live.ts";
import { ACCESS, BUCKET, cloudsMissing, type S3Server, startS3 } from "../support/s3-servers.ts";
import { importTinyModel, trainingLines } from "../support/tiny.ts";

const skip = cloudsMissing ?? trainerMissing;
let server: S3Server;
let live: Live;
beforeAll(async () => {
  if (skip) return;
  server = await startS3("rclone");
  const env = {
    FTL_ARTIFACT_STORE: "s3",
    FTL_S3_ENDPOINT: server.endpoint,
    FTL_S3_BUCKET: BUCKET,
    FTL_S3_ACCESS_KEY_ID: ACCESS.accessKey,
    FTL_S3_SECRET_KEY: ACCESS.secretKey,
  };
  live = await startLive({ env });
  await importTinyModel(live);
}, 180_000);
afterAll(async () => {
  await live?.close();
  await server?.stop();
});

interface Job {
  state: string;
  model: string | null;
  error: unknown;
}
interface Lineage {
  checkpoints: { artifact_id: string }[];
}

async function keys(): Promise<string[]> {
  const settings = { endpoint: server.endpoint, region: "us-east-1", bucket: BUCKET, prefix: "", pathStyle: true };
  const store = s3Store({ ...settings, ca: null, credentials: () => ACCESS, quietMs: 20_000 }, Date.now);
  const found: string[] = [];
  for await (const { key } of store.list("")) found.push(key);
  return found;
}

test.skipIf(skip !== null)(
  `works on a machine that has lost its copies${skip ? ` (skipped: ${skip})` : ""}`,
  async () => {
    const headers = { authorization: `Bearer ${live.key}` };
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set("file", new File([trainingLines(60)], "bank.jsonl"));
    const sent = await fetch(`${live.url}/v1/files`, { method: "POST", body: form, headers });
    const { id: file } = (await sent.json()) as { id: string };
    const body = {
      model: "tiny",
      training_file: file,
      max_steps: 4,
      batch_size: 4,
      save_every: 2,
      evaluate_after: false,
    };
    const { id } = await live.call<{ id: string }>("POST", "/v1/jobs", body);
    const done = await until(
      "the training",
      async () => {
        const job = await live.call<Job>("GET", `/v1/jobs/${id}`);
        return ["succeeded", "failed"].includes(job.state) ? job : null;
      },
      400_000,
    );
    expect([done.state, done.error]).toEqual(["succeeded", null]);
    const model = done.model as string;

    const stored = await keys();
    expect(stored.every((key) => key.startsWith("teams/"))).toBe(true);
    for (const kind of ["files", "datasets", "artifacts"])
      expect([kind, stored.some((key) => key.includes(`/${kind}/`))]).toEqual([kind, true]);

    // Another machine with the same database: none of the files are there.
    await live.stop();
    for (const folder of ["files", "datasets", "artifacts"]) {
      rmSync(join(live.dir, folder), { recursive: true });
      mkdirSync(join(live.dir, folder));
    }
    await live.start();
    const content = await fetch(`${live.url}/v1/files/${file}/content`, { headers, redirect: "manual" });
    expect(content.status).toBe(302);
    expect(await (await fetch(content.headers.get("location") ?? "")).text()).toBe(trainingLines(60));
    const { checkpoints } = await live.call<Lineage>("GET", `/v1/models/${encodeURIComponent(model)}/lineage`);
    const artifactId = checkpoints[0]?.artifact_id ?? "";
    const view = await live.call<{ files: { path: string; sha256: string }[] }>("GET", `/v1/artifacts/${artifactId}`);
    for (const { path, sha256 } of view.files) {
      const got = await fetch(`${live.url}/v1/artifacts/${artifactId}/content/${path}`, { headers });
      expect([path, sha256Hex(new Uint8Array(await got.arrayBuffer()))]).toEqual([path, sha256]);
    }
    expect(existsSync(join(live.dir, "artifacts", artifactId))).toBe(false);

    const { id: endpoint } = await live.call<{ id: string }>("POST", "/v1/deployments", { model });
    await until(
      "the endpoint",
      async () => {
        const { state, error } = await live.call<{ state: string; error: unknown }>(
          "GET",
          `/v1/deployments/${endpoint}`,
        );
        if (state === "failed") throw new Error(JSON.stringify(error));
        return state === "ready";
      },
      120_000,
    );
    const messages = [{ role: "user", content: "Hello" }];
    const answer = await live.call<{ choices: unknown[] }>("POST", "/v1/chat/completions", {
      model,
      messages,
      max_tokens: 4,
    });
    expect(answer.choices).toHaveLength(1);
    expect(readdirSync(join(live.dir, "artifacts")).length).toBeGreaterThan(0);
  },
  420_000,
);
