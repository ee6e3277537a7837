/** Rows of a seeded installation: jobs with their runs and attempts, and base models. */

import { sql } from "drizzle-orm";
import { OWN_MACHINE } from "../../plugins/shared/own-machine.ts";
import type { TrainSpec } from "../../src/contract/spec.ts";
import type { Actor, Ctx } from "../../src/ctx.ts";
import { attempt, type job } from "../../src/db/schema/jobs.ts";
import { event } from "../../src/db/schema/metrics.ts";
import { artifact, baseModel, checkpoint } from "../../src/db/schema/models.ts";
import { PACKAGE } from "../../src/models/base/catalogue.ts";
import { curves, historyEvents, NAMES, sampleEvents } from "./seed-run.ts";

export type JobRow = typeof job.$inferInsert;

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const limits = { queued_s: 86_400, no_progress_s: 600, total_s: 86_400, max_attempts: 3 };
export const need = {
  gpus: 0,
  gpu_memory_mb: 0,
  cpus: 2,
  memory_mb: 3072,
  disk_mb: 2048,
  max_price_per_hour: null,
  provider: null,
};

export const nameAt = (n: number) =>
  n < NAMES.length ? (NAMES[n] as string) : `${NAMES[n % NAMES.length]} ${n}`.slice(0, 80);
export const idOf = (prefix: string, n: number) => `${prefix}${String(n).padStart(4, "0")}seed0seed0seed0`;

/** The datasets that are ready, which seeded jobs train on in turn. */
const READY = [0, 1, 2, 4];

/** A frozen spec of a LoRA run on SmolLM2. */
export function seedSpec(n: number, changes: { rank?: number; rate?: number } = {}): TrainSpec {
  return {
    version: 1,
    kind: "train",
    base_model: {
      id: "smollm2-135m-instruct",
      revision: "12fd25f77366fa6b3b4b768ec3050bf629380bac",
      hash: "5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c",
      parameters: 134_515_008,
      context_length: 8192,
    },
    dataset: {
      dataset_id: idOf("ds_", READY[n % 4] ?? 0),
      version_id: idOf("dsv_", READY[n % 4] ?? 0),
      file_id: null,
      hash: "9f2c4be0a1d7",
      train_rows: 360,
      holdout_rows: 40,
    },
    validation: null,
    method: {
      type: "sft",
      adapter: {
        type: "lora",
        r: changes.rank ?? 16,
        alpha: 2 * (changes.rank ?? 16),
        dropout: 0,
        target_modules: "all-linear",
        layers: null,
      },
      loss_on: "completion",
    },
    hyperparameters: {
      n_epochs: 3,
      max_steps: null,
      batch_size: 8,
      per_device_batch_size: 8,
      gradient_accumulation: 1,
      learning_rate: changes.rate ?? 0.001,
      scheduler: "linear",
      warmup_ratio: 0.03,
      weight_decay: 0,
      max_grad_norm: 1,
      max_length: 512,
      seed: 42,
      precision: "bfloat16",
      gradient_checkpointing: false,
    },
    schedule: {
      total_steps: 135,
      log_every: 1,
      eval_every: 15,
      save_every: 45,
      keep_checkpoints: 3,
      sample_rows: 4,
      eval_rows: 40,
      sample_max_tokens: 64,
    },
    suffix: null,
    output_model: `ft:smollm2-135m-instruct:alpha:${idOf("m", n)}`,
    evaluate_after: true,
    trainer: { version: "0.1.0", environment: "torch-2.13-cpu" },
    need,
    limits,
  };
}

export function jobRow(
  actor: Actor,
  now: number,
  n: number,
  state: JobRow["state"],
  changes: Partial<JobRow> = {},
): JobRow {
  const created = now - n * 47 * MINUTE - 5 * MINUTE;
  const started = ["queued", "validating"].includes(state ?? "") ? null : created + 20_000;
  const over = ["succeeded", "failed", "cancelled"].includes(state ?? "");
  const spec = seedSpec(n, { rank: n % 3 ? 16 : 8, rate: n % 4 ? 0.001 : 0.0005 });
  return {
    id: idOf("ftjob-", n),
    org: actor.org,
    kind: "train",
    name: nameAt(n),
    state,
    spec,
    request: { model: spec.base_model.id, training_file: spec.dataset.dataset_id },
    metadata: {},
    attempts: started ? 1 : 0,
    progress: over
      ? {
          step: 135,
          total_steps: 135,
          fraction: 1,
          loss: 0.031 + (n % 7) / 90,
          tokens_seen: 61_240,
          phase: "uploading",
        }
      : {},
    createdBy: actor.userId,
    createdAt: created,
    queuedAt: created,
    startedAt: started,
    finishedAt: over ? created + 4 * MINUTE + (n % 9) * 13_000 : null,
    progressAt: started ? created + 4 * MINUTE : null,
    ...changes,
  };
}

export const running = (step: number): Partial<JobRow> => ({
  progress: {
    step,
    total_steps: 135,
    fraction: step / 135,
    eta_s: (135 - step) * 1.4,
    phase: "training",
    tokens_seen: step * 452,
    loss: 0.21,
  },
});

export const oomError = {
  code: "out_of_memory",
  message: "The trainer ran out of memory at step 45.",
  param: null,
  advice: "Lower the batch size or the max sequence length, or choose a smaller base model.",
  detail:
    "RuntimeError: [enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 1207959552 bytes.",
};

