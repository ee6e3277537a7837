/**
 * Seeded installations to look at and to click through: empty, full (500 jobs, 40 models, long names, other scripts)
 * and failing.
 */
import type { TrainSpec } from "../../src/contract/spec.ts";
import type { Actor, Ctx } from "../../src/ctx.ts";
import { deployment } from "../../src/db/schema/deployments.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { artifact, checkpoint, model } from "../../src/db/schema/models.ts";
import { addStatements } from "./seed-billing.ts";
import { addBudgets } from "./seed-budgets.ts";
import { addDatasets } from "./seed-datasets.ts";
import { addEvaluation } from "./seed-evaluations.ts";
import { addHosts } from "./seed-hosts.ts";
import { addKeys } from "./seed-keys.ts";
import { addModeration } from "./seed-moderation.ts";
import { addNotices } from "./seed-notices.ts";
import { addPrices } from "./seed-prices.ts";
import { addPushes } from "./seed-pushes.ts";
import { addQueue } from "./seed-queue.ts";
import {
  addAttempt,
  addBase,
  addRun,
  HOUR,
  idOf,
  insertAll,
  type JobRow,
  jobRow,
  MINUTE,
  nameAt,
  oomError,
  running,
  seedSpec,
} from "./seed-rows.ts";
import { rng } from "./seed-run.ts";
import { addStatus } from "./seed-status.ts";
import { addSubjects } from "./seed-subjects.ts";
import { addSweeps } from "./seed-sweeps.ts";
import { addMetered, addRequests, addUsage } from "./seed-usage.ts";

type SeedName = "empty" | "full" | "failing";

/**
 * 500 jobs, 40 models, 14 datasets, 6 deployments. The first job runs, the second is finished with everything a run
 * has.
 */
async function seedFull(ctx: Ctx, actor: Actor): Promise<void> {
  const now = ctx.clock.now();
  await addBase(ctx, actor);
  await addDatasets(ctx, actor, 14);
  const random = rng(7);
  const rest = Array.from({ length: 495 }, (_, n) => {
    const roll = random();
    if (roll < 0.08) return jobRow(actor, now, n + 5, "failed", { error: oomError });
    if (roll < 0.14) return jobRow(actor, now, n + 5, "cancelled");
    return jobRow(actor, now, n + 5, "succeeded");
  });
  const first: JobRow[] = [
    jobRow(actor, now, 0, "running", running(88)),
    jobRow(actor, now, 1, "succeeded"),
    jobRow(actor, now, 2, "queued", { progress: { waiting: "Waiting for a free training slot (1 of 1 in use)" } }),
    jobRow(actor, now, 3, "paused", { ...running(45), progress: { ...running(45).progress, phase: "saving" } }),
    jobRow(actor, now, 4, "succeeded"),
  ];
  await insertAll(ctx, job, [...first, ...rest]);
  for (const [n, steps] of [
    [0, 88],
    [1, 135],
    [3, 45],
    [4, 135],
    [8, 135],
  ] as const)
    await addRun(ctx, idOf("ftjob-", n), steps, n + 1);
  for (const row of first.filter((one) => one.startedAt))
    await addAttempt(
      ctx,
      row,
      1,
      row.state === "running" ? { state: "running", outcome: null, exitCode: null, endedAt: null } : {},
    );
  const done = [...first, ...rest].filter((row) => row.state === "succeeded").slice(0, 40);
  await ctx.write(async (tx) => {
    for (const [n, row] of done.entries()) {
      const artifactId = `art_model${n}`;
      await tx
        .insert(artifact)
        .values({
          id: artifactId,
          org: actor.org,
          jobId: row.id,
          attemptId: "att",
          kind: "adapter",
          step: 136,
          metrics: {},
          files: [
            { path: "adapter_model.safetensors", size: 19_388_160, sha256: "0".repeat(64) },
            { path: "adapter_config.json", size: 1_012, sha256: "0".repeat(64) },
          ],
          manifestHash: `m${n}`,
          bytes: 19_400_000,
          status: "complete",
          createdAt: now,
        })
        .onConflictDoNothing();
      await tx.insert(checkpoint).values({
        id: `ftckpt_model${n}`,
        org: actor.org,
        jobId: row.id,
        artifactId,
        step: 136,
        model: `${(row.spec as TrainSpec).output_model}:ckpt-step-136`,
        metrics: { "train/loss": 0.031 + (n % 7) / 90, "eval/loss": 0.05 + (n % 11) / 80 },
        createdAt: now,
      });
      await tx.insert(model).values({
        id: (row.spec as TrainSpec).output_model,
        org: actor.org,
        name: row.name,
        baseModelId: "smollm2-135m-instruct",
        jobId: row.id,
        checkpointId: `ftckpt_model${n}`,
        createdBy: actor.userId,
        createdAt: row.finishedAt ?? now,
      });
    }
    for (const [n, state] of (["ready", "asleep", "starting", "failed", "stopped", "ready"] as const).entries())
      await tx.insert(deployment).values({
        id: idOf("dep_", n),
        org: actor.org,
        name: nameAt(n),
        model: (done[n]?.spec as TrainSpec | undefined)?.output_model ?? "smollm2-135m-instruct",
        baseModelId: "smollm2-135m-instruct",
        wanted: "running",
        state,
        idleAfterS: 900,
        lastRequestAt: now - n * 3 * MINUTE,
        healthyAt: now,
        error: state === "failed" ? "The engine ended three times in a minute." : null,
        createdBy: actor.userId,
        createdAt: now - n * HOUR,
      });
  });
  await addPushes(ctx, actor, seedSpec(1).output_model);
  await addNotices(ctx, actor);
  await addPrices(ctx, actor);
  await addKeys(ctx, actor);
  await addUsage(ctx, actor, done.slice(0, 30));
  await addMetered(ctx, actor, done.slice(0, 30));
  await addBudgets(ctx, actor);
  await addStatements(ctx, actor);
  await addRequests(ctx, actor, seedSpec(1).output_model);
  await addEvaluation(ctx, actor, 1, [0.02, 0.9]);
  await addEvaluation(ctx, actor, 4, [0.02, 0.72]);
  await addEvaluation(ctx, actor, 8, [0.02, 0.88]);
  await addSweeps(ctx, actor);
  await addStatus(ctx, actor);
  await addModeration(ctx, actor);
  await addSubjects(ctx, actor);
}

