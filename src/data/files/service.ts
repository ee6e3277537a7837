/** Uploaded files: receive them in one streaming pass, list them, and delete them when no unfinished job needs them. */
import { rm } from "node:fs/promises";
import { and, asc, desc, eq, gt, isNull, lt, or, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { requireQuota } from "../../accounts/quotas/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { dataset, datasetVersion, file } from "../../db/schema/datasets.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { dropUnit, keepUnit } from "../../objects/keep.ts";
import { requireOwner } from "../../roles.ts";
import { type Body, cleanFilename, type Received, receive, settleFile } from "../storage/receive.ts";
import type { DatasetRow } from "../validation/model.ts";
import {
  announce,
  clearDisk,
  type DatasetOptions,
  insertDataset,
  type Removed,
  refuseInUse,
  releaseRows,
} from "../validation/records.ts";
import { type FileRow, PURPOSES, type Purpose } from "./model.ts";

interface NewFile {
  filename: string;
  purpose: string;
  expiresAfterS?: number | null;
}

/** Purposes of files that the server creates. The API does not accept them. */
const SERVER_PURPOSES: readonly string[] = ["fine-tune-results"];

/** @throws AppError `invalid_purpose` */
export function requirePurpose(purpose: string): asserts purpose is Purpose {
  if (!(PURPOSES as readonly string[]).includes(purpose) && !SERVER_PURPOSES.includes(purpose))
    throw new AppError(
      "invalid",
      "invalid_purpose",
      `'${purpose.slice(0, 60)}' is not one of ${PURPOSES.join(", ")}.`,
      {
        param: "purpose",
      },
    );
}

/**
 * Receives a body in one streaming pass. With purpose `fine-tune`, it also creates a dataset with version 1 and starts
 * validation.
 * @throws AppError `invalid_purpose`, `file_too_large`, `disk_full`, `quota_exceeded`
 */
export async function createFile(ctx: Ctx, actor: Actor, given: NewFile & { body: Body }): Promise<FileRow> {
  requirePurpose(given.purpose);
  const received = await receive(ctx, given.body, ctx.config.max_upload_bytes);
  return (await keepFile(ctx, actor, received, given)).file;
}

/**
 * Stores a received body as a file.
 * @throws AppError `quota_exceeded`, `object_store_unavailable`
 * @param options settings of the dataset that a fine-tune file creates; null to create none, for a file of an existing
 *   dataset
 * @param also further writes in the same transaction
 */
export async function keepFile(
  ctx: Ctx,
  actor: Actor,
  received: Received,
  given: NewFile,
  options: DatasetOptions | null = {},
  also: (tx: Db, fileId: string) => Promise<void> = async () => {},
): Promise<{ file: FileRow; dataset: DatasetRow | null }> {
  const id = newId("file");
  const path = ctx.files.path("files", id);
  const now = ctx.clock.now();
  const row: FileRow = {
    id,
    org: actor.org,
    filename: cleanFilename(given.filename),
    purpose: given.purpose,
    bytes: received.bytes,
    sha256: received.sha256,
    status: given.purpose === "fine-tune" ? "uploaded" : "processed",
    statusDetails: null,
    createdBy: actor.userId,
    createdAt: now,
    expiresAt: given.expiresAfterS ? now + given.expiresAfterS * 1000 : null,
    deletedAt: null,
  };
  let created: DatasetRow | null = null;
  try {
    requirePurpose(given.purpose);
    await settleFile(received.path, path);
    await keepUnit(ctx, { folder: "files", id, org: actor.org }, new Map([["", received.sha256]]));
    created = await ctx.write(async (tx) => {
      await tx.insert(file).values(row);
      await audit(tx, ctx, actor, "file.create", id, {
        filename: row.filename,
        bytes: row.bytes,
        purpose: row.purpose,
      });
      await also(tx, id);
      await requireQuota(tx, ctx, actor, "files", "bytes");
      return row.purpose === "fine-tune" && options ? insertDataset(tx, ctx, actor, row, options) : null;
    });
  } catch (error) {
    await Promise.all([rm(received.path, { force: true }), dropUnit(ctx, { folder: "files", id })]);
    throw error;
  }
  ctx.bus.emit("file.changed", { org: actor.org, fileId: id });
  if (created) announce(ctx, created);
  return { file: row, dataset: created };
}

/** @throws AppError `file_not_found`, also for a file of another organization and a deleted or expired file */
export async function getFile(ctx: Ctx, actor: Actor, id: string): Promise<FileRow> {
  const [row] = await ctx.db
    .select()
    .from(file)
    .where(and(eq(file.id, id), eq(file.org, actor.org), isNull(file.deletedAt)));
  if (!row || (row.expiresAt !== null && row.expiresAt <= ctx.clock.now())) throw notFound("file", id);
  return row;
}

/** Files by creation time; at most `limit + 1` rows, so that the caller knows whether there are more. */
export async function listFiles(
  ctx: Ctx,
  actor: Actor,
  page: { purpose?: string; after?: string; limit: number; order?: "asc" | "desc" },
): Promise<FileRow[]> {
  const up = page.order === "asc";
  const from = page.after ? await getFile(ctx, actor, page.after) : undefined;
  const beyond = up ? gt : lt;
  return ctx.db
    .select()
    .from(file)
    .where(
      and(
        eq(file.org, actor.org),
        isNull(file.deletedAt),
        or(isNull(file.expiresAt), gt(file.expiresAt, ctx.clock.now())),
        page.purpose ? eq(file.purpose, page.purpose) : undefined,
        from &&
          or(beyond(file.createdAt, from.createdAt), and(eq(file.createdAt, from.createdAt), beyond(file.id, from.id))),
      ),
    )
    .orderBy(up ? asc(file.createdAt) : desc(file.createdAt), up ? asc(file.id) : desc(file.id))
    .limit(page.limit + 1);
}

/**
 * Deletes a file and the datasets that have no other file.
 * @throws AppError `file_in_use` while an unfinished job needs it
 */
export async function deleteFile(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  const row = await getFile(ctx, actor, id);
  requireOwner(actor, row.createdBy);
  await dropFile(ctx, actor, row);
}

/** Deletes a file by its row, also an expired one. */
export async function dropFile(ctx: Ctx, actor: Actor, row: FileRow): Promise<void> {
  const removed = await ctx.write((tx) => removeFile(tx, ctx, actor, row));
  await clearDisk(ctx, removed);
  ctx.bus.emit("file.changed", { org: row.org, fileId: row.id });
}

/** Deletes a file from the database in the caller's transaction. */
export async function removeFile(tx: Db, ctx: Ctx, actor: Actor, row: FileRow): Promise<Removed> {
  const versions = await tx
    .select({ id: datasetVersion.id, datasetId: datasetVersion.datasetId })
    .from(datasetVersion)
    .where(eq(datasetVersion.fileId, row.id));
  const datasetIds = [...new Set(versions.map((version) => version.datasetId))];
  await refuseInUse(tx, "file", row.id, [row.id, ...versions.map((version) => version.id)]);
  const removed: Removed = { files: [row.id], versions: [], datasets: [] };
  for (const datasetId of datasetIds) {
    const [other] = await tx
      .select({ id: datasetVersion.id })
      .from(datasetVersion)
      .where(and(eq(datasetVersion.datasetId, datasetId), sql`${datasetVersion.fileId} is not ${row.id}`))
      .limit(1);
    if (other) continue;
    await refuseInUse(tx, "file", row.id, [datasetId]);
    const [gone] = await tx
      .update(dataset)
      .set({ deletedAt: ctx.clock.now() })
      .where(and(eq(dataset.id, datasetId), isNull(dataset.deletedAt)))
      .returning();
    if (gone) removed.datasets.push(gone);
    await releaseRows(tx, datasetId);
    removed.versions.push(
      ...versions.filter((version) => version.datasetId === datasetId).map((version) => version.id),
    );
  }
  await tx.update(file).set({ deletedAt: ctx.clock.now() }).where(eq(file.id, row.id));
  await audit(tx, ctx, actor, "file.delete", row.id, { filename: row.filename });
  return removed;
}
