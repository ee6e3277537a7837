/** Datasets and their immutable versions: what the API, the pages and the rooms to the right do with data. */
import { existsSync } from "node:fs";
import { and, desc, eq, inArray, isNull, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { requireQuota } from "../../accounts/quotas/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { olderThan } from "../../db/paging.ts";
import { dataset, datasetVersion, file } from "../../db/schema/datasets.ts";
import { AppError, notFound } from "../../errors.ts";
import { deleteFile, getFile, keepFile, removeFile } from "../files/service.ts";
import { receive } from "../storage/receive.ts";
import type { DatasetRow, Split, VersionRow, VersionWithReport } from "../validation/model.ts";
import {
  announce,
  bytesOf,
  clearDisk,
  type DatasetOptions,
  insertDataset,
  insertVersion,
  type Removed,
  refuseInUse,
  releaseRows,
  VERSION_COLUMNS,
  type VersionOptions,
} from "../validation/records.ts";
import type { TokenStats } from "../validation/rows/report.ts";
import { ROW_NAMES } from "../validation/rows/types.ts";
import { statsOf } from "../validation/token-stats.ts";
import { requireRow, rowsAnd } from "./append.ts";
import { pageRows, type RowPage } from "./read-rows.ts";

const MAX_VERSIONS = 1000;

/** Makes a dataset of a file that is already here, and starts validation. */
export async function createDataset(
  ctx: Ctx,
  actor: Actor,
  given: DatasetOptions & { fileId: string },
): Promise<DatasetRow> {
  const source = await getFile(ctx, actor, given.fileId);
  const made = await ctx.write((tx) => insertDataset(tx, ctx, actor, source, given));
  announce(ctx, made);
  return made;
}

export async function getDataset(ctx: Ctx, actor: Actor, id: string): Promise<DatasetRow> {
  const [row] = await ctx.db
    .select()
    .from(dataset)
    .where(and(eq(dataset.id, id), eq(dataset.org, actor.org), isNull(dataset.deletedAt)));
  if (!row) throw notFound("dataset", id);
  return row;
}

/** Datasets, newest first, each with its newest version; at most `limit + 1`. `search` is a part of the name. */
export async function listDatasets(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string; limit: number; search?: string },
): Promise<{ dataset: DatasetRow; version: VersionRow | null }[]> {
  const from = page.after ? await getDataset(ctx, actor, page.after) : undefined;
  const rows = await ctx.db
    .select()
    .from(dataset)
    .where(
      and(
        eq(dataset.org, actor.org),
        isNull(dataset.deletedAt),
        page.search ? sql`instr(lower(${dataset.name}), ${page.search.toLowerCase()}) > 0` : undefined,
        olderThan(dataset, from),
      ),
    )
    .orderBy(desc(dataset.createdAt), desc(dataset.id))
    .limit(page.limit + 1);
  const newest = await newestVersions(
    ctx,
    rows.map((row) => row.id),
  );
  return rows.map((row) => ({ dataset: row, version: newest.get(row.id) ?? null }));
}

async function newestVersions(ctx: Ctx, datasetIds: string[]): Promise<Map<string, VersionRow>> {
  if (datasetIds.length === 0) return new Map();
  const rows = await ctx.db
    .select(VERSION_COLUMNS)
    .from(datasetVersion)
    .where(
      and(
        inArray(datasetVersion.datasetId, datasetIds),
        sql`${datasetVersion.number} = (select max(v.number) from dataset_version v where v.dataset_id = ${datasetVersion.datasetId})`,
      ),
    );
  return new Map(rows.map((row) => [row.datasetId, row]));
}

export async function updateDataset(
  ctx: Ctx,
  actor: Actor,
  id: string,
  change: { name?: string; description?: string },
): Promise<DatasetRow> {
  const row = await getDataset(ctx, actor, id);
  const next = { name: change.name ?? row.name, description: change.description ?? row.description };
  await ctx.write(async (tx) => {
    await tx.update(dataset).set(next).where(eq(dataset.id, id));
    await audit(tx, ctx, actor, "dataset.update", id, next);
  });
  ctx.bus.emit("dataset.changed", { org: row.org, datasetId: id, versionId: null });
  return { ...row, ...next };
}