export async function insertAll(ctx: Ctx, table: typeof job, rows: JobRow[]): Promise<void> {
  for (let from = 0; from < rows.length; from += 100)
    await ctx.write((tx) => tx.insert(table).values(rows.slice(from, from + 100)));
}

/** Stores curves, samples and log lines of a run up to `steps`. */
export async function addRun(ctx: Ctx, jobId: string, steps: number, seed: number): Promise<void> {
  const now = ctx.clock.now();
  await ctx.write(async (tx) => {
    await tx.run(
      sql`insert into batch (job_id, attempt_id, first_seq, last_seq, at) values (${jobId}, ${`att_${jobId}`}, 1, ${steps}, ${now})`,
    );
    const [batch] = await tx.all<{ id: number }>(sql`select max(id) as id from batch`);
    for (const [key, points] of Object.entries(curves(steps, seed))) {
      const last = points.at(-1) ?? [0, 0];
      await tx.run(
        sql`insert into series (job_id, key, points, last_step, last_value) values (${jobId}, ${key}, ${points.length}, ${last[0]}, ${last[1]})`,
      );
      await tx.run(
        sql`insert into point (series_id, step, value, at, batch_id) select (select id from series where job_id = ${jobId} and key = ${key}), value->>0, value->>1, ${now}, ${batch?.id ?? 1} from json_each(${JSON.stringify(points)})`,
      );
    }
    const lines = Array.from({ length: steps * 2 }, (_, n) => [
      now - (steps * 2 - n) * 700,
      n % 61 === 60 ? "warn" : "info",
      n % 61 === 60
        ? "row 118 has 611 tokens and was cut to 512"
        : `step ${Math.ceil((n + 1) / 2)}: loss ${(2.4 / (1 + n / 14)).toFixed(4)}, 187 tokens/s`,
    ]);
    await tx.run(
      sql`insert into log_line (job_id, attempt_id, batch_id, at, level, message) select ${jobId}, ${`att_${jobId}`}, ${batch?.id ?? 1}, value->>0, value->>1, value->>2 from json_each(${JSON.stringify(lines)})`,
    );
    for (const row of [...sampleEvents(jobId, steps, now), ...historyEvents(jobId, steps, now)])
      await tx.insert(event).values(row);
    for (const step of [45, 90, 135].filter((one) => one <= steps)) {
      const [artifactId, id] = [`art_${jobId}${step}`, `ftckpt_${jobId}${step}`];
      const [row] = await tx.all<{ org: string }>(sql`select org from job where id = ${jobId}`);
      const org = row?.org ?? "";
      await tx.insert(artifact).values({
        id: artifactId,
        org,
        jobId,
        attemptId: `att_${jobId}`,
        kind: "checkpoint",
        step,
        metrics: { "eval/loss": 0.9 / step ** 0.5 },
        files: [],
        manifestHash: id,
        bytes: 19_400_000,
        status: "complete",
        createdAt: now,
        completedAt: now,
      });
      await tx.insert(checkpoint).values({
        id,
        org,
        jobId,
        artifactId,
        step,
        model: `ft:smollm2-135m-instruct:alpha:${jobId.slice(6, 12)}${step}:ckpt-step-${step}`,
        metrics: { "eval/loss": 0.9 / step ** 0.5 },
        createdAt: now,
      });
    }
  });
}

export async function addAttempt(
  ctx: Ctx,
  row: JobRow,
  number: number,
  changes: Partial<typeof attempt.$inferInsert> = {},
): Promise<void> {
  await ctx.write((tx) =>
    tx.insert(attempt).values({
      id: `att_${row.id}${number}`,
      org: row.org,
      jobId: row.id,
      number,
      state: "ended",
      provider: "process",
      outcome: "succeeded",
      exitCode: 0,
      offer: {
        id: "local",
        location: "this machine",
        gpus: 0,
        gpuName: null,
        gpuMemoryMb: 0,
        cpus: 2,
        memoryMb: 7800,
        ...OWN_MACHINE,
        startsInS: 0,
        available: true,
      },
      tokenHash: `${row.id}-${number}`,
      createdAt: row.createdAt + number * 1000,
      startedAt: row.startedAt,
      endedAt: row.finishedAt,
      ...changes,
    }),
  );
}

export async function addBase(ctx: Ctx, actor: Actor): Promise<void> {
  const base = {
    source: "package" as const,
    sourceRef: PACKAGE.name,
    revision: PACKAGE.revision,
    license: "Apache-2.0",
    installedBy: actor.userId,
    createdAt: ctx.clock.now() - 40 * 24 * HOUR,
  };
  await ctx.write((tx) =>
    tx.insert(baseModel).values([
      {
        id: "smollm2-135m-instruct",
        name: "SmolLM2-135M-Instruct",
        status: "ready",
        hash: "5af571cb",
        files: [],
        architecture: { parameters: 134_515_008, layers: 30, context_length: 8192 },
        ...base,
      },
      {
        id: "qwen2.5-0.5b-instruct",
        name: "Qwen2.5-0.5B-Instruct",
        status: "ready",
        hash: "11aa22",
        files: [],
        architecture: { parameters: 494_032_768, layers: 24, context_length: 32_768 },
        ...base,
        source: "hub",
        sourceRef: "Qwen/Qwen2.5-0.5B-Instruct",
      },
    ]),
  );
}
