/**
 * Evaluations: base and tuned model answer the same held-out rows as a job of kind `evaluate`; here they are made, read
 * and judged.
 */

import { and, desc, eq, gt, isNull, lt, or, sql } from "drizzle-orm";
import { audit } from "../accounts/audit/service.ts";
import { bf16Supported, trainerIdentity } from "../compute/providers/registry.ts";
import { isEvaluateResult } from "../contract/job.ts";
import type { DatasetRef, EvaluateSpec, RowType, TrainSpec } from "../contract/spec.ts";
import { type Actor, type Ctx, perContext, systemActor } from "../ctx.ts";
import { resolveTrainingData } from "../data/datasets/training-data.ts";
import { datasetRef } from "../data/validation/model.ts";
import { evaluation } from "../db/schema/evaluations.ts";
import { job } from "../db/schema/jobs.ts";
import { artifact, checkpoint, model } from "../db/schema/models.ts";
import { AppError, notFound } from "../errors.ts";
import { newId } from "../lib/ids.ts";
import { lruOf } from "../lib/lru.ts";
import { baseModelRef } from "../models/base/service.ts";
import { artifactProblem, newestCheckpoint, resolveModel } from "../models/tuned/service.ts";
import { createJob } from "../training/jobs/store.ts";
import { readPairs } from "./answers.ts";
import { DEFAULT_ROWS, type EvaluationRow, type EvaluationView, evaluationView, MAX_ROWS } from "./model.ts";
import { type Comparison, compare, type Judged } from "./statistics.ts";

const SWEEP_BACK_MS = 30 * 86_400_000;
const SWEEP_LIMIT = 50;
/** Answered together: twice as fast as 8 on two cores; the trainer takes fewer when rows are long. */
const ROWS_AT_ONCE = 32;
const comparisonsOf = perContext(() => lruOf<Comparison>(500));

type CreateRequest = { name?: string; maxRows?: number } & (
  | { trainJobId: string /** Made by the sweep, at most once a job. */; automatic?: boolean }
  | {
      model: string;
      versionId: string /** Every row of the version instead of its hold-out rows. */;
      allRows?: boolean;
    }
);

/**
 * Starts an evaluation of a finished training job, or of any model on the hold-out rows of a dataset version.
 * @throws AppError when there is nothing to answer or nothing to compare
 */
export async function createEvaluation(ctx: Ctx, actor: Actor, request: CreateRequest): Promise<EvaluationView> {
  const plan =
    "trainJobId" in request
      ? await planForJob(ctx, actor, request.trainJobId)
      : await planForModel(ctx, actor, request);
  if (plan.dataset.row_type === "prompt")
    throw new AppError(
      "invalid",
      "no_answers_to_compare",
      "Prompts have no answers to compare with: look at the reward on held-out rows, or evaluate on conversations.",
      { param: "trainJobId" in request ? "job" : "dataset" },
    );
  const available =
    plan.split === "validation" ? plan.dataset.train_rows + plan.dataset.holdout_rows : plan.dataset.holdout_rows;
  if (available === 0)
    throw new AppError(
      "invalid",
      "no_holdout_rows",
      "This data has no held-out rows to answer. Make a version with a hold-out share, or give a validation file.",
      { param: "dataset" },
    );
  const maxRows = Math.min(request.maxRows ?? DEFAULT_ROWS, MAX_ROWS, available);
  const bytes = plan.base.parameters * (plan.precision === "float32" ? 4 : 2);
  const spec: EvaluateSpec = {
    version: 1,
    kind: "evaluate",
    base_model: plan.base,
    tuned: plan.tuned,
    dataset: plan.dataset,
    split: plan.split,
    max_rows: maxRows,
    max_new_tokens: plan.maxNewTokens,
    batch_size: ROWS_AT_ONCE,
    precision: plan.precision,
    ...(plan.quantization ? { quantization: plan.quantization } : {}),
    seed: plan.seed,
    trainer: await trainerIdentity(ctx),
    need: {
      gpus: 0,
      gpu_memory_mb: 0,
      cpus: 1,
      memory_mb: Math.ceil((bytes * 1.5) / 1024 ** 2) + 1000,
      disk_mb: 100,
      max_price_per_hour: null,
      provider: null,
    },
    limits: { queued_s: 86_400, no_progress_s: 600, total_s: 86_400, max_attempts: 3 },
  };
  const name = request.name ?? `${plan.tuned?.model ?? plan.base.id} before and after`;
  const automatic = "trainJobId" in request && request.automatic === true;
  const made = await createJob(ctx, actor, {
    kind: "evaluate",
    name,
    spec,
    request: { ...request },
    parentId: plan.trainJobId ?? undefined,
    // The sweep may come by twice, also after a stop between this and the next write: it finds the same job.
    idempotencyKey: automatic ? `evaluate-after:${request.trainJobId}` : undefined,
  });
  const row: EvaluationRow = {
    id: newId("evaluation"),
    org: actor.org,
    name,
    jobId: made.id,
    trainJobId: plan.trainJobId,
    baseModelId: plan.base.id,
    tunedModel: plan.tuned?.model ?? null,
    versionId: plan.dataset.version_id,
    result: null,
    createdBy: actor.userId,
    createdAt: ctx.clock.now(),
  };
  const [stored] = await ctx.write(async (tx) => {
    const inserted = await tx.insert(evaluation).values(row).onConflictDoNothing().returning();
    if (inserted.length > 0)
      await audit(tx, ctx, actor, "evaluation.create", row.id, { job: made.id, model: row.tunedModel });
    return tx.select().from(evaluation).where(eq(evaluation.jobId, made.id)).limit(1);
  });
  ctx.bus.emit("evaluation.changed", { org: actor.org, evaluationId: stored?.id ?? row.id });
  return getEvaluation(ctx, actor, stored?.id ?? row.id);
}

