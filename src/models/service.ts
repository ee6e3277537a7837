/** Base models and their licences, checkpoints of runs, and the tuned models made of them: what everything else asks about a model. */
import { and, desc, eq, isNull, lt, or } from "drizzle-orm";
import { audit } from "../accounts/audit/service.ts";
import type { BaseModelRef, MethodName } from "../contract/spec.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { artifact, baseModel, checkpoint, licenseAcceptance, model } from "../db/schema/models.ts";
import type { Db } from "../db/types.ts";
import { AppError, notFound } from "../errors.ts";
import { newId } from "../lib/ids.ts";
import { listProblem, manifestHash } from "../lib/manifest.ts";
import { CATALOGUE, findCatalogue } from "./base/catalogue.ts";
import {
  type ArtifactRow,
  type BaseModelRow,
  type BaseModelView,
  baseModelView,
  type CheckpointRow,
  type ModelRow,
  type ModelView,
  modelView,
  needsAcceptance,
} from "./model.ts";
import { CHECKPOINT_SUFFIX, findTuned, unknownModel } from "./tuned/lookup.ts";

export { inspectRows } from "./inspection/process.ts";

const MAX_LIST = 1000;

/** The catalogue and every other model of this installation, as `actor`'s organisation sees them. */
export async function listCatalogue(ctx: Ctx, actor: Actor): Promise<BaseModelView[]> {
  const rows = await ctx.db.select().from(baseModel).orderBy(baseModel.createdAt).limit(MAX_LIST);
  const accepted = await ctx.db
    .select()
    .from(licenseAcceptance)
    .where(eq(licenseAcceptance.org, actor.org))
    .limit(MAX_LIST);
  const rowOf = new Map(rows.map((row) => [row.id, row]));
  const acceptanceOf = new Map(accepted.map((row) => [row.baseModelId, row]));
  const known = CATALOGUE.map((entry) =>
    baseModelView(entry, rowOf.get(entry.id) ?? null, acceptanceOf.get(entry.id) ?? null, actor),
  );
  const others = rows
    .filter((row) => !findCatalogue(row.id))
    .map((row) => baseModelView(null, row, acceptanceOf.get(row.id) ?? null, actor));
  return [...known, ...others];
}

/** One base model as the API shows it, installed or only listed. */
export async function describeBaseModel(ctx: Ctx, actor: Actor, name: string): Promise<BaseModelView> {
  const entry = findCatalogue(name);
  const row = await getBaseModel(ctx, name);
  if (!entry && !row) throw notFound("base_model", name);
  return baseModelView(entry, row, await acceptanceOf(ctx, actor.org, row?.id ?? entry?.id ?? name), actor);
}

/** The row of an installed or installing base model, by id or hub name; null when there is none. */
export async function getBaseModel(ctx: Ctx, name: string): Promise<BaseModelRow | null> {
  const id = findCatalogue(name)?.id ?? name;
  const [row] = await ctx.db
    .select()
    .from(baseModel)
    .where(or(eq(baseModel.id, id), and(eq(baseModel.source, "hub"), eq(baseModel.sourceRef, name))))
    .limit(1);
  return row ?? null;
}

async function acceptanceOf(ctx: Ctx, org: string, id: string) {
  const [row] = await ctx.db
    .select()
    .from(licenseAcceptance)
    .where(and(eq(licenseAcceptance.org, org), eq(licenseAcceptance.baseModelId, id)))
    .limit(1);
  return row ?? null;
}

/** @throws AppError `licence_required` when nobody of the organisation has accepted the licence yet */
export async function requireLicense(ctx: Ctx, actor: Actor, row: Pick<BaseModelRow, "id" | "source" | "license">) {
  if (!needsAcceptance(row) || (await acceptanceOf(ctx, actor.org, row.id))) return;
  throw new AppError(
    "forbidden",
    "licence_required",
    `${row.id} comes under the ${row.license}. Someone of your organisation has to accept it first: on the Models page, or POST /v1/base_models/${row.id}/license.`,
    { param: "model" },
  );
}

/**
 * The base model that `name` (id or hub name) stands for, ready for use.
 * @throws AppError `model_not_found`, `model_not_installed` (param `model`) or `licence_required`
 */
