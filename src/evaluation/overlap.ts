/** Compares the rows of an evaluation with the rows that its model was trained on. */
import { inArray } from "drizzle-orm";
import type { EvaluateSpec, TrainSpec } from "../contract/spec.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { overlapOf } from "../data/datasets/overlap.ts";
import { findVersion } from "../data/datasets/versions.ts";
import type { Overlap } from "../data/validation/rows/report.ts";
import { job } from "../db/schema/jobs.ts";
import type { EvaluationRow } from "./model.ts";

/** How long a page waits for the comparison, which continues in the background. */
const WAIT_MS = 1000;

/** The overlap, or null when it is not known: no training job, deleted data, or not compared yet. */
export async function overlapWithTraining(ctx: Ctx, actor: Actor, row: EvaluationRow): Promise<Overlap | null> {
  if (!row.trainJobId) return null;
  const jobs = await ctx.db
    .select({ id: job.id, spec: job.spec })
    .from(job)
    .where(inArray(job.id, [row.trainJobId, row.jobId]));
  const trained = jobs.find(({ id }) => id === row.trainJobId)?.spec as TrainSpec | undefined;
  const evaluated = jobs.find(({ id }) => id === row.jobId)?.spec as EvaluateSpec | undefined;
  if (!trained?.dataset || !evaluated?.dataset) return null;
  const ids = [trained.dataset.version_id, evaluated.dataset.version_id];
  const [data, other] = await Promise.all(ids.map((id) => findVersion(ctx, actor, id)));
  if (data?.status !== "ready" || other?.status !== "ready") return null;
  const same = data.id === other.id;
  // Rows of the same version that were trained on are not compared with themselves.
  if (same && evaluated.split === "validation") return null;
  const validation = same ? null : other;
  return overlapOf(ctx, { data, validation, splits: evaluated.split === "holdout" }, WAIT_MS);
}
