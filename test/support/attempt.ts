/** Creates a job with a running attempt directly in the database, with a client of the trainer protocol for it. */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { OWN_MACHINE } from "../../plugins/shared/own-machine.ts";
import type { TrainSpec } from "../../src/contract/spec.ts";
import type { ArtifactOpened } from "../../src/contract/trainer.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { baseModel } from "../../src/db/schema/models.ts";
import { newId, newSecret, sha256Hex } from "../../src/lib/ids.ts";
import type { TestApp } from "./app.ts";
import { safetensors } from "./safetensors.ts";

export interface TestTrainer {
  jobId: string;
  attemptId: string;
  token: string;
  /** One request under `/trainer/v1`; `body` is sent as JSON, `raw` as it is. */
  call(method: string, path: string, options?: CallOptions): Promise<Response>;
  json<T = Record<string, unknown>>(method: string, path: string, options?: CallOptions): Promise<T>;
  /** Sends events and returns the reply. Events without `seq` get the next number. */
  send(events: Record<string, unknown>[]): Promise<{ last_seq: number; commands: unknown[] }>;
}

interface CallOptions {
  body?: unknown;
  raw?: RequestInit["body"];
  headers?: Record<string, string>;
  token?: string;
}

const ROW = '{"id":0,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"hello"}]}\n';

/** The spec of a small training job on base model `tiny` and dataset version `dsv_test`. */
export function trainSpec(changes: Partial<TrainSpec> = {}): TrainSpec {
  return {
    version: 1,
    kind: "train",
    base_model: { id: "tiny", revision: "1", hash: "h1", parameters: 1000, context_length: 512 },
    dataset: {
      dataset_id: "ds_test",
      version_id: "dsv_test",
      file_id: null,
      hash: "d1",
      train_rows: 2,
      holdout_rows: 1,
    },
    validation: null,
    method: {
      type: "sft",
      adapter: { type: "lora", r: 4, alpha: 8, dropout: 0, target_modules: "all-linear", layers: null },
      loss_on: "completion",
    },
    hyperparameters: {
      n_epochs: 1,
      max_steps: null,
      batch_size: 2,
      per_device_batch_size: 2,
      gradient_accumulation: 1,
      learning_rate: 0.001,
      scheduler: "linear",
      warmup_ratio: 0,
      weight_decay: 0,
      max_grad_norm: 1,
      max_length: 128,
      seed: 1,
      precision: "float32",
      gradient_checkpointing: false,
    },
    schedule: {
      total_steps: 10,
      log_every: 1,
      eval_every: 5,
      save_every: 5,
      keep_checkpoints: 2,
      sample_rows: 1,
      eval_rows: 1,
      sample_max_tokens: 8,
    },
    suffix: null,
    output_model: `ft:tiny:alpha:x:${newId("job").slice(-6)}`,
    evaluate_after: false,
    trainer: { version: "1", environment: "test" },
    need: {
      gpus: 0,
      gpu_memory_mb: 0,
      cpus: 1,
      memory_mb: 100,
      disk_mb: 100,
      max_price_per_hour: null,
      provider: null,
    },
    limits: { queued_s: 60, no_progress_s: 60, total_s: 600, max_attempts: 3 },
    ...changes,
  } as TrainSpec;
}

/** Creates the base model `tiny` and the splits of `dsv_test`, unless they exist. */
export async function createInputs(t: TestApp): Promise<void> {
  const model = t.ctx.files.path("models", "tiny");
  const data = t.ctx.files.path("datasets", "dsv_test");
  mkdirSync(model, { recursive: true });
  mkdirSync(data, { recursive: true });
  writeFileSync(join(model, "config.json"), '{"tiny":true}');
  writeFileSync(join(data, "train.jsonl"), ROW + ROW.replace('"id":0', '"id":1'));
  writeFileSync(join(data, "holdout.jsonl"), ROW.replace('"id":0', '"id":2'));
  await t.ctx.write((tx) =>
    tx
      .insert(baseModel)
      .values({
        id: "tiny",
        name: "Tiny",
        source: "local",
        sourceRef: "/tiny",
        revision: "1",
        license: "apache-2.0",
        status: "ready",
        hash: "h1",
        files: [{ path: "config.json", size: 13, sha256: sha256Hex('{"tiny":true}') }],
        installedBy: "test",
        createdAt: 1,
      })
      .onConflictDoNothing(),
  );
}

