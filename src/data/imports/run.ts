/** Carries out imports in the background. The table is the queue: an import that a restart interrupted continues. */
import { createWriteStream, existsSync } from "node:fs";
import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { and, asc, eq, inArray, isNotNull, lte, notInArray } from "drizzle-orm";
import { ZipFile } from "yazl";
import { notHeld } from "../../accounts/holds/service.ts";
import { requireRoom } from "../../accounts/quotas/service.ts";
import { type Ctx, memberActor, perContext } from "../../ctx.ts";
import { datasetImport } from "../../db/schema/imports.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { workQueue } from "../../lib/background/work-queue.ts";
import { type BusMessage, emitAll } from "../../lib/bus.ts";
import { sha256File } from "../../lib/disk/manifest.ts";
import { requireDisk } from "../../lib/disk/reserve.ts";
import { newId } from "../../lib/ids.ts";
import { unseal } from "../../lib/sealed.ts";
import { clean } from "../../lib/text/redact.ts";
import { recordEvent } from "../../notices/events/store.ts";
import { keepFile } from "../files/service.ts";
import { tooLarge } from "../storage/receive.ts";
import { copyPlace } from "./copy.ts";
import type { ImportRow, Source, StoredOptions } from "./model.ts";
import { placesOf } from "./places.ts";
import type { Place } from "./remote.ts";

const AT_ONCE = 2;
const PROGRESS_MS = 500;
const FOLDER = "import-";
/** A failed import keeps its credentials this long, so that it can be run again. */
const KEEP_MS = 86_400_000;
const EXPIRE_EVERY_MS = 600_000;

const folderOf = (ctx: Ctx, id: string) => ctx.files.path("tmp", FOLDER + id);

async function nextImport(ctx: Ctx, running: string[]): Promise<ImportRow | null> {
  const [row] = await ctx.db
    .select()
    .from(datasetImport)
    .where(
      and(
        inArray(datasetImport.status, ["waiting", "running"]),
        notInArray(datasetImport.id, running),
        notHeld(datasetImport),
      ),
    )
    .orderBy(asc(datasetImport.createdAt))
    .limit(1);
  return row ?? null;
}

/** The imports that wait and run. The files of a stopped import are deleted when it has stopped. */
export const importQueue = perContext((ctx) =>
  workQueue<ImportRow>(ctx, {
    what: "datasets to import",
    atOnce: AT_ONCE,
    next: (running) => nextImport(ctx, running),
    run: (row, signal) => carryOut(ctx, row, signal),
  }),
);

const unfinished = (id: string) => and(eq(datasetImport.id, id), inArray(datasetImport.status, ["waiting", "running"]));

export const announceImport = (ctx: Ctx, row: ImportRow) =>
  ctx.bus.emit("dataset.changed", { org: row.org, datasetId: row.id, versionId: null });

/** Changes the row of an unfinished import. @returns whether it still was unfinished */
export async function updateImport(ctx: Ctx, row: ImportRow, values: Partial<ImportRow>): Promise<boolean> {
  const changed = await ctx.write((tx) =>
    tx.update(datasetImport).set(values).where(unfinished(row.id)).returning({ id: datasetImport.id }),
  );
  announceImport(ctx, row);
  return changed.length > 0;
}

/** Ends an import that failed, and notifies its user. */
async function failImport(ctx: Ctx, row: ImportRow, error: string): Promise<void> {
  // The credentials stay for a retry, until they expire.
  const values = { status: "failed" as const, error, finishedAt: ctx.clock.now() };
  const message = await ctx.write(async (tx) => {
    const [failed] = await tx
      .update(datasetImport)
      .set(values)
      .where(unfinished(row.id))
      .returning({ filename: datasetImport.filename });
    if (!failed) return null;
    const of = failed.filename ? ` of ${failed.filename}` : "";
    return recordEvent(tx, ctx, {
      org: row.org,
      type: "dataset.import.failed",
      subject: row.id,
      userId: row.createdBy,
      title: `Import${of} failed`,
      body: error,
      path: "/datasets",
    });
  });
  announceImport(ctx, row);
  if (message) emitAll(ctx.bus, [message]);
}

/** The source with its credentials. */
export function sourceOf(ctx: Ctx, row: ImportRow): Source {
  const secret = row.secret ? (JSON.parse(unseal(ctx.secret, sealedIn("import", row.id), row.secret)) as object) : {};
  return { ...(row.source as Source), ...secret };
}

async function carryOut(ctx: Ctx, row: ImportRow, signal: AbortSignal): Promise<void> {
  const folder = folderOf(ctx, row.id);
  try {
    await copyAndKeep(ctx, row, folder, signal);
  } catch (cause) {
    // The server is stopping: the row stays as it is, and the next start continues it.
    if (ctx.signal.aborted) return;
    if (!signal.aborted) {
      const known = cause instanceof AppError && cause.kind !== "internal";
      if (!known) ctx.log("error", "import failed", { import: row.id, cause });
      const error = known ? cause.message : `The import failed: ${clean(String(cause)).slice(0, 300)}`;
      await failImport(ctx, row, error);
    }
  }
  await rm(folder, { recursive: true, force: true });
}

/** One file of several: a ZIP archive without compression. @returns its path */
async function packed(ctx: Ctx, path: string, places: Place[], files: string[], bytes: number): Promise<string> {
  requireDisk(ctx.files.path("tmp"), ctx.config.disk_reserve_bytes, bytes);
  const archive = new ZipFile();
  for (const [index, file] of files.entries())
    archive.addFile(file, `${index}-${places[index]?.name ?? ""}`, { compress: false });
  archive.end();
  await pipeline(archive.outputStream, createWriteStream(path, { mode: 0o600 }));
  return path;
}

