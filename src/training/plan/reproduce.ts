/** Reproducing a run: the same frozen spec once more, and step by step whether it came out the same. */
import { sql } from "drizzle-orm";
import { trainerIdentity } from "../../compute/providers/registry.ts";
import type { TrainSpec } from "../../contract/spec.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { getVersion } from "../../data/datasets/versions.ts";
import { AppError } from "../../errors.ts";
import { randomChars } from "../../lib/ids.ts";
import { getBaseModel } from "../../models/base/service.ts";
import { artifactProblem, getArtifact } from "../../models/tuned/service.ts";
import type { JobRow } from "../jobs/model.ts";
import { createJob, getJob } from "../jobs/store.ts";

/** Steps compared; longer runs are compared up to here. */
const MAX_STEPS = 100_000;

const gone = (message: string, param: string) =>
  new AppError("conflict", "not_reproducible", `This run cannot be reproduced: ${message}`, { param });

/** Throws unless everything the spec names is still what it was. */
async function requireSame(ctx: Ctx, actor: Actor, spec: TrainSpec): Promise<void> {
  const base = await getBaseModel(ctx, spec.base_model.id);
  if (base?.status !== "ready" || base.hash !== spec.base_model.hash)
    throw gone(`the base model ${spec.base_model.id} was removed or replaced by another revision.`, "base_model");
  for (const data of [spec.dataset, ...(spec.validation ? [spec.validation] : [])]) {
    const version = await getVersion(ctx, actor, data.version_id).catch(() => null);
    if (version?.status !== "ready" || version.hash !== data.hash)
      throw gone("its data was deleted or is not what it was.", "dataset");
  }
  if (!spec.start) return;
  const start = await getArtifact(ctx, actor, spec.start.artifact_id).catch(() => null);
  if (!start || (await artifactProblem(ctx, start)))
    throw gone(`the tuned model it began from, ${spec.start.model}, is no longer there.`, "start");
}

/**
 * Starts the frozen spec of a training run again: same data, base, numbers and seed. Trainer and image are those of
 * now.
 * @throws AppError `not_a_training_job`, `not_reproducible`
 */
export async function reproduceJob(ctx: Ctx, actor: Actor, id: string): Promise<JobRow> {
  const row = await getJob(ctx, actor, id);
  if (row.spec.kind !== "train" || row.state === "validating")
    throw new AppError("invalid", "not_a_training_job", "Only training jobs whose data was checked can be reproduced.");
  await requireSame(ctx, actor, row.spec);
  const output = row.spec.output_model.replace(/[^:]*$/, randomChars(6));
  return createJob(ctx, actor, {
    kind: "train",
    name: `${row.name} again`.slice(0, 200),
    spec: { ...row.spec, output_model: output, trainer: await trainerIdentity(ctx), evaluate_after: false },
    request: row.request,
    metadata: { reproduces: row.id },
    parentId: row.id,
  });
}

export interface Reproduction {
  /** The run that is reproduced. */
  original: string;
  /** Steps both runs have reported. */
  steps: number;
  /** Whether every loss of these steps is the same number. */
  same: boolean;
  /** The first step where they differ, with both losses. */
  first_difference: { step: number; original: number | null; again: number | null } | null;
  /** What is known to differ between the runs, in words. */
  differences: string[];
}

/** How a run that reproduces another one compares with it; null for other runs. */
export async function reproductionOf(ctx: Ctx, actor: Actor, row: JobRow): Promise<Reproduction | null> {
  const original = row.metadata.reproduces;
  if (!original || row.spec.kind !== "train") return null;
  const before = await getJob(ctx, actor, original).catch(() => null);
  if (before?.spec.kind !== "train") return null;
  const both = await ctx.db.all<{ step: number; was: number | null; now: number | null }>(sql`
    select a.step as step, a.value as was, b.value as now
    from point a join series sa on sa.id = a.series_id and sa.job_id = ${before.id} and sa.key = 'train/loss'
    join series sb on sb.job_id = ${row.id} and sb.key = 'train/loss'
    join point b on b.series_id = sb.id and b.step = a.step
    order by a.step limit ${MAX_STEPS}`);
  const other = both.find((one) => one.was !== one.now);
  const [a, b] = [before.spec.trainer, row.spec.trainer];
  return {
    original: before.id,
    steps: both.length,
    same: both.length > 0 && !other,
    first_difference: other ? { step: other.step, original: other.was, again: other.now } : null,
    differences: [
      ...(a.version === b.version ? [] : [`another version of the trainer (${a.version}, now ${b.version})`]),
      ...(a.environment === b.environment ? [] : ["another set of packages"]),
      ...(a.image === b.image ? [] : ["another image"]),
    ],
  };
}
