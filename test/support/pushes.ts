/** An application with a fine-tuned model, and a hub to push it to. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { artifact } from "../../src/db/schema/models.ts";
import { manifestHash } from "../../src/lib/disk/manifest.ts";
import { newId, sha256Hex } from "../../src/lib/ids.ts";
import type { PushView } from "../../src/training/pushes/model.ts";
import { type Asker, createTestApp, type TestApp } from "./app.ts";
import { type Hub, startHub, WRITE_TOKEN } from "./hub.ts";
import { insertTuned, readyBase } from "./models.ts";

/** Larger than a part of the hub's storage, and not a multiple of it. */
export const WEIGHTS = Buffer.alloc(150_001, 7);
/** The files of the model. */
export const CONTENT: Record<string, Buffer> = {
  "adapter_model.safetensors": WEIGHTS,
  "adapter_config.json": Buffer.from('{"r":8}'),
  "small.safetensors": Buffer.alloc(1000, 3),
  "notes/empty.txt": Buffer.alloc(0),
  "trainer_state.json": Buffer.from("{}"),
};

export interface PushLab {
  hub: Hub;
  lab: TestApp;
  artifactId: string;
  /** `/v1/models/…/pushes`. */
  path: string;
  nextRepo(): string;
  create(body: object, as?: Asker): Promise<Response>;
  retrieve(id: string): Promise<PushView>;
  ended(id: string): Promise<PushView>;
  /** A push to a new repository, created. */
  begun(body?: object): Promise<PushView>;
  /** The same when it has ended. */
  pushed(body?: object): Promise<PushView>;
  /** Requests to the hub whose line matches. */
  requests(pattern: RegExp): number;
  /** Waits until the storage was asked. */
  uploading(): Promise<void>;
  /** Forgets requests, faults and objects. */
  reset(): void;
  close(): Promise<void>;
}

/** A fine-tuned model with the files of `CONTENT`. */
async function tunedModel(lab: TestApp) {
  await readyBase(lab.ctx, "tiny", "Llama 3.2 Community License");
  const tuned = await insertTuned(lab.ctx, lab.orgs.a);
  const artifactId = newId("artifact");
  const directory = lab.ctx.files.path("artifacts", artifactId);
  mkdirSync(join(directory, "notes"), { recursive: true });
  for (const [path, bytes] of Object.entries(CONTENT)) writeFileSync(join(directory, path), bytes);
  const files = Object.entries(CONTENT).map(([path, one]) => ({ path, size: one.length, sha256: sha256Hex(one) }));
  await lab.ctx.write((tx) =>
    tx.insert(artifact).values({
      id: artifactId,
      org: lab.orgs.a,
      jobId: tuned.jobId,
      attemptId: "att_x",
      kind: "adapter",
      step: 20,
      metrics: {},
      files,
      manifestHash: manifestHash(files),
      bytes: 1,
      status: "complete",
      createdAt: 1,
    }),
  );
  return { model: tuned.id, artifactId };
}

export async function startPushLab(): Promise<PushLab> {
  const hub = startHub();
  const lab = await createTestApp({ config: { hub_url: hub.url, import_hosts: [hub.storageHost] } });
  const { model, artifactId } = await tunedModel(lab);
  let number = 0;
  const made: PushLab = {
    hub,
    lab,
    artifactId,
    path: `/v1/models/${encodeURIComponent(model)}/pushes`,
    nextRepo: () => `acme/model-${number++}`,
    create: (body, as = "admin") => lab.request("POST", made.path, { body, as }),
    retrieve: (id) => lab.json<PushView>("GET", `/v1/pushes/${id}`),
    async ended(id) {
      for (let i = 0; i < 1000; i++) {
        const found = await made.retrieve(id);
        if (!["waiting", "running"].includes(found.status)) return found;
        await Bun.sleep(10);
      }
      throw new Error(`push ${id} does not end`);
    },
    async begun(body = {}) {
      const answer = await made.create({ repository: made.nextRepo(), token: WRITE_TOKEN, ...body });
      if (answer.status !== 200) throw new Error(await answer.text());
      return (await answer.json()) as PushView;
    },
    pushed: async (body) => made.ended((await made.begun(body)).id),
    requests: (pattern) => hub.log.filter(({ line }) => pattern.test(line)).length,
    async uploading() {
      while (made.requests(/^storage PUT/) === 0) await Bun.sleep(5);
    },
    reset() {
      hub.log.length = 0;
      hub.faults.length = 0;
      hub.objects.clear();
      hub.hold = null;
    },
    async close() {
      hub.stop();
      await lab.close();
    },
  };
  return made;
}