async function copyAndKeep(ctx: Ctx, row: ImportRow, folder: string, signal: AbortSignal): Promise<void> {
  const actor = memberActor({ userId: row.createdBy, org: row.org }, "system");
  const places = await placesOf(ctx, sourceOf(ctx, row), signal);
  const [first] = places;
  if (!first) throw new AppError("not_found", "import_not_found", "There is no file to import.");
  const total = places.reduce<number | null>((sum, { size }) => (sum === null || size === null ? null : sum + size), 0);
  if (total !== null && total > ctx.config.max_upload_bytes) throw tooLarge(ctx.config.max_upload_bytes, "source");
  if (total !== null) await requireRoom(ctx, row.org, total);
  const filename = places.length > 1 ? `${first.name.replace(/[-.].*$/, "")}.zip` : first.name;
  if (!(await updateImport(ctx, row, { status: "running", filename, bytesTotal: total }))) return;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  let savedAt = 0;
  let before = 0;
  const copied: string[] = [];
  for (const [index, place] of places.entries()) {
    const part = join(folder, places.length > 1 ? `file${index}` : "file");
    const onBytes = (done: number, all: number | null) => {
      if (ctx.clock.monotonic() - savedAt < PROGRESS_MS) return;
      savedAt = ctx.clock.monotonic();
      const values = { bytesDone: before + done, bytesTotal: places.length > 1 ? total : all };
      void updateImport(ctx, row, values).catch(() => {});
    };
    await copyPlace(ctx, { place, path: part, signal, onBytes });
    before += (await stat(part)).size;
    copied.push(part);
  }
  const path = places.length > 1 ? await packed(ctx, join(folder, "file"), places, copied, before) : (copied[0] ?? "");
  const { size } = await stat(path);
  if (size === 0) throw new AppError("invalid", "file_empty", `${filename} is empty (0 bytes).`);
  const received = { path, bytes: size, sha256: await sha256File(path), md5: null };
  signal.throwIfAborted();
  // Ended in the transaction that stores the file, so that neither a restart nor a cancellation makes a second one.
  const datasetId = newId("dataset");
  let noticed: BusMessage | null = null;
  const end = async (tx: Db) => {
    const progress = { bytesDone: size, bytesTotal: size, finishedAt: ctx.clock.now() };
    const ended = await tx
      .update(datasetImport)
      .set({ status: "done", datasetId, secret: null, ...progress })
      .where(unfinished(row.id))
      .returning({ id: datasetImport.id });
    if (ended.length === 0) throw new AppError("conflict", "import_ended", "The import was canceled.");
    noticed = await recordEvent(tx, ctx, {
      org: row.org,
      type: "dataset.import.succeeded",
      subject: row.id,
      userId: row.createdBy,
      title: `Import of ${filename} finished`,
      body: "",
      path: `/datasets/${datasetId}`,
    });
  };
  const given = { filename, purpose: "fine-tune" };
  const { credentials: _credentials, ...options } = row.options as StoredOptions;
  const reading = places.length > 1 ? { ...options.reading, part: "*" } : options.reading;
  await keepFile(ctx, actor, received, given, { ...options, reading, id: datasetId }, end);
  announceImport(ctx, row);
  if (noticed) emitAll(ctx.bus, [noticed]);
}

/** Deletes copies whose import has ended, and continues the others. */
async function resumeImports(ctx: Ctx): Promise<void> {
  const tmp = ctx.files.path("tmp");
  const names = existsSync(tmp) ? (await readdir(tmp)).filter((name) => name.startsWith(FOLDER)) : [];
  const ids = names.map((name) => name.slice(FOLDER.length));
  const open = await ctx.db
    .select({ id: datasetImport.id })
    .from(datasetImport)
    .where(and(inArray(datasetImport.id, ids), inArray(datasetImport.status, ["waiting", "running"])));
  const known = new Set(open.map(({ id }) => id));
  for (const id of ids) if (!known.has(id)) await rm(folderOf(ctx, id), { recursive: true, force: true });
  importQueue(ctx).kick();
}

/** Deletes the credentials of imports that failed `KEEP_MS` ago. */
export async function expireCredentials(ctx: Ctx): Promise<void> {
  const old = lte(datasetImport.finishedAt, ctx.clock.now() - KEEP_MS);
  await ctx.write((tx) =>
    tx
      .update(datasetImport)
      .set({ secret: null })
      .where(and(eq(datasetImport.status, "failed"), isNotNull(datasetImport.secret), old)),
  );
}

/**
 * Continues imports after a start, and deletes credentials of failed ones in time.
 * @returns a function that stops it; running imports stop with the context
 */
export function startImports(ctx: Ctx): () => void {
  const failed = (what: string) => (cause: unknown) => {
    if (!ctx.signal.aborted) ctx.log("error", what, { cause });
  };
  const expire = () => void expireCredentials(ctx).catch(failed("credentials of failed imports not deleted"));
  resumeImports(ctx).catch(failed("imports could not be continued"));
  expire();
  const timer = setInterval(expire, EXPIRE_EVERY_MS);
  const mayRun = async (ids: string[]) => {
    const rows = await ctx.db
      .select({ id: datasetImport.id })
      .from(datasetImport)
      .where(and(inArray(datasetImport.id, ids), notHeld(datasetImport)));
    return rows.map(({ id }) => id);
  };
  const off = ctx.bus.on("hold.changed", () => {
    importQueue(ctx).review(mayRun).catch(failed("imports of a suspended account could not be stopped"));
  });
  return () => {
    off();
    clearInterval(timer);
  };
}
