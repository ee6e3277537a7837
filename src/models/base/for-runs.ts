/**
 * Base models for runs: a model of the catalog may be used before it is installed; the job of the run installs it.
 */
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { type CatalogueEntry, findCatalogue, PACKAGE } from "./catalogue.ts";
import { installBaseModel, sourceOf } from "./imports.ts";
import { INTERRUPTED } from "./install.ts";
import { type BaseModelRow, type BaseModelView, catalogueArchitecture, parseProgress, publicError } from "./model.ts";
import { getBaseModel, hasLicense, requireReadyBase } from "./service.ts";

/** Weights of the catalog's models are published in 16 bits. */
const HUB_BYTES = 2;

/** A base model for a run. */
interface BaseForRun {
  /** The installed model; or, for one that is not, what the catalog knows of it, with an empty hash. */
  row: BaseModelRow;
  /** Why the run has to wait for it, as a sentence for users; null when it is ready. */
  waits: string | null;
}

const refused = (message: string, cause?: unknown) =>
  new AppError("invalid", "model_not_installed", message, { param: "model", cause });

/**
 * Why `actor` cannot install a model of the catalog, as a sentence; null when it can be installed.
 * @param licensed whether the organization accepted the license, or needs not
 */
function installRefusal(ctx: Ctx, actor: Actor, { id, license }: CatalogueEntry, licensed: boolean): string | null {
  if (!licensed)
    return `${id} is not installed, and is licensed under the ${license}. Someone in your organization has to accept the license first, and then install the model: on the Models page, or with POST /v1/base_models/${id}/license and POST /v1/base_models/${id}/install.`;
  if (sourceOf(ctx, { id }).kind !== "hub") return null;
  if (ctx.config.hub_url === "")
    return `${id} is not installed, and this installation does not use a hub (hub_url is empty). Import the model from a local directory on the Models page, or set prepared_models to a directory that has ${id}.`;
  if (actor.role !== "admin")
    return `${id} is not installed, and only administrators download models from the hub. Ask one to install it on the Models page.`;
  return null;
}

/** Throws when `actor` may not install a model, or no source of this installation has it. */
async function requireInstallable(ctx: Ctx, actor: Actor, entry: CatalogueEntry): Promise<void> {
  const { id, license } = entry;
  const licensed = !entry.acceptance || (await hasLicense(ctx, actor, { id, source: "hub", license }));
  const reason = installRefusal(ctx, actor, entry, licensed);
  if (reason) throw refused(reason);
}

/** What an install of a base model takes. */
interface Installation {
  /** What it downloads, in bytes: of a hub's model about two bytes a parameter; null when it downloads nothing. */
  download_bytes: number | null;
  /** Why it cannot be installed; null when it can, or is installed. */
  install_refused: string | null;
}

/** What an install takes of a model that is not installed. */
export function installationOf(ctx: Ctx, actor: Actor, model: BaseModelView): Installation {
  const entry = findCatalogue(model.id);
  if (!entry || model.status === "ready") return { download_bytes: null, install_refused: null };
  const { kind } = sourceOf(ctx, entry);
  const bytes = { package: PACKAGE.bytes, hub: entry.parameters * HUB_BYTES, prepared: null }[kind];
  return { download_bytes: bytes, install_refused: installRefusal(ctx, actor, entry, model.license.accepted) };
}

/** A model of the catalog as a row, before it is installed. */
function notInstalled(entry: CatalogueEntry): BaseModelRow {
  const { id, name, hub, license } = entry;
  const empty = { progress: null, error: null, hash: null, files: null, staysLocal: false, createdAt: 0 };
  const source = { source: "hub", sourceRef: hub, revision: "main" } as const;
  const architecture = catalogueArchitecture(entry);
  return { id, name, license, ...source, status: "installing", ...empty, architecture, installedBy: "system" };
}

/** `Installing base model qwen3-8b: Downloading model.safetensors … 43%` */
function progressText(id: string, row: Pick<BaseModelRow, "progress"> | null): string {
  const progress = parseProgress(row?.progress ?? null);
  const step = progress ? `: ${progress.message.split(":")[0]}` : "";
  const percent = progress?.fraction == null ? "" : ` … ${Math.floor(progress.fraction * 100)}%`;
  return `Installing base model ${id}${step}${percent}`;
}

/**
 * The base model of a run: ready, or one of the catalog that `actor` may install.
 * @throws AppError with param `model`: `model_not_found`, `model_not_installed`, `licence_required`
 */
export async function baseForRun(ctx: Ctx, actor: Actor, name: string): Promise<BaseForRun> {
  const row = await getBaseModel(ctx, name);
  const entry = findCatalogue(name);
  if (row?.status === "ready" || !entry) return { row: await requireReadyBase(ctx, actor, name), waits: null };
  await requireInstallable(ctx, actor, entry);
  const { id } = entry;
  const error = publicError(row?.error ?? null);
  const waits =
    row?.status === "installing"
      ? `${progressText(id, row)}. The job starts afterwards.`
      : row?.status === "failed"
        ? `The last installation of ${id} failed: ${error} The job tries again.`
        : `${id} is not installed yet: the job installs it first.`;
  return { row: notInstalled(entry), waits };
}

/**
 * Starts the install of a catalog model for a run, unless it is ready or being installed.
 * @returns the progress, for users
 * @throws AppError `model_not_installed` with the reason
 */
export async function installForRun(ctx: Ctx, actor: Actor, id: string): Promise<string> {
  try {
    await installBaseModel(ctx, actor, id);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    throw refused(`The base model ${id} could not be installed: ${error.message}`, error);
  }
  return progressText(id, null);
}

/**
 * How far the install is that a stored job waits for, for users; null when its model is ready. Starts an install again
 * that a stop of the server interrupted.
 * @throws AppError `model_not_installed` when the install failed
 */
export async function installProgress(ctx: Ctx, actor: Actor, name: string): Promise<string | null> {
  const entry = findCatalogue(name);
  const row = entry && (await getBaseModel(ctx, entry.id));
  if (!entry || row?.status === "ready") return null;
  if (row?.status === "installing") return progressText(entry.id, row);
  if (row?.error && row.error !== INTERRUPTED)
    throw refused(`The base model ${entry.id} could not be installed: ${publicError(row.error)}`);
  return installForRun(ctx, actor, entry.id);
}
