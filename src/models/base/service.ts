/**
 * Base models of this installation and the acceptance of their licenses.
 */
import { and, eq, or } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import type { BaseModelRef } from "../../contract/spec.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { baseModel, licenseAcceptance } from "../../db/schema/models.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { CATALOGUE, DEFAULT_BASE_MODEL, findCatalogue } from "./catalogue.ts";
import { type BaseModelRow, type BaseModelView, baseModelView, needsAcceptance } from "./model.ts";

export const MAX_LIST = 1000;

/** The catalogue and every other base model of this installation, as `actor`'s organization sees them. */
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

/** One base model as the API shows it, installed or only in the catalogue. @throws AppError `base_model_not_found` */
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

type Licensed = Pick<BaseModelRow, "id" | "source" | "license">;

/** Whether the organization may use a model: its license needs no acceptance, or somebody accepted it. */
export async function hasLicense(ctx: Ctx, actor: Actor, row: Licensed): Promise<boolean> {
  return !needsAcceptance(row) || (await acceptanceOf(ctx, actor.org, row.id)) !== null;
}

/** @throws AppError `licence_required` when nobody in the organization has accepted the license yet */
export async function requireLicense(ctx: Ctx, actor: Actor, row: Licensed): Promise<void> {
  if (await hasLicense(ctx, actor, row)) return;
  throw new AppError(
    "forbidden",
    "licence_required",
    `${row.id} is licensed under the ${row.license}. Someone in your organization has to accept it first: on the Models page, or with POST /v1/base_models/${row.id}/license.`,
    { param: "model" },
  );
}

/**
 * The ready base model with the id or hub name `name`.
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
  const problem =
    row?.status === "installing"
      ? "is being installed"
      : row?.status === "failed"
        ? "failed to install"
        : "is not installed";
  throw new AppError(
    "invalid",
    "model_not_installed",
    `${id} ${problem}. See the Models page, or POST /v1/base_models/${id}/install.`,
    { param: "model" },
  );
}

/** The reference to a base model in a frozen spec. The row must be ready. */
export function baseModelRef(row: BaseModelRow): BaseModelRef {
  const known = row.source === "tuned" ? null : findCatalogue(row.source === "package" ? DEFAULT_BASE_MODEL : row.id);
  // Only a download is known to be the files of a commit.
  const hub =
    row.source === "hub"
      ? { repo: row.sourceRef, revision: row.revision }
      : known && { repo: known.hub, revision: null };
  return {
    id: row.id,
    revision: row.revision,
    hash: row.hash ?? "",
    parameters: Number(row.architecture?.parameters ?? 0),
    context_length: Number(row.architecture?.context_length ?? 0),
    ...(hub ? { hub } : {}),
  };
}

/** Directory of a ready base model. */
export function baseModelDir(ctx: Ctx, id: string): string {
  return ctx.files.path("models", id);
}

/** Records that `actor` accepts the license of `name` for the organization; repeating it changes nothing. */
export async function acceptLicense(ctx: Ctx, actor: Actor, name: string): Promise<BaseModelView> {
  const { id, license } = await describeBaseModel(ctx, actor, name);
  if (actor.via === "system") throw new AppError("forbidden", "person_required", "Only a person can accept a license.");
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

/** `owned_by` of a base model in OpenAI's model object: its publisher. */
export function ownerOf(row: BaseModelRow): string {
  return findCatalogue(row.id)?.publisher ?? "local";
}
