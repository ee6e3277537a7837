/**
 * Base models for runs: a model of the catalog may be used before it is installed; the job of the run installs it.
 */
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { type CatalogueEntry, findCatalogue } from "./catalogue.ts";
import { installBaseModel, sourceOf } from "./imports.ts";
import { INTERRUPTED } from "./install.ts";
import { type BaseModelRow, catalogueArchitecture, parseProgress, publicError } from "./model.ts";
import { getBaseModel, hasLicense, requireReadyBase } from "./service.ts";

/** A base model for a run. */
interface BaseForRun {
  /** The installed model; or, for one that is not, what the catalog knows of it, with an empty hash. */
  row: BaseModelRow;
  /** Why the run has to wait for it, as a sentence for users; null when it is ready. */
  waits: string | null;
}

const refused = (message: string, cause?: unknown) =>
  new AppError("invalid", "model_not_installed", message, { param: "model", cause });

/** Throws when `actor` may not install a model, or no source of this installation has it. */
async function requireInstallable(ctx: Ctx, actor: Actor, entry: CatalogueEntry): Promise<void> {
  const { id, license } = entry;
  if (entry.acceptance && !(await hasLicense(ctx, actor, { id, source: "hub", license })))
    throw refused(
      `${id} is not installed, and is licensed under the ${license}. Someone in your organization has to accept the license first, and then install the model: on the Models page, or with POST /v1/base_models/${id}/license and POST /v1/base_models/${id}/install.`,
    );
  if (sourceOf(ctx, entry).kind !== "hub") return;
  if (ctx.config.hub_url === "")
    throw refused(
      `${id} is not installed, and this installation does not use a hub (hub_url is empty). Import the model from a local directory on the Models page, or set prepared_models to a directory that has ${id}.`,
    );
  if (actor.role !== "admin")
    throw refused(
      `${id} is not installed, and only administrators download models from the hub. Ask one to install it on the Models page.`,
    );
}

/** A model of the catalog as a row, before it is installed. */
function notInstalled(entry: CatalogueEntry): BaseModelRow {
  const { id, name, hub, license } = entry;
  const empty = { progress: null, error: null, hash: null, files: null, createdAt: 0 };
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