interface Plan {
  base: EvaluateSpec["base_model"];
  tuned: EvaluateSpec["tuned"];
  dataset: DatasetRef;
  split: EvaluateSpec["split"];
  precision: EvaluateSpec["precision"];
  quantization: EvaluateSpec["quantization"];
  maxNewTokens: number;
  seed: number;
  trainJobId: string | null;
}

/** After a training job: its own data, its own numbers, the checkpoint its model is made of. */
async function planForJob(ctx: Ctx, actor: Actor, jobId: string): Promise<Plan> {
  const [run] = await ctx.db
    .select()
    .from(job)
    .where(and(eq(job.id, jobId), eq(job.org, actor.org), eq(job.kind, "train")))
    .limit(1);
  if (!run) throw notFound("job", jobId);
  const spec = run.spec as TrainSpec;
  // The model's own checkpoint, which need not be the newest; before there is a model, or when its files are damaged,
  // the newest whole one.
  const [made] = await ctx.db
    .select({ id: model.id, checkpoint, artifact })
    .from(model)
    .innerJoin(checkpoint, eq(checkpoint.id, model.checkpointId))
    .innerJoin(artifact, eq(artifact.id, checkpoint.artifactId))
    .where(eq(model.jobId, jobId))
    .limit(1);
  const own = made && (await artifactProblem(ctx, made.artifact)) === null ? made.checkpoint : null;
  const found = own ?? (await newestCheckpoint(ctx, jobId));
  if (!found)
    throw new AppError(
      "invalid",
      "no_checkpoint",
      "This job has no whole checkpoint yet, so there is nothing to compare.",
      { param: "job" },
    );
  return {
    base: spec.base_model,
    tuned: { model: made?.id ?? found.model, checkpoint_id: found.id, artifact_id: found.artifactId },
    dataset: spec.validation ?? spec.dataset,
    split: spec.validation ? "validation" : "holdout",
    precision: spec.hyperparameters.precision,
    quantization: spec.method.quantization,
    maxNewTokens: spec.schedule.sample_max_tokens,
    seed: spec.hyperparameters.seed,
    trainJobId: jobId,
  };
}

async function planForModel(
  ctx: Ctx,
  actor: Actor,
  request: { model: string; versionId: string; allRows?: boolean },
): Promise<Plan> {
  const resolved = await resolveModel(ctx, actor, request.model);
  const version = await resolveTrainingData(ctx, actor, request.versionId, "dataset");
  if (version.status !== "ready" || !version.hash)
    throw new AppError("invalid", "dataset_not_ready", "This dataset version is not validated yet.", {
      param: "dataset",
    });
  const [run] = resolved.jobId
    ? await ctx.db.select({ spec: job.spec }).from(job).where(eq(job.id, resolved.jobId)).limit(1)
    : [];
  const spec = run?.spec as TrainSpec | undefined;
  return {
    base: baseModelRef(resolved.base),
    tuned:
      resolved.adapter && resolved.checkpointId
        ? { model: resolved.id, checkpoint_id: resolved.checkpointId, artifact_id: resolved.adapter.artifactId }
        : null,
    dataset: datasetRef(version),
    split: request.allRows ? "validation" : "holdout",
    precision: spec?.hyperparameters.precision ?? (bf16Supported(ctx) ? "bfloat16" : "float32"),
    quantization: spec?.method.quantization,
    maxNewTokens: spec?.schedule.sample_max_tokens ?? 128,
    seed: spec?.hyperparameters.seed ?? 0,
    trainJobId: resolved.jobId,
  };
}

async function findRow(ctx: Ctx, actor: Actor, id: string): Promise<EvaluationRow> {
  const [row] = await ctx.db
    .select()
    .from(evaluation)
    .where(and(or(eq(evaluation.id, id), eq(evaluation.jobId, id)), eq(evaluation.org, actor.org)))
    .limit(1);
  if (!row) throw notFound("evaluation", id);
  return row;
}

async function view(ctx: Ctx, row: EvaluationRow): Promise<EvaluationView> {
  const [work] = await ctx.db
    .select({
      state: job.state,
      progress: job.progress,
      error: job.error,
      finishedAt: job.finishedAt,
      rowType: sql<RowType | null>`json_extract(${job.spec}, '$.dataset.row_type')`,
    })
    .from(job)
    .where(eq(job.id, row.jobId))
    .limit(1);
  const judged = judgedOf(row, work?.rowType ?? null);
  return evaluationView(row, work ?? null, judged, await comparisonOf(ctx, row, judged));
}

