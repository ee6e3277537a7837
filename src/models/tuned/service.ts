/** Checkpoints of runs, and the fine-tuned models created from them. */
import { and, desc, eq, isNull, lt, not, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { requireUsableModel } from "../../accounts/restrictions/service.ts";
import type { MethodName } from "../../contract/spec.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { artifact, baseModel, checkpoint, model } from "../../db/schema/models.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { listProblem, manifestHash } from "../../lib/disk/manifest.ts";
import { newId } from "../../lib/ids.ts";
import { localUnit } from "../../objects/local.ts";
import { requireOwner } from "../../roles.ts";
import type { BaseModelRow } from "../base/model.ts";
import { getBaseModel, MAX_LIST, ownerOf, requireLicense } from "../base/service.ts";
import { modelFilter, requireAllowedModel } from "./allowed.ts";
import { CHECKPOINT_SUFFIX, findTuned, ofDeletedModel, sharedWith, unknownModel } from "./lookup.ts";
import { type ArtifactRow, type CheckpointRow, type ModelRow, type ModelView, modelView } from "./model.ts";

/** Directory of the files of an artifact. */
export function artifactDir(ctx: Ctx, artifactId: string): string {
  return ctx.files.path("artifacts", artifactId);
}

/**
 * Stores a checkpoint whose artifact is complete, in the caller's transaction. When the same step is saved again after
 * a resume, it replaces the older one under the same id.
 * @param model id of the run's output model
 */
export async function addCheckpoint(
  tx: Db,
  values: {
    jobId: string;
    org: string;
    artifactId: string;
    step: number;
    metrics: Record<string, number | string>;
    model: string;
    at?: number;
  },
): Promise<CheckpointRow> {
  const { jobId, org, artifactId, step, metrics } = values;
  const name = `${values.model.replace(CHECKPOINT_SUFFIX, "")}:ckpt-step-${step}`;
  const createdAt = values.at ?? Date.now();
  const [row] = await tx
    .insert(checkpoint)
    .values({ id: newId("checkpoint"), org, jobId, artifactId, step, model: name, metrics, createdAt })
    .onConflictDoUpdate({ target: [checkpoint.jobId, checkpoint.step], set: { artifactId, metrics, createdAt } })
    .returning();
  if (!row) throw new Error("checkpoint not stored");
  return row;
}

/** Stores the model of a run that succeeded, in the caller's transaction. Emit `model.created` after the commit. */
export async function createModel(
  tx: Db,
  values: {
    id: string;
    org: string;
    name: string;
    baseModelId: string;
    jobId: string;
    checkpointId: string;
    createdBy: string;
    at?: number;
  },
): Promise<void> {
  const { at, ...row } = values;
  await tx
    .insert(model)
    .values({ ...row, createdAt: at ?? Date.now() })
    .onConflictDoUpdate({ target: model.id, set: { checkpointId: row.checkpointId, deletedAt: null } });
}

/**
 * Checkpoints of a run, newest step first; none once its model was deleted. `after` is the last id of the previous
 * page.
 */
export async function listCheckpoints(
  ctx: Ctx,
  jobId: string,
  page: { after?: string | null; limit: number },
): Promise<CheckpointRow[]> {
  const [from] = page.after
    ? await ctx.db
        .select({ step: checkpoint.step })
        .from(checkpoint)
        .where(and(eq(checkpoint.id, page.after), eq(checkpoint.jobId, jobId)))
    : [];
  if (page.after && !from) throw notFound("checkpoint", page.after);
  return ctx.db
    .select()
    .from(checkpoint)
    .where(and(eq(checkpoint.jobId, jobId), not(ofDeletedModel), from ? lt(checkpoint.step, from.step) : undefined))
    .orderBy(desc(checkpoint.step))
    .limit(page.limit);
}

/**
 * The newest intact checkpoint of a run. Manifest, sizes and hashes are checked on disk again. A damaged checkpoint is
 * marked and announced on the bus as `checkpoint.invalid`, and the previous one is tried.
 */
export async function newestCheckpoint(ctx: Ctx, jobId: string): Promise<CheckpointRow | null> {
  const rows = await ctx.db
    .select({ checkpoint, artifact })
    .from(checkpoint)
    .innerJoin(artifact, eq(artifact.id, checkpoint.artifactId))
    .where(and(eq(checkpoint.jobId, jobId), eq(artifact.status, "complete")))
    .orderBy(desc(checkpoint.step))
    .limit(100);
  for (const row of rows) {
    const reason = await artifactProblem(ctx, row.artifact);
    if (reason === null) return row.checkpoint;
    const { id: checkpointId, org, step } = row.checkpoint;
    ctx.log("warn", "checkpoint is damaged, the previous one is used", {
      job: jobId,
      checkpoint: checkpointId,
      reason,
    });
    await ctx.write((tx) => tx.update(artifact).set({ status: "invalid" }).where(eq(artifact.id, row.artifact.id)));
    ctx.bus.emit("checkpoint.invalid", { org, jobId, checkpointId, step, reason });
  }
  return null;
}

/**
 * Describes what is wrong with the files of a complete artifact; null when they are intact.
 * @throws AppError `object_store_unavailable`: then nothing is known
 */
export async function artifactProblem(ctx: Ctx, row: ArtifactRow): Promise<string | null> {
  if (manifestHash(row.files) !== row.manifestHash) return "the manifest does not match its hash";
  try {
    return await listProblem(await localUnit(ctx, { folder: "artifacts", id: row.id }), row.files);
  } catch (error) {
    if (error instanceof AppError && error.code === "bytes_missing") return error.message;
    throw error;
  }
}

/** A complete artifact of `actor`'s organization. @throws AppError `artifact_not_found` */
export async function getArtifact(ctx: Ctx, actor: Actor, id: string): Promise<ArtifactRow> {
  const [row] = await ctx.db
    .select()
    .from(artifact)
    .where(and(eq(artifact.id, id), eq(artifact.org, actor.org)))
    .limit(1);
  if (row?.status !== "complete") throw notFound("artifact", id);
  return row;
}

/**
 * The model behind a name. `adapter` is null for a base model; for a full fine-tuned model (`whole`) it names the files
 * of the full model.
 */
export interface ResolvedModel {
  /** The canonical id. */
  id: string;
  /** The organization that trained it; null for a base model. */
  org: string | null;
  base: BaseModelRow;
  adapter: { artifactId: string; name: string } | null;
  checkpointId: string | null;
  jobId: string | null;
  createdAt: number;
  /** Training method of the fine-tuned side. */
  method: MethodName | null;
  whole: boolean;
}

/**
 * Finds the model that `actor` calls `name`: a base model, a fine-tuned model `ft:…`, or a checkpoint
 * `ft:…:ckpt-step-N`.
 * @param shared also finds what other organizations share: to ask it, not to export or train it
 * @throws AppError `model_not_found` (404), `model_not_allowed` (403) for the key of a request, `licence_required`
 */
export async function resolveModel(ctx: Ctx, actor: Actor, name: string, shared = false): Promise<ResolvedModel> {
  const tuned = await findTuned(ctx, actor.org, name, shared);
  const row = await getBaseModel(ctx, tuned?.baseModelId ?? name);
  if (row?.status !== "ready") throw unknownModel(name);
  await requireAllowedModel(ctx, actor, tuned?.id ?? row.id);
  await requireLicense(ctx, actor, row);
  if (!tuned) return { ...NO_ADAPTER, id: row.id, base: row, createdAt: row.createdAt };
  const { artifactId, baseModelId: _, ...rest } = tuned;
  return { ...rest, base: row, adapter: { artifactId, name: tuned.id } };
}

const NO_ADAPTER = { org: null, adapter: null, checkpointId: null, jobId: null, method: null, whole: false };

/**
 * The same for a model that is used outside this installation, trained further or copied.
 * @throws AppError `restricted`, `model_checking`
 */
export async function resolveUsableModel(ctx: Ctx, actor: Actor, name: string): Promise<ResolvedModel> {
  const resolved = await resolveModel(ctx, actor, name);
  await requireUsableModel(ctx, actor, resolved.id);
  return resolved;
}

/**
 * The same for models to chat with, shared ones too.
 * @throws AppError `not_a_chat_model` for reward models, `restricted`, `model_checking`
 */
export async function resolveChatModel(ctx: Ctx, actor: Actor, name: string): Promise<ResolvedModel> {
  const resolved = await resolveModel(ctx, actor, name, true);
  await requireUsableModel(ctx, actor, resolved.id);
  if (resolved.method === "reward")
    throw new AppError(
      "invalid",
      "not_a_chat_model",
      `${resolved.id.slice(0, 200)} is a reward model: it scores answers and cannot chat.`,
      { param: "model" },
    );
  return resolved;
}

/** The row of a fine-tuned model. @throws AppError `model_not_found` */
async function getModel(ctx: Ctx, actor: Actor, id: string): Promise<ModelRow> {
  const [row] = await ctx.db
    .select()
    .from(model)
    .where(and(eq(model.id, id), eq(model.org, actor.org), isNull(model.deletedAt)))
    .limit(1);
  if (!row) throw unknownModel(id);
  return row;
}

/**
 * Every model that `actor` may chat with, and that their key may use, in OpenAI's form: ready base models, then
 * fine-tuned ones and those that other organizations share, newest first (at most 1,000 each).
 */
export async function listModels(ctx: Ctx, actor: Actor): Promise<ModelView[]> {
  const bases = await ctx.db
    .select()
    .from(baseModel)
    .where(eq(baseModel.status, "ready"))
    .orderBy(baseModel.createdAt)
    .limit(MAX_LIST);
  const tuned = await ctx.db
    .select()
    .from(model)
    .where(and(eq(model.org, actor.org), isNull(model.deletedAt)))
    .orderBy(desc(model.createdAt), desc(model.id))
    .limit(MAX_LIST);
  const shared = await ctx.db
    .select({ id: sql<string>`coalesce(${model.id}, ${checkpoint.model})`, row: checkpoint })
    .from(checkpoint)
    .leftJoin(model, eq(model.checkpointId, checkpoint.id))
    .where(and(sharedWith(actor.org), not(ofDeletedModel)))
    .orderBy(desc(checkpoint.createdAt), desc(checkpoint.id))
    .limit(MAX_LIST);
  const allowed = await modelFilter(ctx, actor);
  return [
    ...bases.map((row) => modelView(row.id, row.createdAt, ownerOf(row))),
    ...tuned.map((row) => modelView(row.id, row.createdAt, row.org)),
    ...shared.map(({ id, row }) => modelView(id, row.createdAt, row.org)),
  ].filter(({ id }) => allowed(id));
}

/** One model or checkpoint in OpenAI's form. */
export async function retrieveModel(ctx: Ctx, actor: Actor, name: string): Promise<ModelView> {
  const found = await resolveModel(ctx, actor, name, true);
  return modelView(found.id, found.createdAt, found.org ?? ownerOf(found.base));
}

/**
 * Deletes a fine-tuned model; its run stays. The run's checkpoints are neither listed nor served any more; their files
 * stay until the run is cleared. @throws AppError `model_not_deletable` for other models
 */
export async function deleteModel(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  if (!id.startsWith("ft:") || CHECKPOINT_SUFFIX.test(id)) {
    await resolveModel(ctx, actor, id);
    throw new AppError(
      "invalid",
      "model_not_deletable",
      "Only fine-tuned models can be deleted, not base models or single checkpoints.",
      { param: "model" },
    );
  }
  const row = await getModel(ctx, actor, id);
  requireOwner(actor, row.createdBy);
  await ctx.write(async (tx) => {
    await tx.update(model).set({ deletedAt: ctx.clock.now() }).where(eq(model.id, row.id));
    await audit(tx, ctx, actor, "model.delete", row.id);
  });
  ctx.bus.emit("model.deleted", { org: row.org, modelId: row.id });
}
