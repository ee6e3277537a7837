/**
 * Compares the bucket with the database: what nothing refers to is removed after a day, what is missing is reported.
 */
import { and, count, eq, gt, inArray, isNull, lt, ne, sum } from "drizzle-orm";
import { type Ctx, keptRead, perContext } from "../ctx.ts";
import { archive } from "../db/schema/archives.ts";
import { datasetVersion, file, objectDeletion, storedObject } from "../db/schema/datasets.ts";
import { artifact } from "../db/schema/models.ts";
import { startRounds } from "../lib/background/rounds.ts";
import { StoreProblem } from "../lib/objects/store.ts";
import { dropUnit, removeDue } from "./keep.ts";
import { trimCache } from "./local.ts";
import { type Unit, unitOfKey, unitTurns } from "./units.ts";

const DUE_EVERY_MS = 30_000;
const TRIM_EVERY_MS = 300_000;
const COMPARE_EVERY_MS = 6 * 3_600_000;
/** What is younger may still be on its way to its row. */
const GRACE_MS = 86_400_000;
const BATCH = 500;

/** What a comparison found. Times in milliseconds since 1970. */
interface Comparison {
  at: number;
  /** Objects in the bucket, with their bytes. */
  objects: number;
  bytes: number;
  /** Objects without a row that were removed, and units without an owner. */
  strays: number;
  orphans: number;
  /** Bytes of both. */
  removedBytes: number;
  /** Uploads in parts that were ended. */
  uploads: number;
  /** Keys of rows whose object is not in the bucket; at most 100. */
  missing: string[];
}

/** The last comparison of this process; null before the first. */
export const lastComparison = keptRead(async (): Promise<Comparison | null> => null);

/** What comparisons of this process removed in all, and why the last one failed; null = it did not. */
const totalsOf = perContext(() => ({
  strays: 0,
  orphans: 0,
  uploads: 0,
  removedBytes: 0,
  failure: null as { at: number; message: string } | null,
}));

/** The state of the bucket for administrators and monitoring; null when none is used. */
export async function readBucketState(ctx: Ctx) {
  if (!ctx.bucket) return null;
  const [waiting] = await ctx.db.select({ removals: count() }).from(objectDeletion);
  const { failure, ...removed } = totalsOf(ctx);
  return { last: await lastComparison.get(ctx), removed, failure, waiting: waiting?.removals ?? 0 };
}
export type BucketState = NonNullable<Awaited<ReturnType<typeof readBucketState>>>;

/** Of `ids`, those that a row still needs. */
async function ownedIds(ctx: Ctx, folder: string, ids: string[]): Promise<Set<string>> {
  const rows =
    folder === "files"
      ? await ctx.db
          .select({ id: file.id })
          .from(file)
          .where(and(inArray(file.id, ids), isNull(file.deletedAt)))
      : folder === "datasets"
        ? await ctx.db.select({ id: datasetVersion.id }).from(datasetVersion).where(inArray(datasetVersion.id, ids))
        : folder === "archives"
          ? await ctx.db
              .select({ id: archive.id })
              .from(archive)
              .where(and(inArray(archive.id, ids), inArray(archive.status, ["running", "done"])))
          : await ctx.db
              .select({ id: artifact.id })
              .from(artifact)
              .where(and(inArray(artifact.id, ids), ne(artifact.status, "deleted")));
  return new Set(rows.map(({ id }) => id));
}

/** The bytes of a unit. */
async function bytesOf(ctx: Ctx, unit: string): Promise<number> {
  const [row] = await ctx.db
    .select({ bytes: sum(storedObject.bytes) })
    .from(storedObject)
    .where(eq(storedObject.unit, unit));
  return Number(row?.bytes ?? 0);
}

/** Removes units whose file, version or artifact no longer exists. @returns how many, and their bytes */
async function dropOrphans(ctx: Ctx): Promise<{ units: number; bytes: number }> {
  const before = ctx.clock.now() - GRACE_MS;
  const dropped = { units: 0, bytes: 0 };
  for (let after = ""; ; ) {
    const rows = await ctx.db
      .selectDistinct({ unit: storedObject.unit })
      .from(storedObject)
      .where(and(gt(storedObject.unit, after), lt(storedObject.createdAt, before)))
      .orderBy(storedObject.unit)
      .limit(BATCH);
    const last = rows.at(-1);
    if (!last) return dropped;
    for (const [folder, own] of Map.groupBy(rows, ({ unit }) => unit.split("/")[0] ?? "")) {
      const ids = own.map(({ unit }) => unit.slice(folder.length + 1));
      const owned = await ownedIds(ctx, folder, ids);
      for (const id of ids.filter((one) => !owned.has(one))) {
        const bytes = await bytesOf(ctx, `${folder}/${id}`);
        await dropUnit(ctx, { folder: folder as Unit["folder"], id });
        dropped.units++;
        dropped.bytes += bytes;
      }
    }
    after = last.unit;
  }
}

