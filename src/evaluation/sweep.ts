/** Automatic evaluations: starts those that training jobs request, and stores the results of finished ones. */
import { and, eq, gt, isNull, sql } from "drizzle-orm";
import { isEvaluateResult } from "../contract/job.ts";
import { type TrainSpec, validationRows } from "../contract/spec.ts";
import { type Ctx, systemActor } from "../ctx.ts";
import { evaluation } from "../db/schema/evaluations.ts";
import { job } from "../db/schema/jobs.ts";
import type { AskAs } from "../graders/judge.ts";
import { gradeAnswers } from "./grading.ts";
import { createEvaluation } from "./service.ts";

/** Finished training jobs older than this get no automatic evaluation. */
const SWEEP_BACK_MS = 30 * 86_400_000;
const SWEEP_LIMIT = 50;

/**
 * Starts the evaluations that training jobs request and stores results, on every change until the returned function is
 * called.
 */
export function startEvaluations(ctx: Ctx, ask: AskAs): () => void {
  let stopped = false;
  let running: Promise<void> = Promise.resolve();
  const sweep = () => {
    running = running
      .then(async () => {
        if (!stopped) await sweepEvaluations(ctx, ask);
      })
      .catch((cause) => {
        if (!stopped) ctx.log("error", "evaluations could not be swept", { cause });
      });
  };
  const off = ctx.bus.on("job.changed", (change) => {
    if (change.kind === "train" ? change.state === "succeeded" : change.kind === "evaluate") sweep();
  });
  sweep();
  return () => {
    stopped = true;
    off();
  };
}

/**
 * One pass: grades and stores the results of finished evaluate jobs, and starts the evaluations that finished training
 * jobs request. Returns the gradings that it started, which may take long.
 */
export async function sweepEvaluations(ctx: Ctx, ask: AskAs): Promise<Promise<void>[]> {
  const gradings = await storeResults(ctx, ask);
  await startRequested(ctx);
  return gradings;
}

/** Stores results, those with a grader once their answers are graded. */
async function storeResults(ctx: Ctx, ask: AskAs): Promise<Promise<void>[]> {
  const ended = await ctx.db
    .select({ evaluation, result: job.result })
    .from(evaluation)
    .innerJoin(job, eq(job.id, evaluation.jobId))
    .where(and(isNull(evaluation.result), eq(job.state, "succeeded")))
    .limit(SWEEP_LIMIT);
  const graded: Promise<void>[] = [];
  for (const row of ended) {
    const { result } = row;
    if (!isEvaluateResult(result)) continue;
    const store = async () => {
      if (!(await gradeAnswers(ctx, row.evaluation, ask))) return;
      await ctx.write((tx) => tx.update(evaluation).set({ result }).where(eq(evaluation.id, row.evaluation.id)));
      ctx.bus.emit("evaluation.changed", { org: row.evaluation.org, evaluationId: row.evaluation.id });
    };
    if (!row.evaluation.grader) await store();
    else
      graded.push(
        store().catch((cause) => {
          if (!ctx.signal.aborted)
            ctx.log("error", "answers could not be graded", { evaluation: row.evaluation.id, cause });
        }),
      );
  }
  return graded;
}

async function startRequested(ctx: Ctx): Promise<void> {
  const requested = await ctx.db
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
        isNull(job.deletedAt),
        // Somebody deleted it.
        sql`not exists (select 1 from job e where e.parent_id = ${job.id} and e.kind = 'evaluate' and e.deleted_at is not null)`,
      ),
    )
    .limit(SWEEP_LIMIT);
  for (const row of requested) {
    const spec = row.spec as TrainSpec;
    if (validationRows(spec) === 0) continue;
    const actor = { ...systemActor(row.org), userId: row.createdBy };
    await createEvaluation(ctx, actor, { trainJobId: row.id, automatic: true }).catch((cause) =>
      ctx.log("warn", "the evaluation after a training job could not be started", { job: row.id, cause }),
    );
  }
}