/**
 * Deletes a dataset, its rows, and the files that no other dataset uses.
 * @param keepFiles leave the uploaded files
 * @throws AppError `dataset_in_use` while a job that is not over needs it
 */
export async function deleteDataset(ctx: Ctx, actor: Actor, id: string, keepFiles = false): Promise<void> {
  const row = await getDataset(ctx, actor, id);
  const removed = await ctx.write(async (tx) => {
    const versions = await tx
      .select({ id: datasetVersion.id, fileId: datasetVersion.fileId })
      .from(datasetVersion)
      .where(eq(datasetVersion.datasetId, id));
    const fileIds = [...new Set(versions.flatMap((version) => version.fileId ?? []))];
    await refuseInUse(tx, "dataset", id, [id, ...versions.map((version) => version.id), ...fileIds]);
    await tx.update(dataset).set({ deletedAt: ctx.clock.now() }).where(eq(dataset.id, id));
    await releaseRows(tx, id);
    await audit(tx, ctx, actor, "dataset.delete", id, { name: row.name });
    const all: Removed = { files: [], versions: versions.map((version) => version.id), datasets: [row] };
    for (const fileId of keepFiles ? [] : fileIds) {
      const [other] = await tx
        .select({ id: datasetVersion.id })
        .from(datasetVersion)
        .innerJoin(dataset, eq(dataset.id, datasetVersion.datasetId))
        .where(and(eq(datasetVersion.fileId, fileId), isNull(dataset.deletedAt)))
        .limit(1);
      const [source] = await tx
        .select()
        .from(file)
        .where(and(eq(file.id, fileId), isNull(file.deletedAt)));
      if (!other && source) all.files.push(...(await removeFile(tx, ctx, actor, source)).files);
    }
    return all;
  });
  await clearDisk(ctx, removed);
}

/** Versions of a dataset, newest first. */
export async function listVersions(ctx: Ctx, actor: Actor, datasetId: string): Promise<VersionRow[]> {
  await getDataset(ctx, actor, datasetId);
  return ctx.db
    .select(VERSION_COLUMNS)
    .from(datasetVersion)
    .where(eq(datasetVersion.datasetId, datasetId))
    .orderBy(desc(datasetVersion.number))
    .limit(MAX_VERSIONS);
}

async function findVersion(ctx: Ctx, actor: Actor, id: string) {
  const [found] = await ctx.db
    .select({ version: datasetVersion })
    .from(datasetVersion)
    .innerJoin(dataset, eq(dataset.id, datasetVersion.datasetId))
    .where(and(eq(datasetVersion.id, id), eq(datasetVersion.org, actor.org), isNull(dataset.deletedAt)));
  return found?.version ?? null;
}

/** One version with its report. */
export async function getVersion(ctx: Ctx, actor: Actor, id: string): Promise<VersionWithReport> {
  const row = await findVersion(ctx, actor, id);
  if (!row) throw notFound("dataset_version", id);
  return row as VersionWithReport;
}

/** A dataset's newest version, or the one asked for by id. */
export async function versionOf(
  ctx: Ctx,
  actor: Actor,
  datasetId: string,
  versionId?: string,
): Promise<VersionWithReport> {
  await getDataset(ctx, actor, datasetId);
  const id = versionId ?? (await newestVersions(ctx, [datasetId])).get(datasetId)?.id ?? "";
  const version = await getVersion(ctx, actor, id);
  if (version.datasetId !== datasetId) throw notFound("dataset_version", id);
  return version;
}

/**
 * Makes a new version of the newest one's file (or of another file) with other settings. Settings not given are taken
 * over. A version that waits for its column mapping has no rows yet: it is completed instead of leaving a dead one
 * behind.
 * @param given `after`: the version that has to be the newest still
 */