export async function requireReadyBase(ctx: Ctx, actor: Actor, name: string): Promise<BaseModelRow> {
  const row = await getBaseModel(ctx, name);
  const entry = findCatalogue(name);
  if (row?.status === "ready") {
    await requireLicense(ctx, actor, row);
    return row;
  }
  if (!row && !entry) {
    const ready = await ctx.db
      .select({ id: baseModel.id })
      .from(baseModel)
      .where(eq(baseModel.status, "ready"))
      .limit(20);
    const list = ready.map((one) => one.id).join(", ") || "none yet; install one on the Models page";
    throw new AppError(
      "invalid",
      "model_not_found",
      `There is no base model "${name.slice(0, 200)}". Ready for use: ${list}.`,
      { param: "model" },
    );
  }
  const id = row?.id ?? entry?.id ?? name;
  const now =
    row?.status === "installing"
      ? "is being installed"
      : row?.status === "failed"
        ? "failed to install"
        : "is not installed";
  throw new AppError(
    "invalid",
    "model_not_installed",
    `${id} ${now}. See the Models page, or POST /v1/base_models/${id}/install.`,
    { param: "model" },
  );
}

/** The base model as a frozen spec names it. The row must be ready. */
export function baseModelRef(row: BaseModelRow): BaseModelRef {
  return {
    id: row.id,
    revision: row.revision,
    hash: row.hash ?? "",
    parameters: Number(row.architecture?.parameters ?? 0),
    context_length: Number(row.architecture?.context_length ?? 0),
  };
}

/** Directory of a ready base model. */
export function baseModelDir(ctx: Ctx, id: string): string {
  return ctx.files.path("models", id);
}

/** Directory of an artifact's files. */
export function artifactDir(ctx: Ctx, artifactId: string): string {
  return ctx.files.path("artifacts", artifactId);
}

/** Records that `actor` accepts the licence of `name` for the organisation; repeating it changes nothing. */
export async function acceptLicense(ctx: Ctx, actor: Actor, name: string): Promise<BaseModelView> {
  const { id, license } = await describeBaseModel(ctx, actor, name);
  if (actor.via === "system") throw new AppError("forbidden", "person_required", "A licence is accepted by a person.");
  await ctx.write(async (tx) => {
    const row = {
      id: newId("audit"),
      org: actor.org,
      baseModelId: id,
      license: license.name,
      userId: actor.userId,
      at: ctx.clock.now(),
    };
    const inserted = await tx
      .insert(licenseAcceptance)
      .values(row)
      .onConflictDoNothing()
      .returning({ id: licenseAcceptance.id });
    if (inserted.length > 0) await audit(tx, ctx, actor, "base_model.accept_license", id, { license: license.name });
  });
  ctx.bus.emit("base_model.changed", { modelId: id });
  return describeBaseModel(ctx, actor, id);
}

/**
 * Stores a checkpoint whose artifact is complete, in the caller's transaction. The same step saved again after a resume
 * takes the older one's place under the same id.
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

/** Stores the tuned model of a run that succeeded, in the caller's transaction. Emit `model.created` after commit. */
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

/** Checkpoints of a run, newest step first. `after` is the id of the last one seen. */
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
    .where(and(eq(checkpoint.jobId, jobId), from ? lt(checkpoint.step, from.step) : undefined))
    .orderBy(desc(checkpoint.step))
    .limit(page.limit);
}

/**
 * The newest checkpoint of a run that is whole: manifest, sizes and hashes are checked on disk again. One that is not
 * is marked, told on the bus as `checkpoint.invalid`, and the one before it is tried.
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
    ctx.log("warn", "checkpoint is damaged, the one before it is used", {
      job: jobId,
      checkpoint: checkpointId,
      reason,
    });
    await ctx.write((tx) => tx.update(artifact).set({ status: "invalid" }).where(eq(artifact.id, row.artifact.id)));
    ctx.bus.emit("checkpoint.invalid", { org, jobId, checkpointId, step, reason });
  }
  return null;
}

/** What is wrong with a complete artifact on disk, in words; null when it is whole. */
export async function artifactProblem(ctx: Ctx, row: ArtifactRow): Promise<string | null> {
  if (manifestHash(row.files) !== row.manifestHash) return "the manifest does not fit its hash";
  return listProblem(artifactDir(ctx, row.id), row.files);
}

