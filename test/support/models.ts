/** Small base models and fine-tuned models for tests: real files on disk, real rows, no weights worth loading. */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { OWN_MACHINE } from "../../plugins/shared/own-machine.ts";
import type { ServingPlace } from "../../src/contract/provider.ts";
import type { FileEntry, ServeSpec, TrainSpec } from "../../src/contract/spec.ts";
import type { Ctx } from "../../src/ctx.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { artifact, baseModel } from "../../src/db/schema/models.ts";
import { manifestHash, sha256File } from "../../src/lib/disk/manifest.ts";
import { newId } from "../../src/lib/ids.ts";
import { addCheckpoint, createModel } from "../../src/models/tuned/service.ts";

/** A safetensors file with one 2 x 3 bfloat16 tensor, or what `header` says. */
export function safetensors(header?: unknown, dataBytes = 12): Uint8Array<ArrayBuffer> {
  const json = Buffer.from(
    JSON.stringify(header ?? { weight: { dtype: "BF16", shape: [2, 3], data_offsets: [0, 12] } }),
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return new Uint8Array(Buffer.concat([length, json, Buffer.alloc(dataBytes)]));
}

export const MODEL_FILES: Record<string, string | Uint8Array<ArrayBuffer>> = {
  "config.json": JSON.stringify({ model_type: "llama", num_hidden_layers: 1, hidden_size: 8, num_attention_heads: 2 }),
  "tokenizer.json": JSON.stringify({ version: "1.0", model: { type: "BPE", vocab: {}, merges: [] } }),
  "tokenizer_config.json": JSON.stringify({ chat_template: "{{ messages }}" }),
  "model.safetensors": safetensors(),
  "README.md": "not copied",
};

/** Writes a model directory; `changes` replaces or (with null) leaves out files. */
export function writeModel(directory: string, changes: Record<string, string | Uint8Array | null> = {}): string {
  mkdirSync(directory, { recursive: true });
  for (const [name, content] of Object.entries({ ...MODEL_FILES, ...changes }))
    if (content !== null) writeFileSync(join(directory, name), content);
  return directory;
}

/** A base model that is ready, as a row alone. */
export async function readyBase(ctx: Ctx, id = "tiny", license = "apache-2.0", context = 128): Promise<void> {
  await ctx.write((tx) =>
    tx.insert(baseModel).values({
      id,
      name: id,
      source: "local",
      sourceRef: "/nowhere",
      revision: "local",
      license,
      status: "ready",
      hash: "0".repeat(64),
      files: [],
      architecture: { parameters: 1000, context_length: context },
      installedBy: "system",
      createdAt: ctx.clock.now(),
    }),
  );
}

const limits = { queued_s: 60, no_progress_s: 60, total_s: 600, max_attempts: 1 };
const need = {
  gpus: 0,
  gpu_memory_mb: 0,
  cpus: 1,
  memory_mb: 100,
  disk_mb: 1,
  max_price_per_hour: null,
  provider: null,
};
const trainer = { version: "test", environment: "test" };
const baseRef = (id: string) => ({
  id,
  revision: "local",
  hash: "0".repeat(64),
  parameters: 1000,
  context_length: 128,
});

/** A frozen training spec with every number set. */
export function trainSpec(base: string, outputModel: string, changes: Partial<TrainSpec> = {}): TrainSpec {
  return {
    version: 1,
    kind: "train",
    base_model: baseRef(base),
    dataset: { dataset_id: "ds_t", version_id: "dsv_t", file_id: null, hash: "h", train_rows: 90, holdout_rows: 10 },
    validation: null,
    method: {
      type: "sft",
      adapter: { type: "lora", r: 8, alpha: 16, dropout: 0, target_modules: "all-linear", layers: null },
      loss_on: "completion",
    },
    hyperparameters: {
      n_epochs: 1,
      max_steps: null,
      batch_size: 8,
      per_device_batch_size: 8,
      gradient_accumulation: 1,
      learning_rate: 0.001,
      scheduler: "linear",
      warmup_ratio: 0,
      weight_decay: 0,
      max_grad_norm: 1,
      max_length: 128,
      seed: 7,
      precision: "float32",
      gradient_checkpointing: false,
    },
    schedule: {
      total_steps: 20,
      log_every: 1,
      eval_every: 10,
      save_every: 10,
      keep_checkpoints: 3,
      sample_rows: 2,
      eval_rows: 10,
      sample_max_tokens: 32,
    },
    suffix: null,
    output_model: outputModel,
    evaluate_after: false,
    trainer,
    need,
    limits,
    ...changes,
  };
}

export function serveSpec(base: string, adapters: { name: string; artifactId: string }[] = []): ServeSpec {
  return {
    version: 1,
    kind: "serve",
    base_model: baseRef(base),
    adapters: adapters.map((one, n) => ({ name: one.name, artifact_id: one.artifactId, input: `adapter-${n}` })),
    max_new_tokens: 64,
    precision: "float32",
    trainer,
    need,
    limits,
  };
}

/** A job row in any state, without an engine behind it. */
export async function insertJob(
  ctx: Ctx,
  values: Pick<typeof job.$inferInsert, "org" | "kind" | "state" | "spec"> & Partial<typeof job.$inferInsert>,
): Promise<string> {
  const id = values.id ?? newId(values.kind === "train" ? "trainJob" : "job");
  const row = { name: id, request: {}, metadata: {}, progress: {}, createdBy: "system", createdAt: ctx.clock.now() };
  await ctx.write((tx) => tx.insert(job).values({ ...row, ...values, id }));
  return id;
}

/** The running attempt of a serve job, as its launch on this machine leaves it. */
export async function insertAttempt(ctx: Ctx, jobId: string, serving: ServingPlace): Promise<void> {
  const { gpus, cpus } = need;
  const offer = { id: "local", location: "here", gpus, gpuName: null, gpuMemoryMb: 0, cpus, memoryMb: 100 };
  await ctx.write((tx) =>
    tx.insert(attempt).values({
      id: newId("attempt"),
      org: "",
      jobId,
      number: 1,
      state: "running",
      provider: "process",
      offer: { ...offer, ...OWN_MACHINE, startsInS: 0, available: true },
      handle: { provider: "process", key: jobId, serving },
      tokenHash: newId("attempt"),
      createdAt: ctx.clock.now(),
    }),
  );
}

/** A complete artifact with real files on disk, and its checkpoint. */
export async function insertCheckpoint(
  ctx: Ctx,
  values: { org: string; jobId: string; step: number; model: string; content?: string },
) {
  const id = newId("artifact");
  const directory = ctx.files.path("artifacts", id);
  mkdirSync(directory, { recursive: true });
  const content = {
    "adapter_model.safetensors": safetensors(),
    "trainer_state.json": values.content ?? `{"step":${values.step}}`,
  };
  const files: FileEntry[] = [];
  for (const [path, bytes] of Object.entries(content)) {
    writeFileSync(join(directory, path), bytes);
    files.push({ path, size: Buffer.byteLength(bytes), sha256: await sha256File(join(directory, path)) });
  }
  return ctx.write(async (tx) => {
    await tx.insert(artifact).values({
      id,
      org: values.org,
      jobId: values.jobId,
      attemptId: `att_${id}`,
      kind: "checkpoint",
      step: values.step,
      metrics: {},
      files,
      manifestHash: manifestHash(files),
      bytes: files.reduce((sum, file) => sum + file.size, 0),
      status: "complete",
      createdAt: ctx.clock.now(),
    });
    return addCheckpoint(tx, { ...values, artifactId: id, metrics: { "train/loss": 0.5 }, at: ctx.clock.now() });
  });
}

/** A run that succeeded, with checkpoints at `steps` and a fine-tuned model created from the last. */
export async function insertTuned(
  ctx: Ctx,
  org: string,
  options: { base?: string; id?: string; steps?: number[]; spec?: Partial<TrainSpec> } = {},
) {
  const base = options.base ?? "tiny";
  const id = options.id ?? `ft:${base}:acme:bank:${newId("job").slice(-6)}`;
  const jobId = await insertJob(ctx, {
    org,
    kind: "train",
    state: "succeeded",
    spec: trainSpec(base, id, options.spec),
    finishedAt: ctx.clock.now(),
  });
  const checkpoints = [];
  for (const step of options.steps ?? [10, 20])
    checkpoints.push(await insertCheckpoint(ctx, { org, jobId, step, model: id }));
  const last = checkpoints.at(-1);
  if (!last) throw new Error("a fine-tuned model needs a checkpoint");
  await ctx.write((tx) =>
    createModel(tx, { id, org, name: id, baseModelId: base, jobId, checkpointId: last.id, createdBy: "system" }),
  );
  return { id, jobId, checkpoints };
}
