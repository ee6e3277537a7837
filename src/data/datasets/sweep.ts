/** Background work for datasets: resumes validation and token counts after a start, and deletes expired files. */
import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { and, inArray, isNull, lte } from "drizzle-orm";
import { type Ctx, systemActor } from "../../ctx.ts";
import { file } from "../../db/schema/datasets.ts";
import { AppError } from "../../errors.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { dropUnit } from "../../objects/keep.ts";
import { dropFile } from "../files/service.ts";
import { expireUploads } from "../uploads/service.ts";
import { eraseLeft } from "../validation/erase.ts";
import { removeHalfDone, validationQueue } from "../validation/service.ts";
import { resumeCounts } from "../validation/token-stats.ts";

const EVERY_MS = 600_000;
const BATCH = 500;

/** Deletes expired files. A file that an unfinished job needs is tried again in the next round. */
async function expireFiles(ctx: Ctx): Promise<void> {
  const rows = await ctx.db
    .select()
    .from(file)
    .where(and(isNull(file.deletedAt), lte(file.expiresAt, ctx.clock.now())))
    .limit(BATCH);
  for (const row of rows) {
    try {
      await dropFile(ctx, systemActor(row.org), row);
    } catch (error) {
      if (!(error instanceof AppError && error.code === "file_in_use")) throw error;
    }
  }
}

/**
 * Deletes received files without a database row, which remain when the server is killed before it records them. Files
 * younger than a day are kept.
 */
async function removeStray(ctx: Ctx): Promise<void> {
  const old = async (path: string) => {
    const found = await stat(path).catch(() => null);
    return found?.isFile() && found.mtimeMs < ctx.clock.now() - DAY_MS;
  };
  const tmp = ctx.files.path("tmp");
  for (const name of await readdir(tmp))
    if (name.startsWith("body-") && (await old(join(tmp, name)))) await rm(join(tmp, name), { force: true });
  const folder = ctx.files.path("files");
  const names = await readdir(folder);
  for (let at = 0; at < names.length; at += BATCH) {
    const some = names.slice(at, at + BATCH);
    const known = await ctx.db
      .select({ id: file.id })
      .from(file)
      .where(and(inArray(file.id, some), isNull(file.deletedAt)));
    const ids = new Set(known.map((row) => row.id));
    for (const name of some)
      if (!ids.has(name) && (await old(join(folder, name)))) await dropUnit(ctx, { folder: "files", id: name });
  }
}

/** Starts the background work. @returns a function that stops it */
export function startDatasets(ctx: Ctx): () => void {
  const report = (cause: unknown) => {
    if (!ctx.signal.aborted) ctx.log("error", "a sweep over datasets failed", { cause });
  };
  const round = async () => {
    await expireUploads(ctx);
    await expireFiles(ctx);
    await removeStray(ctx);
    await eraseLeft(ctx);
  };
  void removeHalfDone(ctx)
    .then(() => validationQueue(ctx).kick())
    .then(() => resumeCounts(ctx))
    .then(round)
    .catch(report);
  const timer = setInterval(() => void round().catch(report), EVERY_MS);
  return () => clearInterval(timer);
}