/** An artifact of `actor`'s organisation. */
export async function getArtifact(ctx: Ctx, actor: Actor, id: string): Promise<ArtifactRow> {
  const [row] = await ctx.db
    .select()
    .from(artifact)
    .where(and(eq(artifact.id, id), eq(artifact.org, actor.org)))
    .limit(1);
  if (row?.status !== "complete") throw notFound("artifact", id);
  return row;
}

/** What a model name stands for. `adapter` is null for a base model; of one that is `whole` it names the files of all weights. */
export interface ResolvedModel {
  /** The canonical id. */
  id: string;
  base: BaseModelRow;
  adapter: { artifactId: string; name: string } | null;
  checkpointId: string | null;
  jobId: string | null;
  createdAt: number;
  /** How the tuned side was trained. */
  method: MethodName | null;
  whole: boolean;
}

/**
 * Finds what `name` means to `actor`: a base model, a tuned model `ft:…`, or a checkpoint `ft:…:ckpt-step-N`.
 * @throws AppError `model_not_found` (404), `licence_required`
 */
export async function resolveModel(ctx: Ctx, actor: Actor, name: string): Promise<ResolvedModel> {
  const tuned = await findTuned(ctx, actor.org, name);
  const row = await getBaseModel(ctx, tuned?.baseModelId ?? name);
  if (row?.status !== "ready") throw unknownModel(name);
  await requireLicense(ctx, actor, row);
  if (!tuned) return { ...NO_ADAPTER, id: row.id, base: row, createdAt: row.createdAt };
  const { artifactId, baseModelId: _, ...rest } = tuned;
  return { ...rest, base: row, adapter: { artifactId, name: tuned.id } };
}
const NO_ADAPTER = { adapter: null, checkpointId: null, jobId: null, method: null, whole: false };

/** The same for models that are to answer. @throws AppError `not_a_chat_model` for reward models too */
export async function resolveChatModel(ctx: Ctx, actor: Actor, name: string): Promise<ResolvedModel> {
  const resolved = await resolveModel(ctx, actor, name);
  if (resolved.method === "reward")
    throw new AppError(
      "invalid",
      "not_a_chat_model",
      `${resolved.id.slice(0, 200)} is a reward model: it scores answers and cannot give any.`,
      { param: "model" },
    );
  return resolved;
}

/** A tuned model's row. */
export async function getModel(ctx: Ctx, actor: Actor, id: string): Promise<ModelRow> {
  const [row] = await ctx.db
    .select()
    .from(model)
    .where(and(eq(model.id, id), eq(model.org, actor.org), isNull(model.deletedAt)))
    .limit(1);
  if (!row) throw unknownModel(id);
  return row;
}

/** Every model `actor` may chat with, in OpenAI's form: ready base models, then tuned ones, newest first (at most 1,000). */
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
  return [
    ...bases.map((row) => modelView(row.id, row.createdAt, ownerOf(row))),
    ...tuned.map((row) => modelView(row.id, row.createdAt, row.org)),
  ];
}

function ownerOf(row: BaseModelRow): string {
  return findCatalogue(row.id)?.publisher ?? "local";
}

/** One model in OpenAI's form; checkpoints are found too. */
export async function retrieveModel(ctx: Ctx, actor: Actor, name: string): Promise<ModelView> {
  const found = await resolveModel(ctx, actor, name);
  return modelView(found.id, found.createdAt, found.adapter ? actor.org : ownerOf(found.base));
}

/** Takes a tuned model out of use; its run and checkpoints stay. Base models are not deleted this way. */
export async function deleteModel(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  if (!id.startsWith("ft:") || CHECKPOINT_SUFFIX.test(id)) {
    await resolveModel(ctx, actor, id);
    throw new AppError(
      "invalid",
      "model_not_deletable",
      "Only tuned models can be deleted, neither base models nor single checkpoints.",
      { param: "model" },
    );
  }
  const row = await getModel(ctx, actor, id);
  await ctx.write(async (tx) => {
    await tx.update(model).set({ deletedAt: ctx.clock.now() }).where(eq(model.id, row.id));
    await audit(tx, ctx, actor, "model.delete", row.id);
  });
  ctx.bus.emit("model.deleted", { org: row.org, modelId: row.id });
}
