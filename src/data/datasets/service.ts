/** Datasets: create, list, change and delete them. */
import { and, desc, eq, inArray, isNull, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { creatorId } from "../../accounts/organizations/creators.ts";
import { refuseRemoved } from "../../accounts/restrictions/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { olderThan } from "../../db/paging.ts";
import { dataset, datasetVersion, file } from "../../db/schema/datasets.ts";
import { notFound } from "../../errors.ts";
import { requireOwner } from "../../roles.ts";
import { getFile, removeFile } from "../files/service.ts";
import type { DatasetRow, VersionRow } from "../validation/model.ts";
import {
  announce,
  clearDisk,
  type DatasetOptions,
  insertDataset,
  type Removed,
  refuseInUse,
  releaseRows,
  VERSION_COLUMNS,
} from "../validation/records.ts";
import { labelWithCopies } from "../validation/stays-local.ts";

/** Creates a dataset from an uploaded file and starts validation. */
export async function createDataset(
  ctx: Ctx,
  actor: Actor,
  given: DatasetOptions & { fileId: string },
): Promise<DatasetRow> {
  const source = await getFile(ctx, actor, given.fileId);
  const created = await ctx.write((tx) => insertDataset(tx, ctx, actor, source, given));
  announce(ctx, created);
  return created;
}

/** @throws AppError `dataset_not_found`, `removed` (410) for one that a reviewer removed */
export async function getDataset(ctx: Ctx, actor: Actor, id: string): Promise<DatasetRow> {
  const [row] = await ctx.db
    .select()
    .from(dataset)
    .where(and(eq(dataset.id, id), eq(dataset.org, actor.org), isNull(dataset.deletedAt)));
  if (row) return row;
  await refuseRemoved(ctx, actor, id);
  throw notFound("dataset", id);
}

/**
 * Datasets, newest first, each with its newest version; at most `limit + 1`.
 * @param page `search` is a part of the name, `createdBy` an id or `me`
 */
export async function listDatasets(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string; limit: number; search?: string; createdBy?: string },
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
        page.createdBy ? eq(dataset.createdBy, creatorId(actor, page.createdBy)) : undefined,
        from && olderThan(dataset, from),
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

/** The newest version of each dataset, by dataset id. */
export async function newestVersions(ctx: Ctx, datasetIds: string[]): Promise<Map<string, VersionRow>> {
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

/**
 * Changes a dataset. The label that it stays here also goes to every dataset of the same file; only its owner, or an
 * administrator of the team, takes it away.
 * @throws AppError `dataset_not_found`, `not_owner`
 */
export async function updateDataset(
  ctx: Ctx,
  actor: Actor,
  id: string,
  change: { name?: string; description?: string; stays_local?: boolean },
): Promise<DatasetRow> {
  const row = await getDataset(ctx, actor, id);
  const staysLocal = change.stays_local ?? row.staysLocal;
  if (row.staysLocal && !staysLocal) requireOwner(actor, row.createdBy);
  const next = { name: change.name ?? row.name, description: change.description ?? row.description, staysLocal };
  await ctx.write(async (tx) => {
    if (staysLocal && !row.staysLocal) await labelWithCopies(tx, row.org, [id]);
    await tx.update(dataset).set(next).where(eq(dataset.id, id));
    const { name, description } = next;
    const label = staysLocal === row.staysLocal ? {} : { stays_local: staysLocal };
    await audit(tx, ctx, actor, "dataset.update", id, { name, description, ...label });
  });
  ctx.bus.emit("dataset.changed", { org: row.org, datasetId: id, versionId: null });
  return { ...row, ...next };
}

/**
 * Deletes a dataset, its rows, what jobs stored of them, and the files that no other dataset uses.
 * @param keepFiles keep the uploaded files
 * @returns the deleted dataset
 * @throws AppError `dataset_in_use` while an unfinished job needs it
 */
export async function deleteDataset(ctx: Ctx, actor: Actor, id: string, keepFiles = false): Promise<DatasetRow> {
  const row = await getDataset(ctx, actor, id);
  requireOwner(actor, row.createdBy);
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
  return row;
}