/** Of `keys`, those that a row or a pending removal names. */
async function knownKeys(ctx: Ctx, keys: string[]): Promise<Set<string>> {
  const [stored, leaving] = await Promise.all([
    ctx.db.select({ key: storedObject.key }).from(storedObject).where(inArray(storedObject.key, keys)),
    ctx.db.select({ key: objectDeletion.key }).from(objectDeletion).where(inArray(objectDeletion.key, keys)),
  ]);
  return new Set([...stored, ...leaving].map(({ key }) => key));
}

/** Rows whose object is not among `listed`. */
async function missingKeys(ctx: Ctx, listed: ReadonlySet<string>, before: number): Promise<string[]> {
  const missing: string[] = [];
  for (let after = ""; missing.length < 100; ) {
    const rows = await ctx.db
      .select({ key: storedObject.key, at: storedObject.createdAt })
      .from(storedObject)
      .where(gt(storedObject.key, after))
      .orderBy(storedObject.key)
      .limit(BATCH);
    const last = rows.at(-1);
    if (!last) break;
    for (const { key, at } of rows) if (at < before && !listed.has(key)) missing.push(key);
    after = last.key;
  }
  return missing.slice(0, 100);
}

/**
 * Compares every object with the rows. Objects and uploads in parts that are younger than a day are left alone.
 * @throws StoreProblem when the bucket does not answer: then nothing was removed
 */
export async function compareObjects(ctx: Ctx): Promise<Comparison | null> {
  const { bucket } = ctx;
  if (!bucket) return null;
  const at = ctx.clock.now();
  const orphans = await dropOrphans(ctx);
  const listed = new Set<string>();
  let bytes = 0;
  let strays = 0;
  let removedBytes = orphans.bytes;
  let batch: { key: string; bytes: number }[] = [];
  const settle = async () => {
    const sizes = new Map(batch.map((item) => [item.key, item.bytes]));
    const known = batch.length > 0 ? await knownKeys(ctx, [...sizes.keys()]) : new Set<string>();
    const stray = [...sizes.keys()].filter((key) => !known.has(key));
    for (const [unit, own] of Map.groupBy(stray, unitOfKey))
      await unitTurns(ctx)(unit, async () => {
        // Somebody may have stored it in the meantime.
        const now = await knownKeys(ctx, own);
        const gone = own.filter((key) => !now.has(key));
        if (gone.length > 0) await bucket.remove(gone);
        strays += gone.length;
        for (const key of gone) removedBytes += sizes.get(key) ?? 0;
      });
    batch = [];
  };
  for (const prefix of ["teams/", "check/"])
    for await (const item of bucket.list(prefix)) {
      listed.add(item.key);
      bytes += item.bytes;
      if (item.modifiedAt < at - GRACE_MS) batch.push(item);
      if (batch.length >= BATCH) await settle();
    }
  await settle();
  const missing = await missingKeys(ctx, listed, at);
  const uploads = await bucket.abortUploads(at - GRACE_MS);
  const removed = { strays, orphans: orphans.units, uploads, removedBytes };
  const found = { at, objects: listed.size, bytes, ...removed, missing };
  lastComparison.set(ctx, found);
  const totals = totalsOf(ctx);
  totals.failure = null;
  for (const name of ["strays", "orphans", "uploads", "removedBytes"] as const) totals[name] += removed[name];
  if (strays + removed.orphans + uploads > 0)
    ctx.log("warn", "the bucket had objects that nothing refers to; they were removed", removed);
  if (missing.length > 0)
    ctx.log("error", "objects are missing in the bucket; restore them from its backup", {
      count: missing.length,
      first: missing[0],
    });
  return found;
}

/** A round of comparing; why it failed is kept for the page. */
async function compareRound(ctx: Ctx): Promise<void> {
  try {
    await compareObjects(ctx);
  } catch (error) {
    const message = error instanceof StoreProblem ? error.message : "The comparison failed; the log has the reason.";
    totalsOf(ctx).failure = { at: ctx.clock.now(), message };
    throw error;
  }
}

/** Removes what is due, keeps the cache small, and compares. @returns the function that stops it */
export function startObjects(ctx: Ctx): () => Promise<void> {
  if (!ctx.bucket) return async () => {};
  const stops = [
    startRounds(ctx, DUE_EVERY_MS, "objects could not be removed", () => removeDue(ctx)),
    startRounds(ctx, TRIM_EVERY_MS, "the cache of objects could not be trimmed", () => trimCache(ctx)),
    startRounds(ctx, COMPARE_EVERY_MS, "the bucket could not be compared with the database", () => compareRound(ctx)),
  ];
  return async () => {
    for (const stop of stops) await stop();
  };
}
