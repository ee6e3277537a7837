/**
 * Evaluations: the base model and the fine-tuned model answer the same validation rows in a job of kind `evaluate`.
 * They are created, read and compared here.
 */
import { and, desc, eq, or, sql } from "drizzle-orm";
import { audit } from "../accounts/audit/service.ts";
import { creatorId } from "../accounts/organizations/creators.ts";
import { trainerIdentity } from "../compute/providers/registry.ts";
import type { EvaluateSpec, RowType } from "../contract/spec.ts";
import { type Actor, type Ctx, perContext } from "../ctx.ts";
import { labelOfVersion } from "../data/datasets/versions.ts";
import { olderThan } from "../db/paging.ts";
import { evaluation } from "../db/schema/evaluations.ts";
import { job } from "../db/schema/jobs.ts";
import { AppError, notFound } from "../errors.ts";
import type { Grader } from "../graders/model.ts";
import { newId } from "../lib/ids.ts";
import { lruOf } from "../lib/lru.ts";
import { deletedAmong, titleOf } from "../models/tuned/lookup.ts";
import { resolveModel } from "../models/tuned/service.ts";
import { deleteJob } from "../training/jobs/edit.ts";
import { createJob } from "../training/jobs/store.ts";
import { readPairs, readRewards } from "./answers.ts";
import { checkAnswerGrader } from "./grading.ts";
import { DEFAULT_ROWS, type EvaluationRow, type EvaluationView, evaluationView, MAX_ROWS } from "./model.ts";
import { overlapWithTraining } from "./overlap.ts";
import { type EvaluationPlan, type ModelRequest, planForJob, planForModel } from "./plan.ts";
import { compare, type Judged } from "./statistics.ts";

/** Rows per batch: twice as fast as 8 on two CPU cores; the trainer uses fewer when rows are long. */
const BATCH_SIZE = 32;
type Outcome = Pick<EvaluationView, "comparison" | "rewards">;
const outcomesOf = perContext(() => lruOf<Outcome>(500));

/** `automatic`: created by the sweep, at most once per job. */
export type CreateRequest = { name?: string; maxRows?: number; grader?: Grader | null } & (
  | { trainJobId: string; automatic?: boolean }
  | ModelRequest
);

/** What an evaluation compares and the spec of its job, checked. @throws AppError like `createEvaluation` */
export async function evaluationSpec(
  ctx: Ctx,
  actor: Actor,
  request: CreateRequest,
): Promise<{ plan: EvaluationPlan; spec: EvaluateSpec }> {
  const plan =
    "trainJobId" in request
      ? await planForJob(ctx, actor, request.trainJobId)
      : await planForModel(ctx, actor, request);
  if (request.grader) await checkAnswerGrader(ctx, actor, request.grader, await writesAnswers(ctx, actor, plan));
  const available = availableRows(plan, "trainJobId" in request ? "job" : "dataset");
  return { plan, spec: await specOf(ctx, plan, Math.min(request.maxRows ?? DEFAULT_ROWS, MAX_ROWS, available)) };
}

/**
 * Starts an evaluation of a finished training job, or of any model on the validation rows of a dataset version.
 * @throws AppError when there are no rows to answer or no answers to compare
 */
export async function createEvaluation(ctx: Ctx, actor: Actor, request: CreateRequest): Promise<EvaluationView> {
  const { plan, spec } = await evaluationSpec(ctx, actor, request);
  const name =
    request.name ??
    (plan.tuned
      ? `${await titleOf(ctx, plan.tuned.model)} ${plan.against ? `against ${await titleOf(ctx, plan.against.model)}` : "before and after"}`
      : plan.base.id);
  const automatic = "trainJobId" in request && request.automatic === true;
  const created = await createJob(ctx, actor, {
    kind: "evaluate",
    name,
    spec,
    request: { ...request },
    parentId: plan.trainJobId ?? undefined,
    // The sweep may run twice, also after a stop between this and the next write: it finds the same job.
    idempotencyKey: automatic ? `evaluate-after:${request.trainJobId}` : undefined,
  });
  const row: EvaluationRow = {
    id: newId("evaluation"),
    org: actor.org,
    name,
    jobId: created.id,
    trainJobId: plan.trainJobId,
    baseModelId: plan.base.id,
    tunedModel: plan.tuned?.model ?? null,
    againstModel: plan.against?.model ?? null,
    grader: request.grader ? { ...request.grader } : null,
    versionId: plan.dataset.version_id,
    result: null,
    createdBy: actor.userId,
    createdAt: ctx.clock.now(),
  };
  const [stored] = await ctx.write(async (tx) => {
    const inserted = await tx.insert(evaluation).values(row).onConflictDoNothing().returning();
    if (inserted.length > 0)
      await audit(tx, ctx, actor, "evaluation.create", row.id, {
        job: created.id,
        model: row.tunedModel,
        against: row.againstModel,
      });
    return tx.select().from(evaluation).where(eq(evaluation.jobId, created.id)).limit(1);
  });
  ctx.bus.emit("evaluation.changed", { org: actor.org, evaluationId: stored?.id ?? row.id });
  return getEvaluation(ctx, actor, stored?.id ?? row.id);
}

/** Whether the model writes answers to the rows, which a grader can then grade. */
async function writesAnswers(ctx: Ctx, actor: Actor, { tuned, dataset }: EvaluationPlan): Promise<boolean> {
  if (dataset.row_type === "text") return false;
  return !tuned || (await resolveModel(ctx, actor, tuned.model)).method !== "reward";
}

