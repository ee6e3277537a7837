/** Writes archives in the background. One that a restart interrupted starts over; finished ones are deleted in time. */
import { existsSync } from "node:fs";
import { readdir, rename, rm } from "node:fs/promises";
import { and, asc, eq, inArray, lte, notInArray } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Ctx, perContext, systemActor } from "../../ctx.ts";
import { archive } from "../../db/schema/archives.ts";
import { AppError } from "../../errors.ts";
import { workQueue } from "../../lib/background/work-queue.ts";
import { emitAll } from "../../lib/bus.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { requireDisk, writeFailure } from "../../lib/disk/reserve.ts";
import { recordEvent } from "../../notices/events/store.ts";
import { dropCopy, dropUnit, keepUnit } from "../../objects/keep.ts";
import type { Unit } from "../../objects/units.ts";
import { type ArchiveRow, KEEP_DAYS } from "./model.ts";
import { writeArchive } from "./write.ts";

const PROGRESS_MS = 500;
const EXPIRE_EVERY_MS = 600_000;
const PART = ".part";

export const OPEN = ["waiting", "running"] as const;

async function nextArchive(ctx: Ctx, running: string[]): Promise<ArchiveRow | null> {
  const [row] = await ctx.db
    .select()
    .from(archive)
    .where(and(inArray(archive.status, OPEN), notInArray(archive.id, running)))
    .orderBy(asc(archive.createdAt))
    .limit(1);
  return row ?? null;
}

/** The archives that wait and are written, one at a time. */
export const archiveQueue = perContext((ctx) =>
  workQueue<ArchiveRow>(ctx, {
    what: "archives to write",
    atOnce: 1,
    next: (running) => nextArchive(ctx, running),
    run: (row, signal) => carryOut(ctx, row, signal),
  }),
);

export const archiveUnit = (id: string): Unit => ({ folder: "archives", id });

export const announceArchive = (ctx: Ctx, row: ArchiveRow) =>
  ctx.bus.emit("archive.changed", { org: row.org, archiveId: row.id });

/** Changes an unfinished archive. @returns whether it still was unfinished */
async function update(ctx: Ctx, row: ArchiveRow, values: Partial<ArchiveRow>): Promise<boolean> {
  const unfinished = and(eq(archive.id, row.id), inArray(archive.status, OPEN));
  const changed = await ctx.write((tx) =>
    tx.update(archive).set(values).where(unfinished).returning({ id: archive.id }),
  );
  announceArchive(ctx, row);
  return changed.length > 0;
}

/** Ends an archive, and notifies who asked for it. */
async function end(ctx: Ctx, row: ArchiveRow, values: Partial<ArchiveRow> & { status: "done" | "failed" }) {
  const done = values.status === "done";
  const of = row.scope === "user" ? "your data" : "your team";
  const message = await ctx.write(async (tx) => {
    const now = ctx.clock.now();
    const expiresAt = done ? now + KEEP_DAYS * DAY_MS : null;
    const unfinished = and(eq(archive.id, row.id), inArray(archive.status, OPEN));
    const [ended] = await tx
      .update(archive)
      .set({ ...values, finishedAt: now, expiresAt })
      .where(unfinished)
      .returning();
    if (!ended) return null;
    const detail = done ? { bytes: ended.bytes, sha256: ended.sha256 } : { error: ended.error };
    await audit(tx, ctx, systemActor(row.org), done ? "archive.finish" : "archive.fail", row.id, detail);
    return recordEvent(tx, ctx, {
      org: row.org,
      type: done ? "archive.succeeded" : "archive.failed",
      subject: row.id,
      userId: row.createdBy,
      title: done ? `The archive of ${of} is ready` : `The archive of ${of} failed`,
      body: done ? `It can be downloaded for ${KEEP_DAYS} days.` : (values.error ?? ""),
      path: row.scope === "user" ? "/settings/data" : "/team/data",
    });
  });
  announceArchive(ctx, row);
  if (message) emitAll(ctx.bus, [message]);
  return message !== null;
}

async function carryOut(ctx: Ctx, row: ArchiveRow, signal: AbortSignal): Promise<void> {
  const unit = archiveUnit(row.id);
  const path = ctx.files.path(unit.folder, unit.id);
  const part = path + PART;
  try {
    if (!(await update(ctx, row, { status: "running", bytesDone: 0 }))) return;
    let savedAt = Number.NEGATIVE_INFINITY;
    const written = await writeArchive(ctx, part, {
      subject: { scope: row.scope, id: row.scope === "user" ? row.createdBy : row.org },
      checkpoints: row.checkpoints,
      signal,
      onTotal: async (bytesTotal) => {
        requireDisk(ctx.files.path("archives"), ctx.config.disk_reserve_bytes, bytesTotal);
        await update(ctx, row, { bytesTotal });
      },
      onBytes: (bytesDone) => {
        if (ctx.clock.monotonic() - savedAt < PROGRESS_MS) return;
        savedAt = ctx.clock.monotonic();
        void update(ctx, row, { bytesDone }).catch(() => {});
      },
    });
    await rename(part, path);
    await keepUnit(ctx, { ...unit, org: row.org }, new Map([["", written.sha256]]));
    await dropCopy(ctx, unit);
    if (!(await end(ctx, row, { status: "done", ...written }))) await dropUnit(ctx, unit);
  } catch (cause) {
    // Canceled, or the server is stopping: then the row stays as it is, and the next start writes it again.
    if (signal.aborted || ctx.signal.aborted) return;
    const failure = writeFailure(cause);
    const known = failure instanceof AppError && failure.kind !== "internal";
    if (!known) ctx.log("error", "archive failed", { archive: row.id, cause });
    const error = known ? failure.message : "The archive could not be written; the details are in the server log.";
    await end(ctx, row, { status: "failed", error });
    await dropUnit(ctx, unit);
  } finally {
    await rm(part, { force: true });
  }
}

/** Deletes the files of archives whose time is over, and files without an archive. */
export async function expireArchives(ctx: Ctx): Promise<void> {
  const old = and(eq(archive.status, "done"), lte(archive.expiresAt, ctx.clock.now()));
  const expired = await ctx.write((tx) => tx.update(archive).set({ status: "expired" }).where(old).returning());
  for (const row of expired) {
    announceArchive(ctx, row);
    await dropUnit(ctx, archiveUnit(row.id));
  }
  const folder = ctx.files.path("archives");
  const names = existsSync(folder) ? await readdir(folder) : [];
  const ids = names.map((name) => name.replace(PART, ""));
  const kept = await ctx.db
    .select({ id: archive.id })
    .from(archive)
    .where(and(inArray(archive.id, ids), inArray(archive.status, [...OPEN, "done"])));
  const known = new Set(kept.map(({ id }) => id));
  for (const name of names)
    if (!known.has(name.replace(PART, ""))) await rm(ctx.files.path("archives", name), { force: true });
}

/** Continues archives after a start, and deletes old ones in time. @returns a function that stops it */
export function startArchives(ctx: Ctx): () => void {
  const expire = () =>
    void expireArchives(ctx).catch((cause) => {
      if (!ctx.signal.aborted) ctx.log("error", "old archives were not deleted", { cause });
    });
  archiveQueue(ctx).kick();
  expire();
  const timer = setInterval(expire, EXPIRE_EVERY_MS);
  return () => clearInterval(timer);
}
