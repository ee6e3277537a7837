/** Looks up fine-tuned models and checkpoints by the name that a client sends. */
import { and, type Column, desc, eq, isNull, not, or, type SQL, sql } from "drizzle-orm";
import { refuseRemoved } from "../../accounts/restrictions/service.ts";
import type { MethodName } from "../../contract/spec.ts";
import type { Ctx } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";
import { artifact, checkpoint, checkpointPermission, model } from "../../db/schema/models.ts";
import { AppError } from "../../errors.ts";

/** The end of a checkpoint's name. */
export const CHECKPOINT_SUFFIX = /:ckpt-step-\d+$/;

/** The 404 for a model that does not exist or that the caller may not see. */
export function unknownModel(name: string): AppError {
  return new AppError(
    "not_found",
    "model_not_found",
    `The model "${name.slice(0, 200)}" does not exist or is not yours. GET /v1/models lists what you can use.`,
    { param: "model" },
  );
}

/** The newest merged export of a fine-tuned model; null when there is none, or its files were deleted. */
export async function mergedArtifact(ctx: Ctx, org: string, model: string): Promise<string | null> {
  const [row] = await ctx.db
    .select({ id: artifact.id })
    .from(artifact)
    .innerJoin(job, eq(job.id, artifact.jobId))
    .where(
      and(
        eq(job.org, org),
        eq(job.kind, "export"),
        sql`json_extract(${job.spec}, '$.tuned.model') = ${model}`,
        eq(artifact.kind, "merged"),
        eq(artifact.status, "complete"),
      ),
    )
    .orderBy(desc(artifact.createdAt))
    .limit(1);
  return row?.id ?? null;
}

/** True for a checkpoint of a run whose model was deleted: it is neither listed nor served any more. */
export const ofDeletedModel = sql`exists (select 1 from ${model} where ${model.jobId} = ${checkpoint.jobId} and ${model.deletedAt} is not null)`;

/** True for a checkpoint that its owner shares with `org`. */
export const sharedWith = (org: string): SQL =>
  sql`exists (select 1 from ${checkpointPermission} where ${checkpointPermission.checkpointId} = ${checkpoint.id} and ${checkpointPermission.org} = ${org})`;

/** The error for a model that is not there, or was removed. */
async function missing(ctx: Ctx, org: string, name: string): Promise<AppError> {
  await refuseRemoved(ctx, { org }, name.replace(CHECKPOINT_SUFFIX, ""));
  return unknownModel(name);
}

interface Tuned {
  id: string;
  /** The organization that trained it. */
  org: string;
  artifactId: string;
  checkpointId: string;
  jobId: string;
  createdAt: number;
  baseModelId: string;
  /** Training method; null when its job no longer exists. */
  method: MethodName | null;
  /** Its files are a full model, not an adapter for its base. */
  whole: boolean;
}

const whole = sql`json_extract(${job.spec}, '$.method.adapter.type') is 'full'`.mapWith(Boolean);
const method = sql<MethodName | null>`json_extract(${job.spec}, '$.method.type')`;

/**
 * The fine-tuned model or checkpoint called `name` in `org`; null when the name does not start with `ft:`.
 * @param shared also finds those that other organizations share with `org`
 * @throws AppError `model_not_found`, `removed` (410) for one that a reviewer removed
 */
export async function findTuned(ctx: Ctx, org: string, name: string, shared = false): Promise<Tuned | null> {
  if (!name.startsWith("ft:")) return null;
  const visible = (owner: Column) => (shared ? or(eq(owner, org), sharedWith(org)) : eq(owner, org));
  if (CHECKPOINT_SUFFIX.test(name)) {
    const [row] = await ctx.db
      .select({
        id: checkpoint.model,
        org: checkpoint.org,
        artifactId: checkpoint.artifactId,
        checkpointId: checkpoint.id,
        jobId: checkpoint.jobId,
        createdAt: checkpoint.createdAt,
        baseModelId: sql<string>`json_extract(${job.spec}, '$.base_model.id')`,
        method,
        whole,
      })
      .from(checkpoint)
      .innerJoin(job, eq(job.id, checkpoint.jobId))
      .innerJoin(artifact, and(eq(artifact.id, checkpoint.artifactId), eq(artifact.status, "complete")))
      .where(and(eq(checkpoint.model, name), visible(checkpoint.org), not(ofDeletedModel)))
      .limit(1);
    if (!row) throw await missing(ctx, org, name);
    return row;
  }
  const [row] = await ctx.db
    .select({
      id: model.id,
      org: model.org,
      artifactId: checkpoint.artifactId,
      checkpointId: checkpoint.id,
      jobId: model.jobId,
      createdAt: model.createdAt,
      baseModelId: model.baseModelId,
      method,
      whole,
    })
    .from(model)
    .innerJoin(checkpoint, eq(checkpoint.id, model.checkpointId))
    .leftJoin(job, eq(job.id, model.jobId))
    .where(and(eq(model.id, name), visible(model.org), isNull(model.deletedAt)))
    .limit(1);
  if (!row) throw await missing(ctx, org, name);
  return row;
}

/** What people call a model: the name of its training job, with the step of a checkpoint; otherwise its id. */
export async function titleOf(ctx: Ctx, id: string): Promise<string> {
  if (CHECKPOINT_SUFFIX.test(id)) {
    const [row] = await ctx.db
      .select({ name: job.name, step: checkpoint.step })
      .from(checkpoint)
      .innerJoin(job, eq(job.id, checkpoint.jobId))
      .where(eq(checkpoint.model, id))
      .limit(1);
    return row ? `${row.name}, step ${row.step}` : id;
  }
  const [row] = await ctx.db
    .select({ name: job.name })
    .from(model)
    .innerJoin(job, eq(job.id, model.jobId))
    .where(eq(model.id, id))
    .limit(1);
  return row?.name ?? id;
}

/** Those of the given fine-tuned models and checkpoints that no longer exist. Base models are never among them. */
export async function deletedAmong(ctx: Ctx, org: string, names: readonly string[]): Promise<string[]> {
  const gone: string[] = [];
  for (const name of new Set(names)) {
    try {
      await findTuned(ctx, org, name);
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== "model_not_found") throw error;
      gone.push(name);
    }
  }
  return gone;
}
