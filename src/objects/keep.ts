/** Puts units into the bucket, and removes them. Without a bucket, the data directory alone has them. */
import { rm } from "node:fs/promises";
import { and, eq, inArray, lte } from "drizzle-orm";
import type { Ctx } from "../ctx.ts";
import { objectDeletion, storedObject } from "../db/schema/datasets.ts";
import type { Db } from "../db/types.ts";
import { sha256File } from "../lib/disk/manifest.ts";
import { type Expected, hashed, requireSame } from "../lib/objects/store.ts";
import { storeFailure } from "./bucket.ts";
import {
  localCopies,
  localKey,
  nameOf,
  objectKey,
  type StoredRow,
  storedRows,
  type Unit,
  unitOfKey,
  unitTurns,
} from "./units.ts";

/** Half-written files of a unit, which are not part of it. */
const UNFINISHED = /\.(part|tmp|draft)$/;
const FIRST_RETRY_MS = 30_000;
const LAST_RETRY_MS = 3_600_000;
const BATCH = 500;

/** The files of a unit on this machine: paths inside it. */
async function filesOf(ctx: Ctx, unit: string): Promise<{ path: string; bytes: number }[]> {
  const one = await ctx.disk.stat(unit);
  if (one) return [{ path: "", bytes: one.bytes }];
  const found: { path: string; bytes: number }[] = [];
  for await (const { key, bytes } of ctx.disk.list(`${unit}/`))
    if (!UNFINISHED.test(key)) found.push({ path: key.slice(unit.length + 1), bytes });
  return found;
}

/** Marks keys for removal; one that another file still needs is left out. */
async function queueDeletions(tx: Db, ctx: Ctx, rows: readonly StoredRow[]): Promise<void> {
  const now = ctx.clock.now();
  for (const { key, org } of rows) {
    const [other] = await tx
      .select({ key: storedObject.key })
      .from(storedObject)
      .where(eq(storedObject.key, key))
      .limit(1);
    if (!other) await tx.insert(objectDeletion).values({ key, org, since: now, retryAt: now }).onConflictDoNothing();
  }
}

/**
 * Puts a complete unit into the bucket, when new bytes go there; what is in it already is not sent again. To call
 * before the rows that refer to the unit are committed.
 * @param known hashes by path, where they are known; others are computed
 * @param options `readBack`: read every object again, and compare its hash
 * @returns how many files it has
 * @throws AppError `object_store_unavailable`, `bytes_missing` when a file has another hash than is known
 */
export async function keepUnit(
  ctx: Ctx,
  unit: Unit & { org: string },
  known: ReadonlyMap<string, string> = new Map(),
  { readBack = false }: { readBack?: boolean } = {},
): Promise<number> {
  const { bucket } = ctx;
  if (!bucket || ctx.config.artifact_store !== "s3") return 0;
  const name = nameOf(unit);
  return unitTurns(ctx)(name, async () => {
    const before = await storedRows(ctx, name);
    const rows: StoredRow[] = [];
    try {
      for (const { path, bytes } of await filesOf(ctx, name)) {
        const local = ctx.files.path(unit.folder, unit.id, ...(path === "" ? [] : path.split("/")));
        const sha256 = known.get(path) ?? (await sha256File(local));
        const key = objectKey(unit.org, unit, sha256);
        const old = before.find((row) => row.path === path && row.sha256 === sha256);
        if (!old) await bucket.put(key, { path: local }, { bytes, sha256 }, ctx.signal);
        if (readBack) await verify(ctx, key, { bytes, sha256 });
        rows.push(old ?? { unit: name, path, key, org: unit.org, bytes, sha256, createdAt: ctx.clock.now() });
      }
    } catch (error) {
      throw storeFailure(error);
    }
    ctx.failPoint("objects.sent");
    const here = (row: StoredRow) => rows.find((one) => one.path === row.path);
    // A file whose copy on this machine was removed is still part of the unit.
    const elsewhere = before.some((row) => !here(row));
    const stale = before.filter((row) => (here(row)?.sha256 ?? row.sha256) !== row.sha256);
    await ctx.write(async (tx) => {
      for (const row of rows) {
        await tx.delete(storedObject).where(and(eq(storedObject.unit, name), eq(storedObject.path, row.path)));
        await tx.insert(storedObject).values(row);
      }
      const keys = rows.map(({ key }) => key);
      if (keys.length > 0) await tx.delete(objectDeletion).where(inArray(objectDeletion.key, keys));
      await queueDeletions(tx, ctx, stale);
    });
    if (!elsewhere) localCopies(ctx).complete.add(name);
    localCopies(ctx).usedAt.set(name, ctx.clock.monotonic());
    return rows.length;
  });
}

/** Reads an object whole. @throws StoreProblem `missing`, `damaged` */
async function verify(ctx: Ctx, key: string, expected: Expected): Promise<void> {
  if (!ctx.bucket) return;
  const source = hashed(ctx.bucket.get(key, undefined, ctx.signal), (found) => requireSame(key, found, expected));
  for await (const _ of source);
}