export async function createVersion(
  ctx: Ctx,
  actor: Actor,
  datasetId: string,
  given: VersionOptions & {
    fileId?: string | null;
    after?: string;
  },
): Promise<VersionRow> {
  const of = await getDataset(ctx, actor, datasetId);
  const newest = await versionOf(ctx, actor, datasetId);
  refuseUnsettled(newest, given.after);
  const fileId = given.fileId ?? newest.fileId ?? "";
  await getFile(ctx, actor, fileId);
  const sameFile = fileId === newest.fileId;
  const options: VersionOptions = {
    mapping: given.mapping ?? (sameFile ? newest.mapping : null),
    seed: given.seed ?? newest.splitSeed,
    holdoutFraction: given.holdoutFraction ?? newest.holdoutFraction / 1e6,
    skipBad: given.skipBad ?? false,
  };
  const completes = newest.status === "needs_mapping" && sameFile;
  const id = await ctx.write(async (tx) => {
    const [last] = await tx
      .select({ id: datasetVersion.id, status: datasetVersion.status })
      .from(datasetVersion)
      .where(eq(datasetVersion.datasetId, datasetId))
      .orderBy(desc(datasetVersion.number))
      .limit(1);
    // Another one may have been made meanwhile.
    refuseUnsettled(last, newest.id);
    await audit(tx, ctx, actor, "dataset.version", datasetId, { file: fileId, ...options });
    const made = completes ? newest.id : await insertVersion(tx, ctx, of, fileId, newest.number + 1, options);
    // A version made just now does not wait for its mapping.
    await tx
      .update(datasetVersion)
      .set({
        status: "validating",
        bytes: bytesOf(fileId),
        mapping: options.mapping ?? null,
        splitSeed: options.seed ?? newest.splitSeed,
        holdoutFraction: Math.round((options.holdoutFraction ?? 0) * 1e6),
        skipBad: options.skipBad ?? false,
        error: null,
        finishedAt: null,
      })
      .where(and(eq(datasetVersion.id, made), eq(datasetVersion.status, "needs_mapping")));
    await requireQuota(tx, ctx, actor, "bytes");
    return made;
  });
  announce(ctx, of);
  return getVersion(ctx, actor, id);
}

/** @param after what has to be the newest version still */
function refuseUnsettled(newest: Pick<VersionRow, "id" | "status"> | undefined, after?: string): void {
  if (newest?.status !== "validating" && (!after || newest?.id === after)) return;
  throw new AppError(
    "conflict",
    "version_validating",
    "A newer version of this dataset is still being checked; try again in a moment.",
  );
}

/**
 * Adds a row to a dataset: a new version of the newest one's rows and this one. The old version stays as it is.
 * @param given a row of OpenAI chat JSONL
 * @throws AppError `invalid_row`, `wrong_row_type`, `version_not_ready`, `version_validating`, `rows_gone`,
 *   `file_too_large`, `disk_full`
 */
export async function addRow(
  ctx: Ctx,
  actor: Actor,
  datasetId: string,
  given: { messages: unknown; tools?: unknown },
): Promise<VersionRow> {
  const row = requireRow(given);
  const of = await getDataset(ctx, actor, datasetId);
  const newest = await versionOf(ctx, actor, datasetId);
  refuseUnsettled(newest);
  requireReady(newest);
  if (newest.rowType !== "chat")
    throw new AppError(
      "invalid",
      "wrong_row_type",
      `${of.name} holds ${ROW_NAMES[newest.rowType]} rows, and only chat rows can be added one by one. Save the row to a dataset of chat rows, or upload the whole file again with the row in it.`,
      { param: "messages" },
    );
  const dir = ctx.files.path("datasets", newest.id);
  if (!existsSync(splitPath(ctx, newest.id, "train")))
    throw new AppError(
      "gone",
      "rows_gone",
      `The rows of ${of.name} are no longer on the server's disk, so none can be added. Upload the data again, or save the row to a new dataset.`,
    );
  const received = await receive(ctx, rowsAnd(dir, row), ctx.config.max_upload_bytes);
  const filename = `${of.name.slice(0, 200)}.jsonl`;
  const { file: made } = await keepFile(ctx, actor, received, { filename, purpose: "fine-tune" }, null);
  try {
    return await createVersion(ctx, actor, datasetId, { fileId: made.id, after: newest.id });
  } catch (error) {
    await deleteFile(ctx, actor, made.id);
    throw error;
  }
}

