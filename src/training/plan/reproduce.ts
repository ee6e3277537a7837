/**
 * Starts the frozen spec of a run again: from the beginning, to compare the losses step by step, or from its newest
 * checkpoint.
 */
import { sql } from "drizzle-orm";
import { trainerIdentity } from "../../compute/providers/registry.ts";
import type { TrainSpec } from "../../contract/spec.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { getVersion } from "../../data/datasets/versions.ts";
import { AppError } from "../../errors.ts";
import { randomChars } from "../../lib/ids.ts";
import { getBaseModel } from "../../models/base/service.ts";
import { artifactProblem, getArtifact, newestCheckpoint } from "../../models/tuned/service.ts";
import type { JobRow } from "../jobs/model.ts";
import { createJob, getJob } from "../jobs/store.ts";

/** Longer runs are compared up to this step. */
const MAX_STEPS = 100_000;

const notReproducible = (message: string, param: string) =>
  new AppError("conflict", "not_reproducible", `This run cannot be reproduced: ${message}`, { param });

/** Throws unless the base model, data and start of the spec are unchanged. */
async function requireSame(ctx: Ctx, actor: Actor, spec: TrainSpec): Promise<void> {
  const base = await getBaseModel(ctx, spec.base_model.id);
  if (base?.status !== "ready" || base.hash !== spec.base_model.hash)
    throw notReproducible(
      `the base model ${spec.base_model.id} was removed or replaced by another revision.`,
      "base_model",
    );
  for (const data of [spec.dataset, ...(spec.validation ? [spec.validation] : [])]) {
    const version = await getVersion(ctx, actor, data.version_id).catch(() => null);
    if (version?.status !== "ready" || version.hash !== data.hash)
      throw notReproducible("its data was deleted or has changed.", "dataset");
  }
  if (!spec.start) return;
  const start = await getArtifact(ctx, actor, spec.start.artifact_id).catch(() => null);
  if (!start || (await artifactProblem(ctx, start)))
    throw notReproducible(`the fine-tuned model it continues from, ${spec.start.model}, was deleted.`, "start");
}

/**
 * Starts the frozen spec of a training run again: same data, base model, hyperparameters and seed, with the current
 * trainer and image.
 * @throws AppError `not_a_training_job`, `not_reproducible`
 */
export async function reproduceJob(ctx: Ctx, actor: Actor, id: string): Promise<JobRow> {
  const row = await getJob(ctx, actor, id);
  if (row.spec.kind !== "train" || row.state === "validating")
    throw new AppError("invalid", "not_a_training_job", "Only training jobs with validated data can be reproduced.");
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

/**
 * Continues a failed or canceled training run from its newest checkpoint, as a new job with the same frozen spec.
 * @throws AppError `not_a_training_job`, `job_not_ended`, `no_checkpoint`, `not_reproducible`
 */
export async function continueJob(ctx: Ctx, actor: Actor, id: string): Promise<JobRow> {
  const row = await getJob(ctx, actor, id);
  if (row.spec.kind !== "train")
    throw new AppError("invalid", "not_a_training_job", "Only training jobs can be continued.");
  if (row.state !== "failed" && row.state !== "cancelled")
    throw new AppError(
      "conflict",
      "job_not_ended",
      `Job ${id} is ${row.state}. Only failed and canceled jobs can be continued; a paused one can be resumed.`,
    );
  const found = await newestCheckpoint(ctx, row.id);
  if (!found)
    throw new AppError("invalid", "no_checkpoint", "This job has no intact checkpoint. Run it again instead.");
  await requireSame(ctx, actor, row.spec);
  const output = row.spec.output_model.replace(/[^:]*$/, randomChars(6));
  return createJob(ctx, actor, {
    kind: "train",
    name: `${row.name} from step ${found.step}`.slice(0, 200),
    spec: { ...row.spec, output_model: output, trainer: await trainerIdentity(ctx) },
    request: row.request,
    metadata: { continues: row.id },
    parentId: row.id,
  });
}

export interface Reproduction {
  /** Id of the original run. */
  original: string;
  /** Steps that both runs have reported. */
  steps: number;
  /** Whether the loss is identical at each of these steps. */
  same: boolean;
  /** The first step with different losses. */
  first_difference: { step: number; original: number | null; again: number | null } | null;
  /** Known differences between the runs, for users. */
  differences: string[];
}

/** The comparison of a reproduction with its original; null for other runs. */
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
      ...(a.version === b.version ? [] : [`different trainer version (${a.version}, now ${b.version})`]),
      ...(a.environment === b.environment ? [] : ["different trainer packages"]),
      ...(a.image === b.image ? [] : ["different trainer image"]),
    ],
  };
}
