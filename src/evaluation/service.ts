/**
 * Evaluations: the base model and the fine-tuned model answer the same validation rows in a job of kind `evaluate`.
 * They are created, read and compared here.
 */
import { and, desc, eq, or, sql } from "drizzle-orm";
import { audit } from "../accounts/audit/service.ts";
import { trainerIdentity } from "../compute/providers/registry.ts";
import type { EvaluateSpec, RowType } from "../contract/spec.ts";
import { type Actor, type Ctx, perContext } from "../ctx.ts";
import { olderThan } from "../db/paging.ts";
import { evaluation } from "../db/schema/evaluations.ts";
import { job } from "../db/schema/jobs.ts";
import { AppError, notFound } from "../errors.ts";
import { newId } from "../lib/ids.ts";
import { lruOf } from "../lib/lru.ts";
import { createJob } from "../training/jobs/store.ts";
import { readPairs } from "./answers.ts";
import { DEFAULT_ROWS, type EvaluationRow, type EvaluationView, evaluationView, MAX_ROWS } from "./model.ts";
import { type EvaluationPlan, planForJob, planForModel } from "./plan.ts";
import { type Comparison, compare, type Judged } from "./statistics.ts";

/** Rows per batch: twice as fast as 8 on two CPU cores; the trainer uses fewer when rows are long. */
const BATCH_SIZE = 32;
const comparisonsOf = perContext(() => lruOf<Comparison>(500));

/** `automatic`: created by the sweep, at most once per job. `allRows`: not only the validation rows. */
type CreateRequest = { name?: string; maxRows?: number } & (
  | { trainJobId: string; automatic?: boolean }
  | { model: string; versionId: string; allRows?: boolean }
);

/**
 * Starts an evaluation of a finished training job, or of any model on the validation rows of a dataset version.
 * @throws AppError when there are no rows to answer or no answers to compare
 */
export async function createEvaluation(ctx: Ctx, actor: Actor, request: CreateRequest): Promise<EvaluationView> {
  const plan =
    "trainJobId" in request
      ? await planForJob(ctx, actor, request.trainJobId)
      : await planForModel(ctx, actor, request);
  const available = availableRows(plan, "trainJobId" in request ? "job" : "dataset");
  const spec = await specOf(ctx, plan, Math.min(request.maxRows ?? DEFAULT_ROWS, MAX_ROWS, available));
  const name = request.name ?? `${plan.tuned?.model ?? plan.base.id} before and after`;
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
    versionId: plan.dataset.version_id,
    result: null,
    createdBy: actor.userId,
    createdAt: ctx.clock.now(),
  };
  const [stored] = await ctx.write(async (tx) => {
    const inserted = await tx.insert(evaluation).values(row).onConflictDoNothing().returning();
    if (inserted.length > 0)
      await audit(tx, ctx, actor, "evaluation.create", row.id, { job: created.id, model: row.tunedModel });
    return tx.select().from(evaluation).where(eq(evaluation.jobId, created.id)).limit(1);
  });
  ctx.bus.emit("evaluation.changed", { org: actor.org, evaluationId: stored?.id ?? row.id });
  return getEvaluation(ctx, actor, stored?.id ?? row.id);
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
  const available = split === "validation" ? dataset.train_rows + dataset.holdout_rows : dataset.holdout_rows;
  if (available === 0)
    throw new AppError(
      "invalid",
      "no_holdout_rows",
      "This data has no validation rows. Create a version with a validation split, or use a validation file.",
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

/** What an evaluation compares. A reward model writes no answers: its side has no tokens. */
const judgedOf = (row: EvaluationRow, rows: RowType | null): Judged =>
  row.result?.tuned?.tokens === 0 ? "pairs" : rows === "text" ? "texts" : "answers";

/** The comparison of a finished evaluation with two sides; computed once and cached. */
async function comparisonOf(ctx: Ctx, row: EvaluationRow, judged: Judged): Promise<Comparison | null> {
  if (!row.result?.tuned) return null;
  const cache = comparisonsOf(ctx);
  const cached = cache.get(row.id);
  if (cached) return cached;
  const comparison = compare(await readPairs(ctx, row.jobId), judged);
  cache.set(row.id, comparison);
  return comparison;
}

export async function getEvaluation(ctx: Ctx, actor: Actor, id: string): Promise<EvaluationView> {
  return view(ctx, await findRow(ctx, actor, id));
}

/**
 * Evaluations, newest first; one more than `limit`, which shows whether there is another page.
 * @param page `search` is a part of the name or of the model
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
        olderThan(evaluation, from),
      ),
    )
    .orderBy(desc(evaluation.createdAt), desc(evaluation.id))
    .limit(page.limit + 1);
  return Promise.all(rows.map((row) => view(ctx, row)));
}

/** The id of an evaluation's job. */
export async function evaluationJob(ctx: Ctx, actor: Actor, id: string): Promise<string> {
  return (await findRow(ctx, actor, id)).jobId;
}