/**
 * Removes a unit from this machine and from the bucket. A bucket that does not answer is asked again later: the unit is
 * then in the list of what is to be removed, and nothing reads it.
 */
export const dropUnit = (ctx: Ctx, unit: Unit): Promise<void> =>
  forget(ctx, unit, () => rm(ctx.files.path(unit.folder, unit.id), { recursive: true, force: true }));

/** Removes a unit from the bucket alone: this machine has all of it. */
export const releaseUnit = (ctx: Ctx, unit: Unit): Promise<void> => forget(ctx, unit, async () => {});

async function forget(ctx: Ctx, unit: Unit, removeLocal: () => Promise<void>): Promise<void> {
  const name = nameOf(unit);
  await unitTurns(ctx)(name, async () => {
    await removeLocal();
    localCopies(ctx).complete.delete(name);
    localCopies(ctx).usedAt.delete(name);
    if (!ctx.bucket) return;
    const rows = await storedRows(ctx, name);
    if (rows.length === 0) return;
    await ctx.write(async (tx) => {
      await tx.delete(storedObject).where(eq(storedObject.unit, name));
      await queueDeletions(tx, ctx, rows);
    });
    await removeKeys(
      ctx,
      rows.map(({ key }) => key),
    );
  });
}

/** Removes objects that wait for it. @returns whether all are gone */
async function removeKeys(ctx: Ctx, keys: readonly string[]): Promise<boolean> {
  if (!ctx.bucket || keys.length === 0) return true;
  const waiting = await ctx.db
    .select({ key: objectDeletion.key, tries: objectDeletion.tries })
    .from(objectDeletion)
    .where(inArray(objectDeletion.key, [...keys]));
  if (waiting.length === 0) return true;
  const ours = waiting.map(({ key }) => key);
  try {
    await ctx.bucket.remove(ours);
    await ctx.write((tx) => tx.delete(objectDeletion).where(inArray(objectDeletion.key, ours)));
    return true;
  } catch (cause) {
    const error = cause instanceof Error ? cause.message.slice(0, 500) : String(cause);
    const tries = Math.max(...waiting.map((row) => row.tries)) + 1;
    const retryAt = ctx.clock.now() + Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(tries, 10));
    await ctx.write((tx) =>
      tx.update(objectDeletion).set({ tries, retryAt, error }).where(inArray(objectDeletion.key, ours)),
    );
    if (!ctx.signal.aborted) ctx.log("warn", "objects could not be removed; it is tried again", { cause });
    return false;
  }
}

/** The same in the turn of each unit: nobody stores one of the objects meanwhile. */
async function removeInTurn(ctx: Ctx, keys: readonly string[]): Promise<boolean> {
  for (const [unit, own] of Map.groupBy(keys, unitOfKey))
    if (!(await unitTurns(ctx)(unit, () => removeKeys(ctx, own)))) return false;
  return true;
}

/** Removes what is due. Stops at the first failure: the bucket is not asked in a loop. */
export async function removeDue(ctx: Ctx): Promise<void> {
  for (;;) {
    const due = await ctx.db
      .select({ key: objectDeletion.key })
      .from(objectDeletion)
      .where(lte(objectDeletion.retryAt, ctx.clock.now()))
      .limit(BATCH);
    const done = await removeInTurn(
      ctx,
      due.map(({ key }) => key),
    );
    if (!done || due.length < BATCH) return;
  }
}

/**
 * Removes everything that the bucket still has of an organization.
 * @returns whether nothing is left; else it is continued later
 */
export async function dropTeam(ctx: Ctx, org: string): Promise<boolean> {
  if (!ctx.bucket) return true;
  const units = await ctx.db
    .selectDistinct({ unit: storedObject.unit })
    .from(storedObject)
    .where(eq(storedObject.org, org));
  for (const { unit } of units) {
    const [folder = "", id = ""] = unit.split("/");
    await dropUnit(ctx, { folder: folder as Unit["folder"], id });
  }
  const left = await ctx.db
    .select({ key: objectDeletion.key })
    .from(objectDeletion)
    .where(and(eq(objectDeletion.org, org)))
    .limit(BATCH);
  if (left.length === 0) return true;
  const done = await removeInTurn(
    ctx,
    left.map(({ key }) => key),
  );
  return done && left.length < BATCH;
}

/** Removes the copy on this machine of a unit that is rarely read. What the bucket does not have stays. */
export async function dropCopy(ctx: Ctx, unit: Unit): Promise<void> {
  const name = nameOf(unit);
  await unitTurns(ctx)(name, async () => {
    localCopies(ctx).complete.delete(name);
    await dropLocal(ctx, await storedRows(ctx, name));
  });
}

/** Removes the copy on this machine of files that are in the bucket. @returns bytes */
export async function dropLocal(ctx: Ctx, rows: readonly StoredRow[]): Promise<number> {
  let bytes = 0;
  for (const row of rows) {
    const found = await ctx.disk.stat(localKey(row.unit, row.path));
    if (!found) continue;
    await ctx.disk.remove([found.key]);
    bytes += found.bytes;
  }
  return bytes;
}
