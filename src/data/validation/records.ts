/**
 * Inserts and deletes datasets and versions, with their files on disk. Shared by the files, uploads and datasets rooms.
 */
import { eq, getTableColumns, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { requireQuota } from "../../accounts/quotas/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { dataset, datasetVersion } from "../../db/schema/datasets.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { dropUnit } from "../../objects/keep.ts";
import { type Reading, readingOf } from "./containers/source.ts";
import { eraseTraces } from "./erase.ts";
import type { Mapping } from "./mapping/model.ts";
import { type DatasetRow, DEFAULT_HOLDOUT, DEFAULT_SEED } from "./model.ts";
import { validationQueue } from "./service.ts";
import { inheritLabel, labelWithCopies } from "./stays-local.ts";
import { liveJobUsing } from "./use.ts";

/** Settings of a version. All have defaults. */
export interface VersionOptions {
  mapping?: Mapping | null;
  /** Fraction of rows in the validation split, 0 to 0.5. The default is 0.1, with at most 1,000 rows. */
  holdoutFraction?: number | null;
  seed?: number | null;
  /** How the file is read: its encoding, its part, and whether wrongly decoded text is repaired. */
  reading?: Partial<Reading> | null;
  /** Leave bad rows out, so that they do not fail the validation; `any`: even when most rows are bad. */
  skipBad?: boolean | "any" | null;
  /** Leave duplicates out: equal rows, or also rows with the same answer to nearly the same prompt. */
  removeDuplicates?: "exact" | "near" | null;
}
export interface DatasetOptions extends VersionOptions {
  /** Id of the dataset, when the caller stores it in the same transaction. */
  id?: string;
  name?: string | null;
  description?: string | null;
  /** Its rows never leave this machine. */
  staysLocal?: boolean | null;
}

const PACKED = /\.(gz|zst|xz|zip)$/i;
const EXTENSION = /\.(jsonl|ndjson|json|csv|tsv|txt|parquet|arrow|feather|xlsx)$/i;

const { report: _report, ...columns } = getTableColumns(datasetVersion);
/** All columns of a version except the report. */
export const VERSION_COLUMNS = columns;

/**
 * Inserts a dataset with version 1 of the file `source`, which then waits for validation.
 * @throws AppError `quota_exceeded`
 */
export async function insertDataset(
  tx: Db,
  ctx: Ctx,
  actor: Actor,
  source: { id: string; filename: string },
  options: DatasetOptions,
): Promise<DatasetRow> {
  const row: DatasetRow = {
    id: options.id ?? newId("dataset"),
    org: actor.org,
    name: (options.name?.trim() || source.filename.replace(PACKED, "").replace(EXTENSION, "")).slice(0, 200),
    description: options.description ?? "",
    staysLocal: options.staysLocal ?? false,
    createdBy: actor.userId,
    createdAt: ctx.clock.now(),
    deletedAt: null,
  };
  await tx.insert(dataset).values(row);
  await insertVersion(tx, ctx, row, source.id, 1, options);
  if (row.staysLocal) await labelWithCopies(tx, row.org, [row.id]);
  await requireQuota(tx, ctx, actor, "datasets", "bytes");
  await audit(tx, ctx, actor, "dataset.create", row.id, {
    name: row.name,
    file: source.id,
    ...(row.staysLocal ? { stays_local: true } : {}),
  });
  return row;
}

/** The storage that a version counts as before validation: the size of its file. */
export const bytesOf = (fileId: string) => sql<number>`coalesce((select bytes from file where id = ${fileId}), 0)`;

/** Inserts a version that waits for validation; returns its id. */
export async function insertVersion(
  tx: Db,
  ctx: Ctx,
  of: DatasetRow,
  fileId: string,
  number: number,
  options: VersionOptions,
) {
  const id = newId("datasetVersion");
  await tx.insert(datasetVersion).values({
    id,
    org: of.org,
    datasetId: of.id,
    number,
    fileId,
    bytes: bytesOf(fileId),
    status: "validating",
    mapping: options.mapping ?? null,
    reading: readingOf(options.reading, null),
    splitSeed: options.seed ?? DEFAULT_SEED,
    holdoutFraction: Math.round((options.holdoutFraction ?? DEFAULT_HOLDOUT) * 1e6),
    skipBad: options.skipBad ?? false,
    removeDuplicates: options.removeDuplicates ?? null,
    createdAt: ctx.clock.now(),
  });
  await inheritLabel(tx, of, fileId);
  return id;
}

/** Stops counting the rows of a deleted dataset as stored bytes. */
export async function releaseRows(tx: Db, datasetId: string): Promise<void> {
  await tx.update(datasetVersion).set({ bytes: 0 }).where(eq(datasetVersion.datasetId, datasetId));
}

/** To call after the commit: notifies listeners and starts validation. */
export function announce(ctx: Ctx, row: DatasetRow): void {
  ctx.bus.emit("dataset.changed", { org: row.org, datasetId: row.id, versionId: null });
  validationQueue(ctx).kick();
}

/** Ids that were deleted from the database while their files are still on disk. */
export interface Removed {
  files: string[];
  versions: string[];
  datasets: DatasetRow[];
}

/** @throws AppError `file_in_use` or `dataset_in_use` when an unfinished job needs one of `ids` */
export async function refuseInUse(tx: Db, noun: "file" | "dataset", id: string, ids: string[]): Promise<void> {
  const jobId = await liveJobUsing(tx, ids);
  if (jobId)
    throw new AppError(
      "conflict",
      `${noun}_in_use`,
      `The ${noun} ${id} is used by the unfinished job ${jobId}. Cancel the job or wait until it ends, then delete the ${noun}.`,
      { param: "id" },
    );
}

/** To call after the commit: deletes the files on disk and what jobs stored of the rows, and notifies listeners. */
export async function clearDisk(ctx: Ctx, removed: Removed): Promise<void> {
  for (const id of removed.versions) {
    validationQueue(ctx).stop(id);
    await dropUnit(ctx, { folder: "datasets", id });
  }
  for (const id of removed.files) await dropUnit(ctx, { folder: "files", id });
  for (const row of removed.datasets) {
    await eraseTraces(ctx, row);
    ctx.bus.emit("dataset.changed", { org: row.org, datasetId: row.id, versionId: null });
  }
  await ctx.emptyLog();
}