/** A reward model answers nothing: its scores are of no tokens. */
const judgedOf = (row: EvaluationRow, rows: RowType | null): Judged =>
  row.result?.tuned?.tokens === 0 ? "pairs" : rows === "text" ? "texts" : "answers";

/** The comparison of a finished evaluation with two sides; computed once and kept. */
async function comparisonOf(ctx: Ctx, row: EvaluationRow, judged: Judged): Promise<Comparison | null> {
  if (!row.result?.tuned) return null;
  const kept = comparisonsOf(ctx);
  const known = kept.get(row.id);
  if (known) return known;
  const comparison = compare(await readPairs(ctx, row.jobId), judged);
  kept.set(row.id, comparison);
  return comparison;
}

export async function getEvaluation(ctx: Ctx, actor: Actor, id: string): Promise<EvaluationView> {
  return view(ctx, await findRow(ctx, actor, id));
}

/**
 * Evaluations, newest first; one more than `limit` to tell whether there is another page. `search` is a part of the
 * name or of the model.
 */
export async function listEvaluations(
  ctx: Ctx,
  actor: Actor,
  page: {
    after?: string | null;
    limit: number;
    trainJobId?: string | null;
    search?: string;
  },
): Promise<EvaluationView[]> {
  const from = page.after ? await findRow(ctx, actor, page.after) : null;
  const rows = await ctx.db
    .select()
    .from(evaluation)
    .where(
      and(
        eq(evaluation.org, actor.org),
        page.trainJobId ? eq(evaluation.trainJobId, page.trainJobId) : undefined,
        page.search
          ? sql`instr(lower(${evaluation.name} || ' ' || coalesce(${evaluation.tunedModel}, '')), ${page.search.toLowerCase()}) > 0`
          : undefined,
        from
          ? or(
              lt(evaluation.createdAt, from.createdAt),
              and(eq(evaluation.createdAt, from.createdAt), lt(evaluation.id, from.id)),
            )
          : undefined,
      ),
    )
    .orderBy(desc(evaluation.createdAt), desc(evaluation.id))
    .limit(page.limit + 1);
  return Promise.all(rows.map((row) => view(ctx, row)));
}

/** The job behind an evaluation, for its rows. */
export async function evaluationJob(ctx: Ctx, actor: Actor, id: string): Promise<string> {
  return (await findRow(ctx, actor, id)).jobId;
}

/** Starts what training jobs asked for, takes over results, and goes on doing both on every change until stopped. */
export function startEvaluations(ctx: Ctx): () => void {
  let stopped = false;
  let running: Promise<void> = Promise.resolve();
  const go = () => {
    running = running
      .then(() => (stopped ? undefined : sweepEvaluations(ctx)))
      .catch((cause) => {
        if (!stopped) ctx.log("error", "evaluations could not be swept", { cause });
      });
  };
  const off = ctx.bus.on("job.changed", (change) => {
    if (change.kind === "train" ? change.state === "succeeded" : change.kind === "evaluate") go();
  });
  go();
  return () => {
    stopped = true;
    off();
  };
}

/**
 * One pass: results of ended evaluate jobs go to their evaluations; finished training jobs that want one get theirs.
 */
export async function sweepEvaluations(ctx: Ctx): Promise<void> {
  const ended = await ctx.db
    .select({ id: evaluation.id, org: evaluation.org, result: job.result })
    .from(evaluation)
    .innerJoin(job, eq(job.id, evaluation.jobId))
    .where(and(isNull(evaluation.result), eq(job.state, "succeeded")))
    .limit(SWEEP_LIMIT);
  for (const row of ended) {
    if (!isEvaluateResult(row.result)) continue;
    const result = row.result;
    await ctx.write((tx) => tx.update(evaluation).set({ result }).where(eq(evaluation.id, row.id)));
    ctx.bus.emit("evaluation.changed", { org: row.org, evaluationId: row.id });
  }
  const wanting = await ctx.db
    .select({ id: job.id, org: job.org, createdBy: job.createdBy, spec: job.spec })
    .from(job)
    .leftJoin(evaluation, eq(evaluation.trainJobId, job.id))
    .where(
      and(
        eq(job.state, "succeeded"),
        eq(job.kind, "train"),
        gt(job.finishedAt, ctx.clock.now() - SWEEP_BACK_MS),
        sql`json_extract(${job.spec}, '$.evaluate_after') = 1`,
        isNull(evaluation.id),
      ),
    )
    .limit(SWEEP_LIMIT);
  for (const row of wanting) {
    const spec = row.spec as TrainSpec;
    if (!spec.validation && spec.dataset.holdout_rows === 0) continue;
    const actor = { ...systemActor(row.org), userId: row.createdBy };
    await createEvaluation(ctx, actor, { trainJobId: row.id, automatic: true }).catch((cause) =>
      ctx.log("warn", "the evaluation after a training job could not be started", { job: row.id, cause }),
    );
  }
}
