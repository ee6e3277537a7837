/** Versions of datasets: list, read and create them. A version never changes once it is ready. */
import { and, desc, eq, isNull } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { requireQuota } from "../../accounts/quotas/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { dataset, datasetVersion } from "../../db/schema/datasets.ts";
import { AppError, notFound } from "../../errors.ts";
import { getFile } from "../files/service.ts";
import { type Reading, readingOf } from "../validation/containers/source.ts";
import type { Mapping } from "../validation/mapping/model.ts";
import type { VersionRow, VersionWithReport } from "../validation/model.ts";
import { announce, bytesOf, insertVersion, VERSION_COLUMNS, type VersionOptions } from "../validation/records.ts";
import { getDataset, newestVersions } from "./service.ts";

/** Most versions of a dataset that a list has. */
export const MAX_VERSIONS = 1000;

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

/** One version with its report, or null. */
export async function findVersion(ctx: Ctx, actor: Actor, id: string) {
  const [found] = await ctx.db
    .select({ version: datasetVersion })
    .from(datasetVersion)
    .innerJoin(dataset, eq(dataset.id, datasetVersion.datasetId))
    .where(and(eq(datasetVersion.id, id), eq(datasetVersion.org, actor.org), isNull(dataset.deletedAt)));
  return found?.version ?? null;
}

/** A version by the names that its dataset has or had. */
export interface VersionLabel {
  id: string;
  name: string;
  version: number;
  deleted: boolean;
}

/** The dataset and number of a version, also of a deleted dataset; null when it is not known here. */
export async function labelOfVersion(ctx: Ctx, actor: Actor, id: string): Promise<VersionLabel | null> {
  const [row] = await ctx.db
    .select({
      id: dataset.id,
      name: dataset.name,
      version: datasetVersion.number,
      deletedAt: dataset.deletedAt,
    })
    .from(datasetVersion)
    .innerJoin(dataset, eq(dataset.id, datasetVersion.datasetId))
    .where(and(eq(datasetVersion.id, id), eq(datasetVersion.org, actor.org)))
    .limit(1);
  if (!row) return null;
  const { deletedAt, ...label } = row;
  return { ...label, deleted: deletedAt !== null };
}

/** One version with its report. */
export async function getVersion(ctx: Ctx, actor: Actor, id: string): Promise<VersionWithReport> {
  const row = await findVersion(ctx, actor, id);
  if (!row) throw notFound("dataset_version", id);
  return row as VersionWithReport;
}

/** The version of a dataset with this id, or the newest one. */
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
 * Creates a version from the file of the newest one, or from another file, with changed settings. Settings that are not
 * given are those of the newest version; for another file only the split settings are. A newest version that waits for
 * its column mapping has no rows: it is completed, and no new one is created.
 * @param given `after`: the version that must still be the newest
 * @throws AppError `version_validating`, `quota_exceeded`
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
    mapping: given.mapping ?? (sameFile ? (newest.mapping as Mapping | null) : null),
    reading: readingOf(given.reading, sameFile ? (newest.reading as Reading | null) : null),
    seed: given.seed ?? newest.splitSeed,
    holdoutFraction: given.holdoutFraction ?? newest.holdoutFraction / 1e6,
    skipBad: given.skipBad ?? (sameFile ? newest.skipBad : false),
    removeDuplicates:
      given.removeDuplicates === undefined && sameFile ? newest.removeDuplicates : (given.removeDuplicates ?? null),
  };
  const completes = newest.status === "needs_mapping" && sameFile;
  const id = await ctx.write(async (tx) => {
    const [last] = await tx
      .select({ id: datasetVersion.id, status: datasetVersion.status })
      .from(datasetVersion)
      .where(eq(datasetVersion.datasetId, datasetId))
      .orderBy(desc(datasetVersion.number))
      .limit(1);
    // Another version may have been created in the meantime.
    refuseUnsettled(last, newest.id);
    await audit(tx, ctx, actor, "dataset.version", datasetId, { file: fileId, ...options });
    const versionId = completes ? newest.id : await insertVersion(tx, ctx, of, fileId, newest.number + 1, options);
    // Matches only a version that waits for its mapping, so a new version stays as inserted.
    await tx
      .update(datasetVersion)
      .set({
        status: "validating",
        bytes: bytesOf(fileId),
        mapping: options.mapping ?? null,
        reading: readingOf(options.reading, null),
        splitSeed: options.seed ?? newest.splitSeed,
        holdoutFraction: Math.round((options.holdoutFraction ?? 0) * 1e6),
        skipBad: options.skipBad ?? false,
        removeDuplicates: options.removeDuplicates ?? null,
        error: null,
        finishedAt: null,
      })
      .where(and(eq(datasetVersion.id, versionId), eq(datasetVersion.status, "needs_mapping")));
    await requireQuota(tx, ctx, actor, "bytes");
    return versionId;
  });
  announce(ctx, of);
  return getVersion(ctx, actor, id);
}

/** @param after the version that must still be the newest */
export function refuseUnsettled(newest: Pick<VersionRow, "id" | "status"> | undefined, after?: string): void {
  if (newest?.status !== "validating" && (!after || newest?.id === after)) return;
  throw new AppError(
    "conflict",
    "version_validating",
    "A newer version of this dataset is being validated. Try again in a moment.",
  );
}

/** @throws AppError `version_not_ready` */
export function requireReady(version: VersionRow): void {
  if (version.status !== "ready")
    throw new AppError(
      "conflict",
      "version_not_ready",
      `Version ${version.id} has no rows: its status is ${version.status.replaceAll("_", " ")}, not ready.`,
    );
}