/** Creates a running job of organization A (or `org`) with one attempt; with `jobId`, another attempt of that job. */
export async function makeTrainer(
  t: TestApp,
  options: { spec?: TrainSpec; jobId?: string; number?: number; org?: string } = {},
): Promise<TestTrainer> {
  await createInputs(t);
  const spec = options.spec ?? trainSpec();
  const jobId = options.jobId ?? newId("trainJob");
  const number = options.number ?? 1;
  const attemptId = newId("attempt");
  const token = newSecret("fta-");
  const org = options.org ?? t.orgs.a;
  const now = Date.now();
  await t.ctx.write(async (tx) => {
    await tx
      .insert(job)
      .values({
        id: jobId,
        org,
        kind: spec.kind,
        name: "test",
        state: "running",
        spec,
        request: {},
        metadata: {},
        progress: {},
        attempts: number,
        createdBy: t.users.admin,
        createdAt: now,
        startedAt: now,
      })
      .onConflictDoUpdate({ target: job.id, set: { attempts: number, state: "running" } });
    const offer = {
      id: "o",
      location: "here",
      gpus: 0,
      gpuName: null,
      gpuMemoryMb: 0,
      cpus: 1,
      memoryMb: 100,
      ...OWN_MACHINE,
      startsInS: 0,
      available: true,
    };
    await tx.insert(attempt).values({
      id: attemptId,
      org,
      jobId,
      number,
      state: "running",
      provider: "process",
      offer,
      tokenHash: sha256Hex(token),
      createdAt: now,
      startedAt: now,
    });
  });
  let seq = 0;
  const trainer: TestTrainer = {
    jobId,
    attemptId,
    token,
    call(method, path, given = {}) {
      const headers = new Headers({ authorization: `Bearer ${given.token ?? token}`, ...given.headers });
      if (given.body !== undefined) headers.set("content-type", "application/json");
      const body = given.body !== undefined ? JSON.stringify(given.body) : given.raw;
      return t.request(method, `/trainer/v1${path}`, { raw: body, headers: Object.fromEntries(headers) });
    },
    async json(method, path, given) {
      const answer = await trainer.call(method, path, given);
      const text = await answer.text();
      if (!answer.ok) throw new Error(`${method} ${path} answered ${answer.status}: ${text}`);
      return JSON.parse(text);
    },
    send(events) {
      const numbered = events.map((one) => {
        seq = typeof one.seq === "number" ? one.seq : seq + 1;
        return { at: Date.now(), ...one, seq };
      });
      return trainer.json("POST", "/events", { body: { events: numbered } });
    },
  };
  return trainer;
}

/** A metrics event of one step. */
export const metrics = (step: number, values: Record<string, number | string>) => ({
  type: "metrics",
  step,
  epoch: 0,
  values,
});

/** Uploads a checkpoint of `step` with its validation metrics. */
export async function saveCheckpoint(
  trainer: Pick<TestTrainer, "call" | "json">,
  step: number,
  metrics: Record<string, number>,
): Promise<void> {
  const files = {
    "adapter_model.safetensors": safetensors({ a: [step, 2, 3] }),
    "adapter_config.json": new TextEncoder().encode('{"r":4}'),
  };
  const listed = Object.entries(files).map(([path, bytes]) => ({
    path,
    size: bytes.byteLength,
    sha256: sha256Hex(bytes),
  }));
  const body = { kind: "checkpoint", step, metrics, files: listed };
  const { artifact_id: id } = await trainer.json<ArtifactOpened>("POST", "/artifacts", { body });
  for (const [path, bytes] of Object.entries(files))
    await trainer.call("PUT", `/artifacts/${id}/${path}?offset=0`, { raw: new Uint8Array(bytes) });
  await trainer.json("POST", `/artifacts/${id}/complete`, { body: {} });
}