async function idsFor(ctx: Ctx, actor: Actor, id: string, param: string): Promise<VersionRow[]> {
  const order = [desc(datasetVersion.number)];
  if (id.startsWith("file-")) {
    const source = await getFile(ctx, actor, id);
    if (source.purpose !== "fine-tune")
      throw new AppError(
        "invalid",
        "wrong_purpose",
        `The file ${id} was uploaded with purpose '${source.purpose}'. Upload it with purpose 'fine-tune'.`,
        { param },
      );
    return ctx.db
      .select(VERSION_COLUMNS)
      .from(datasetVersion)
      .innerJoin(dataset, eq(dataset.id, datasetVersion.datasetId))
      .where(and(eq(datasetVersion.fileId, id), isNull(dataset.deletedAt)))
      .orderBy(desc(datasetVersion.createdAt), ...order)
      .limit(MAX_VERSIONS);
  }
  if (id.startsWith("ds_")) return listVersions(ctx, actor, id);
  const version = await findVersion(ctx, actor, id);
  return version ? [version] : [];
}

/**
 * The version a job should train on: of a file or dataset the newest ready one, else the newest.
 * @param id `file-…`, `ds_…` or `dsv_…`
 * @param param the request field that named it, for the error
 * @throws AppError `invalid_training_data` with line numbers when it failed, `needs_mapping` when columns are not
 *   mapped yet
 */
export async function resolveTrainingData(ctx: Ctx, actor: Actor, id: string, param: string): Promise<VersionRow> {
  const none = () =>
    new AppError("invalid", "training_data_not_found", `There is no file, dataset or version '${id.slice(0, 100)}'.`, {
      param,
    });
  let versions: VersionRow[];
  try {
    versions = await idsFor(ctx, actor, id, param);
  } catch (error) {
    throw error instanceof AppError && error.kind === "not_found" ? none() : error;
  }
  const version = versions.find((each) => each.status === "ready") ?? versions[0];
  if (!version) throw none();
  if (version.status === "failed")
    throw new AppError(
      "invalid",
      "invalid_training_data",
      `The data cannot be trained on. ${version.error ?? ""}`.trim(),
      { param },
    );
  if (version.status === "needs_mapping")
    throw new AppError(
      "invalid",
      "needs_mapping",
      `The columns of this CSV file are not mapped yet. Map them on the dataset's page, or POST /v1/datasets/${version.datasetId}/versions with {"mapping": {"prompt": …, "completion": …}}.`,
      { param },
    );
  return version;
}

/** Absolute path of a version's canonical JSONL. It exists once the version is ready. */
export function splitPath(ctx: Ctx, versionId: string, split: Split): string {
  return ctx.files.path("datasets", versionId, `${split}.jsonl`);
}

/** A page of canonical rows. @throws AppError `version_not_ready` */
export async function readRows(
  ctx: Ctx,
  actor: Actor,
  versionId: string,
  page: { split: Split; after: number; limit: number; search?: string },
): Promise<RowPage> {
  requireReady(await getVersion(ctx, actor, versionId));
  return pageRows(ctx.files.path("datasets", versionId), page.split, page);
}

function requireReady(version: VersionRow): void {
  if (version.status !== "ready")
    throw new AppError(
      "conflict",
      "version_not_ready",
      `Version ${version.id} is ${version.status.replaceAll("_", " ")}; it has rows once it is ready.`,
    );
}

/**
 * Token counts of a version's training rows under a base model's own tokenizer and chat template. When nobody has
 * counted yet this answers with an estimate from the first rows within seconds, and the exact numbers follow in the
 * background (`dataset.changed` tells).
 * @param baseModelId id of an installed base model
 * @throws AppError `version_not_ready`, `base_model_not_ready`, `tokens_not_counted`
 */
export async function tokenStats(ctx: Ctx, actor: Actor, versionId: string, baseModelId: string): Promise<TokenStats> {
  const version = await getVersion(ctx, actor, versionId);
  requireReady(version);
  return statsOf(ctx, version, baseModelId);
}