/** Everything that can go wrong at once: failed jobs and data, a deployment that keeps dying. */
async function seedFailing(ctx: Ctx, actor: Actor): Promise<void> {
  const now = ctx.clock.now();
  await addBase(ctx, actor);
  await addDatasets(ctx, actor, 7);
  const nan = {
    ...oomError,
    code: "nan_loss",
    message: "The loss became NaN at step 12, so the run was stopped.",
    advice: "Lower the learning rate, or train in float32.",
  };
  const failed = { progress: { step: 45, total_steps: 135, fraction: 45 / 135, loss: 1.2, tokens_seen: 20_000 } };
  const rows = [
    jobRow(actor, now, 0, "failed", { ...failed, error: oomError, attempts: 3 }),
    jobRow(actor, now, 1, "failed", { ...failed, error: nan }),
    jobRow(actor, now, 2, "cancelled"),
    jobRow(actor, now, 3, "validating"),
    jobRow(actor, now, 4, "stopping", running(30)),
  ];
  await insertAll(ctx, job, rows);
  await addRun(ctx, idOf("ftjob-", 0), 45, 3);
  await addRun(ctx, idOf("ftjob-", 1), 12, 5);
  await addEvaluation(ctx, actor, 1, null);
  for (const number of [1, 2, 3])
    await addAttempt(ctx, rows[0] as JobRow, number, {
      outcome: "out_of_memory",
      exitCode: 1,
      detail: "killed: out of memory",
    });
  await ctx.write((tx) =>
    tx.insert(deployment).values({
      id: idOf("dep_", 0),
      org: actor.org,
      name: "support-tickets",
      model: "smollm2-135m-instruct",
      baseModelId: "smollm2-135m-instruct",
      wanted: "running",
      state: "failed",
      restarts: 5,
      error: "The engine ended five times in ten minutes: out of memory.",
      createdBy: actor.userId,
      createdAt: now - HOUR,
    }),
  );
}

/** Fills the organization of `actor`. */
export async function seed(ctx: Ctx, actor: Actor, name: SeedName): Promise<void> {
  if (name === "full") await seedFull(ctx, actor);
  if (name === "failing") await seedFailing(ctx, actor);
  if (name !== "empty") await addHosts(ctx, name === "failing");
  if (name === "full") await addQueue(ctx, actor);
}
