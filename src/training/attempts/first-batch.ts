/**
 * Compares the first batch that a trainer reports with the stored rows, and stops a job that trains on anything else.
 */

import { eq } from "drizzle-orm";
import type { Progress } from "../../contract/job.ts";
import type { TrainSpec } from "../../contract/spec.ts";
import { type Ctx, systemActor } from "../../ctx.ts";
import { readRows } from "../../data/datasets/rows.ts";
import { SPLITS } from "../../data/validation/model.ts";
import { attempt, job } from "../../db/schema/jobs.ts";
import { AppError } from "../../errors.ts";
import { emitAll } from "../../lib/bus.ts";
import { baseModelDir } from "../../models/base/service.ts";
import { inspectRows } from "../../models/inspection/process.ts";
import type { AttemptRow, JobRow } from "../jobs/model.ts";
import { attemptFailed, jobIn, note } from "../jobs/transitions.ts";
import { newestEvent } from "../metrics/service.ts";

type ReportedSequence = { row_id: number; hash: string };

/** The first difference between a batch and the stored rows, as part of a sentence; null when all sequences match. */
async function findDifference(
  ctx: Ctx,
  row: JobRow,
  spec: TrainSpec,
  reported: ReportedSequence[],
): Promise<string | null> {
  const actor = systemActor(row.org);
  const ids = [...new Set(reported.map((one) => one.row_id))];
  const stored: { id: number }[] = [];
  for (const id of ids) {
    let found: { id: number } | undefined;
    // Without withheld rows in the spec, those of both splits are training rows.
    for (const split of spec.dataset.holdout_rows === 0 ? SPLITS : (["train"] as const)) {
      const page = await readRows(ctx, actor, spec.dataset.version_id, { split, after: id - 1, limit: 1 });
      found ??= page.rows.find((one) => one.id === id);
    }
    if (!found) return `the trainer uses a row ${id} that the dataset does not contain`;
    stored.push(found);
  }
  const seen = await inspectRows(ctx, {
    base: baseModelDir(ctx, spec.base_model.id),
    row_type: spec.dataset.row_type ?? "chat",
    loss_on: spec.method.type === "sft" ? spec.method.loss_on : "completion",
    max_length: spec.hyperparameters.max_length,
    chat_template: spec.data?.chat_template,
    special_tokens: spec.data?.special_tokens,
    reasoning: spec.data?.reasoning,
    rows: stored,
  });
  const hashes = new Map(seen.map((one) => [one.row_id, one.sequences.flatMap((sequence) => sequence.hashes)]));
  const wrong = reported.find((one) => !hashes.get(one.row_id)?.includes(one.hash));
  return wrong ? `the tokens of row ${wrong.row_id} are not those of the stored row` : null;
}

/** Checks the reported batch. The job continues when it matches, or when it cannot be compared here. */
export async function compareFirstBatch(ctx: Ctx, row: JobRow, which: AttemptRow): Promise<void> {
  if (row.spec.kind !== "train") return;
  const reported = ((await newestEvent(ctx, row.id, "first_batch"))?.data?.rows ?? []) as ReportedSequence[];
  let why: string | null = null;
  let wrong: string | null = null;
  try {
    wrong = await findDifference(ctx, row, row.spec, reported);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    why = error.message;
  }
  const messages = await ctx.write(async (tx) => {
    const now = await jobIn(tx, row.id);
    // The pipeline and the end of a short run may compare the same batch.
    if (now?.progress.first_batch?.state !== "told") return [];
    if (wrong) {
      const message = `The first batch does not match the dataset: ${wrong}.`;
      return attemptFailed(tx, ctx, now, which, { reason: "first_batch_differs", message, retry: false });
    }
    const rows = new Set(reported.map((one) => one.row_id)).size;
    const first_batch: Progress["first_batch"] = why ? { state: "not_compared", why } : { state: "same", rows };
    await tx
      .update(job)
      .set({ progress: { ...now.progress, first_batch } })
      .where(eq(job.id, row.id));
    const words = why
      ? `The first batch was not verified: ${why}`
      : `First batch verified: ${rows} of ${rows} rows match the dataset`;
    await note(tx, ctx, now, words);
    return [{ name: "job.progress" as const, event: { org: row.org, jobId: row.id } }];
  });
  emitAll(ctx.bus, messages);
}

/** Compares a batch that the pipeline did not reach: a run of a few seconds does not succeed without it. */
export async function compareBeforeEnd(ctx: Ctx, attemptId: string): Promise<void> {
  const [found] = await ctx.db
    .select()
    .from(attempt)
    .innerJoin(job, eq(job.id, attempt.jobId))
    .where(eq(attempt.id, attemptId))
    .limit(1);
  if (found?.job.progress.first_batch?.state === "told") await compareFirstBatch(ctx, found.job, found.attempt);
}
