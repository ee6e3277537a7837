/** Copies of units on this machine: fetched by hash when something reads them, removed when the cache is full. */
import { existsSync } from "node:fs";
import { readdir, rmdir } from "node:fs/promises";
import { inArray, notInArray } from "drizzle-orm";
import { FINAL_STATES } from "../contract/job.ts";
import type { Ctx } from "../ctx.ts";
import { storedObject } from "../db/schema/datasets.ts";
import { job } from "../db/schema/jobs.ts";
import { requireDisk } from "../lib/disk/reserve.ts";
import { hashed, requireSame } from "../lib/objects/store.ts";
import { storeFailure } from "./bucket.ts";
import { dropLocal } from "./keep.ts";
import {
  localCopies,
  localKey,
  nameOf,
  type StoredRow,
  storedRows,
  UNIT_FOLDERS,
  type Unit,
  unitTurns,
} from "./units.ts";

/** A copy that was used within this time is not removed: something may be reading it. */
const IDLE_MS = 3_000_000;
const BATCH = 500;

/**
 * Makes sure that a unit is on this machine before something reads its files. Whole objects are checked by their hash.
 * What the bucket does not have is left as it is: the caller finds the files missing, as without a bucket.
 * @returns the path of the file or directory
 * @throws AppError `object_store_unavailable` (503), `bytes_missing` (410), `disk_full` (507)
 */
export async function localUnit(ctx: Ctx, unit: Unit): Promise<string> {
  const path = ctx.files.path(unit.folder, unit.id);
  const { bucket } = ctx;
  if (!bucket) return path;
  const name = nameOf(unit);
  const { complete, usedAt } = localCopies(ctx);
  usedAt.set(name, ctx.clock.monotonic());
  if (complete.has(name)) return path;
  await unitTurns(ctx)(name, async () => {
    if (complete.has(name)) return;
    const rows = await storedRows(ctx, name);
    if (rows.length === 0) return;
    const missing: StoredRow[] = [];
    for (const row of rows) if ((await ctx.disk.stat(localKey(name, row.path)))?.bytes !== row.bytes) missing.push(row);
    await makeRoom(
      ctx,
      missing.reduce((sum, row) => sum + row.bytes, 0),
    );
    try {
      for (const row of missing)
        await ctx.disk.put(localKey(name, row.path), bucket.get(row.key, undefined, ctx.signal), row, ctx.signal);
    } catch (error) {
      throw storeFailure(error);
    }
    complete.add(name);
  });
  return path;
}

/** Of `ids`, those whose bytes exist: on this machine or in the bucket. */
export async function keptUnits(ctx: Ctx, folder: Unit["folder"], ids: readonly string[]): Promise<Set<string>> {
  const kept = new Set(ids.filter((id) => existsSync(ctx.files.path(folder, id))));
  if (!ctx.bucket) return kept;
  const others = ids.filter((id) => !kept.has(id)).map((id) => nameOf({ folder, id }));
  for (let at = 0; at < others.length; at += BATCH) {
    const rows = await ctx.db
      .selectDistinct({ unit: storedObject.unit })
      .from(storedObject)
      .where(inArray(storedObject.unit, others.slice(at, at + BATCH)));
    for (const { unit } of rows) kept.add(unit.slice(folder.length + 1));
  }
  return kept;
}

/** Units that jobs which have not ended read by their path. */
async function unitsOfJobs(ctx: Ctx): Promise<Set<string>> {
  const rows = await ctx.db
    .select({ spec: job.spec })
    .from(job)
    .where(notInArray(job.state, [...FINAL_STATES]));
  const names = rows.flatMap(({ spec }) => [...JSON.stringify(spec).matchAll(/"artifact_id":"([^"]+)"/g)]);
  return new Set(names.map(([, id]) => `artifacts/${id}`));
}

interface Copy {
  unit: string;
  rows: StoredRow[];
  bytes: number;
}

/** Copies on this machine of what is in the bucket. */
async function copiesOf(ctx: Ctx): Promise<Copy[]> {
  const copies: Copy[] = [];
  for (const folder of UNIT_FOLDERS) {
    const names = await readdir(ctx.files.path(folder));
    for (let at = 0; at < names.length; at += BATCH) {
      const units = names.slice(at, at + BATCH).map((name) => `${folder}/${name}`);
      const rows = await ctx.db.select().from(storedObject).where(inArray(storedObject.unit, units));
      const byUnit = Map.groupBy(rows, ({ unit }) => unit);
      for (const [unit, own] of byUnit)
        copies.push({ unit, rows: own, bytes: own.reduce((sum, { bytes }) => sum + bytes, 0) });
    }
  }
  return copies;
}

/**
 * Removes copies, the longest unused first, until they take at most `limit` bytes. What is in use, and what the bucket
 * does not have, stays.
 * @returns bytes that are left
 */
export async function trimCache(ctx: Ctx, limit = ctx.config.s3_cache_bytes): Promise<number> {
  if (!ctx.bucket) return 0;
  const copies = await copiesOf(ctx);
  let bytes = copies.reduce((sum, one) => sum + one.bytes, 0);
  if (bytes <= limit) return bytes;
  const busy = await unitsOfJobs(ctx);
  const { complete, usedAt } = localCopies(ctx);
  const lastUse = ({ unit }: Copy) => usedAt.get(unit) ?? Number.NEGATIVE_INFINITY;
  const now = ctx.clock.monotonic();
  for (const copy of copies.sort((a, b) => lastUse(a) - lastUse(b))) {
    if (bytes <= limit) break;
    if (busy.has(copy.unit)) continue;
    await unitTurns(ctx)(copy.unit, async () => {
      if (now - lastUse(copy) < IDLE_MS) return;
      complete.delete(copy.unit);
      usedAt.delete(copy.unit);
      bytes -= await dropLocal(ctx, copy.rows);
      // Only an empty folder: files that the bucket does not have stay.
      const [folder = "", id = ""] = copy.unit.split("/");
      await rmdir(ctx.files.path(folder as Unit["folder"], id)).catch(() => {});
    });
  }
  return bytes;
}

/** @throws AppError `disk_full` when even an empty cache leaves too little space */
async function makeRoom(ctx: Ctx, bytes: number): Promise<void> {
  if (bytes === 0) return;
  try {
    requireDisk(ctx.files.root, ctx.config.disk_reserve_bytes, bytes);
  } catch {
    await trimCache(ctx, 0);
    requireDisk(ctx.files.root, ctx.config.disk_reserve_bytes, bytes);
  }
}

/** A file of a unit that is read once, in order, wherever it is. */
export interface UnitFile {
  bytes: number;
  /** The bytes; those of the bucket are checked by their hash at the end. */
  open(): AsyncGenerator<Uint8Array>;
}

/** A file of a unit without a copy on this machine; null when it is nowhere. */
export async function unitFile(ctx: Ctx, unit: Unit, path: string): Promise<UnitFile | null> {
  const key = localKey(nameOf(unit), path);
  const local = await ctx.disk.stat(key);
  const row = ctx.bucket ? (await storedRows(ctx, nameOf(unit))).find((one) => one.path === path) : undefined;
  const bytes = local?.bytes ?? row?.bytes;
  if (bytes === undefined) return null;
  return {
    bytes,
    async *open() {
      if (!row || !ctx.bucket || (await ctx.disk.stat(key))) {
        yield* ctx.disk.get(key, undefined, ctx.signal);
        return;
      }
      const source = ctx.bucket.get(row.key, undefined, ctx.signal);
      yield* hashed(source, (found) => requireSame(row.key, found, row));
    },
  };
}