/** Rows that the plan can answer. @throws AppError `no_answers_to_compare`, `no_holdout_rows` */
function availableRows({ dataset, split }: EvaluationPlan, param: "job" | "dataset"): number {
  if (dataset.row_type === "prompt")
    throw new AppError(
      "invalid",
      "no_answers_to_compare",
      "Prompts have no answers to compare with: use the reward on validation rows, or evaluate on conversations.",
      { param },
    );
  const available =
    split === "validation"
      ? dataset.train_rows + dataset.holdout_rows
      : split === "train"
        ? dataset.train_rows
        : dataset.holdout_rows;
  if (available === 0)
    throw new AppError(
      "invalid",
      "no_holdout_rows",
      "This data has no validation rows. Evaluate on all rows, create a version with a validation split, or use a validation file.",
      { param: "dataset" },
    );
  return available;
}

async function specOf(ctx: Ctx, plan: EvaluationPlan, maxRows: number): Promise<EvaluateSpec> {
  const bytes = plan.base.parameters * (plan.precision === "float32" ? 4 : 2);
  return {
    version: 1,
    kind: "evaluate",
    base_model: plan.base,
    tuned: plan.tuned,
    ...(plan.against ? { against: plan.against } : {}),
    dataset: plan.dataset,
    split: plan.split,
    max_rows: maxRows,
    max_new_tokens: plan.maxNewTokens,
    batch_size: BATCH_SIZE,
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

const SPLITS = { holdout: "holdout", train: "train", validation: "all" } as const;

async function view(ctx: Ctx, actor: Actor, row: EvaluationRow): Promise<EvaluationView> {
  const [work] = await ctx.db
    .select({
      state: job.state,
      progress: job.progress,
      error: job.error,
      finishedAt: job.finishedAt,
      rowType: sql<RowType | null>`json_extract(${job.spec}, '$.dataset.row_type')`,
      split: sql<EvaluateSpec["split"] | null>`json_extract(${job.spec}, '$.split')`,
    })
    .from(job)
    .where(eq(job.id, row.jobId))
    .limit(1);
  const judged = judgedOf(row, work?.rowType ?? null);
  const models = [row.tunedModel, row.againstModel].flatMap((name) => name ?? []);
  return evaluationView(row, {
    work: work ?? null,
    split: SPLITS[work?.split ?? "holdout"],
    judged,
    ...(await outcomeOf(ctx, row, judged)),
    dataset: await labelOfVersion(ctx, actor, row.versionId),
    deletedModels: await deletedAmong(ctx, actor.org, models),
  });
}

/** What an evaluation compares. A reward model writes no answers: its side has no tokens. */
const judgedOf = (row: EvaluationRow, rows: RowType | null): Judged =>
  row.result?.tuned?.tokens === 0 ? "pairs" : rows === "text" ? "texts" : "answers";

/** How the sentence of an evaluation names its sides. */
const sidesOf = ({ againstModel, tunedModel }: EvaluationRow) =>
  againstModel ? { base: `with ${againstModel}`, tuned: `with ${tunedModel}` } : undefined;

/** The comparison and the rewards of a finished evaluation; computed once and cached. */
async function outcomeOf(ctx: Ctx, row: EvaluationRow, judged: Judged): Promise<Outcome> {
  if (!row.result) return { comparison: null, rewards: null };
  const cache = outcomesOf(ctx);
  const cached = cache.get(row.id);
  if (cached) return cached;
  const outcome = {
    comparison: row.result.tuned ? compare(await readPairs(ctx, row.jobId), judged, sidesOf(row)) : null,
    rewards: row.grader ? await readRewards(ctx, row.jobId) : null,
  };
  cache.set(row.id, outcome);
  return outcome;
}

export async function getEvaluation(ctx: Ctx, actor: Actor, id: string): Promise<EvaluationView> {
  const row = await findRow(ctx, actor, id);
  const [shown, overlap] = await Promise.all([view(ctx, actor, row), overlapWithTraining(ctx, actor, row)]);
  return { ...shown, overlap };
}

/**
 * Evaluations, newest first; one more than `limit`, which shows whether there is another page.
 * @param page `search` is a part of the name or of the model, `createdBy` an id or `me`
 */
export async function listEvaluations(
  ctx: Ctx,
  actor: Actor,
  page: {
    after?: string | null;
    limit: number;
    trainJobId?: string | null;
    search?: string;
    createdBy?: string;
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
        page.createdBy ? eq(evaluation.createdBy, creatorId(actor, page.createdBy)) : undefined,
        olderThan(evaluation, from),
      ),
    )
    .orderBy(desc(evaluation.createdAt), desc(evaluation.id))
    .limit(page.limit + 1);
  return Promise.all(rows.map((row) => view(ctx, actor, row)));
}

/**
 * Deletes an ended evaluation with its job and all answers. The training job and the models stay.
 * @throws AppError `evaluation_not_found`, `job_not_ended`
 */
export async function deleteEvaluation(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  const row = await findRow(ctx, actor, id);
  await deleteJob(ctx, actor, row.jobId, (tx) => audit(tx, ctx, actor, "evaluation.delete", id, { name: row.name }));
  ctx.bus.emit("evaluation.changed", { org: row.org, evaluationId: id });
}

/** The id of an evaluation's job. */
export async function evaluationJob(ctx: Ctx, actor: Actor, id: string): Promise<string> {
  return (await findRow(ctx, actor, id)).jobId;
}
