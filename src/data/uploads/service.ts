/**
 * Uploads in parts: parts arrive in any order and in parallel. The client gives their order at the end, and they become
 * one file.
 */
import { createReadStream } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { and, eq, inArray, lte, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { requireQuota } from "../../accounts/quotas/service.ts";
import { type Actor, type Ctx, perContext } from "../../ctx.ts";
import { file, upload, uploadPart } from "../../db/schema/datasets.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import type { FileRow } from "../files/model.ts";
import { keepFile, requirePurpose } from "../files/service.ts";
import { cleanFilename, type Received, receive } from "../storage/receive.ts";
import type { PartRow, UploadRow } from "./model.ts";

export const MAX_PART_BYTES = 64 * 1024 ** 2;
const MAX_PARTS = 10_000;
const LIFETIME_MS = 3_600_000;

/** Uploads that are being completed, by id: a second request for the same one waits for the first. */
const completingOf = perContext(() => new Map<string, Promise<unknown>>());

/**
 * Starts an upload. Its declared bytes count as stored until it is completed, canceled or an hour old.
 * @throws AppError `invalid_purpose`, `file_too_large`, `quota_exceeded`
 */
export async function createUpload(
  ctx: Ctx,
  actor: Actor,
  given: { filename: string; purpose: string; bytes: number; mimeType: string; expiresAfterS?: number | null },
): Promise<UploadRow> {
  requirePurpose(given.purpose);
  if (given.bytes > ctx.config.max_upload_bytes)
    throw new AppError(
      "too_large",
      "file_too_large",
      `${given.bytes} bytes exceed the limit of ${ctx.config.max_upload_bytes} bytes. Split the file, or ask the administrator to raise max_upload_bytes.`,
      { param: "bytes" },
    );
  const now = ctx.clock.now();
  const row: UploadRow = {
    id: newId("upload"),
    org: actor.org,
    filename: cleanFilename(given.filename),
    purpose: given.purpose,
    bytes: given.bytes,
    mimeType: given.mimeType,
    status: "pending",
    fileExpiresAfterS: given.expiresAfterS ?? null,
    fileId: null,
    createdBy: actor.userId,
    createdAt: now,
    expiresAt: now + LIFETIME_MS,
  };
  await ctx.write(async (tx) => {
    await tx.insert(upload).values(row);
    await audit(tx, ctx, actor, "upload.create", row.id, { filename: row.filename, bytes: row.bytes });
    await requireQuota(tx, ctx, actor, "pending_uploads", "bytes");
  });
  return row;
}

async function getUpload(ctx: Ctx, actor: Actor, id: string): Promise<UploadRow> {
  const [row] = await ctx.db
    .select()
    .from(upload)
    .where(and(eq(upload.id, id), eq(upload.org, actor.org)));
  if (!row) throw notFound("upload", id);
  return row;
}

/** An upload that still accepts parts. @throws AppError `upload_not_pending` */
async function pendingUpload(ctx: Ctx, actor: Actor, id: string): Promise<UploadRow> {
  const row = await getUpload(ctx, actor, id);
  const expired = row.status === "pending" && row.expiresAt <= ctx.clock.now();
  if (expired) await endUploads(ctx, [row.id], "expired");
  if (expired || row.status !== "pending")
    throw new AppError(
      "invalid",
      "upload_not_pending",
      `Upload ${id} is ${expired ? "expired" : row.status} and accepts no more parts. Create a new upload.`,
    );
  return row;
}

/** Adds a received body as one part. @throws AppError `part_empty`, `too_many_parts`, `upload_not_pending` */
export async function addPart(ctx: Ctx, actor: Actor, id: string, received: Received): Promise<PartRow> {
  const of = await pendingUpload(ctx, actor, id);
  const row: PartRow = { id: newId("part"), uploadId: id, bytes: received.bytes, createdAt: ctx.clock.now() };
  try {
    if (received.bytes === 0) throw new AppError("invalid", "part_empty", "The part is empty.", { param: "data" });
    await mkdir(ctx.files.path("uploads", id), { recursive: true, mode: 0o700 });
    await rename(received.path, ctx.files.path("uploads", id, row.id));
    await ctx.write(async (tx) => {
      const [sum] = await tx
        .select({ parts: sql<number>`count(*)`, bytes: sql<number>`coalesce(sum(${uploadPart.bytes}), 0)` })
        .from(uploadPart)
        .where(eq(uploadPart.uploadId, id));
      // A part may be sent twice, but the stored bytes must stay bounded.
      if ((sum?.parts ?? 0) >= MAX_PARTS || (sum?.bytes ?? 0) + row.bytes > of.bytes * 2 + MAX_PART_BYTES)
        throw new AppError("invalid", "too_many_parts", "The parts exceed the declared bytes of the upload by far.", {
          param: "data",
        });
      const alive = await tx
        .update(upload)
        .set({ status: "pending" })
        .where(and(eq(upload.id, id), eq(upload.status, "pending")))
        .returning({ id: upload.id });
      if (alive.length === 0)
        throw new AppError("invalid", "upload_not_pending", `Upload ${id} ended while this part arrived.`);
      await tx.insert(uploadPart).values(row);
    });
  } catch (error) {
    await rm(ctx.files.path("uploads", id, row.id), { force: true });
    throw error;
  }
  return row;
}

/**
 * Joins the parts to a file. A repeated request returns the same file.
 * @throws AppError `bytes_mismatch`, `md5_mismatch`, `unknown_part`
 */
export async function completeUpload(
  ctx: Ctx,
  actor: Actor,
  id: string,
  given: { partIds: string[]; md5?: string | null },
): Promise<{ upload: UploadRow; file: FileRow }> {
  const completing = completingOf(ctx);
  const before = completing.get(id) ?? Promise.resolve();
  const work = before
    .catch(() => {})
    .then(async () => (await completed(ctx, actor, id)) ?? assemble(ctx, actor, id, given));
  completing.set(id, work);
  try {
    return await work;
  } finally {
    if (completing.get(id) === work) completing.delete(id);
  }
}

async function completed(ctx: Ctx, actor: Actor, id: string) {
  const row = await getUpload(ctx, actor, id);
  if (row.status !== "completed" || !row.fileId) return null;
  const [found] = await ctx.db.select().from(file).where(eq(file.id, row.fileId));
  return found ? { upload: row, file: found } : null;
}

/** The parts in the order of `partIds`. @throws AppError `unknown_part`, `part_twice`, `bytes_mismatch` */
async function orderedParts(ctx: Ctx, of: UploadRow, partIds: string[]): Promise<PartRow[]> {
  const parts = await ctx.db
    .select()
    .from(uploadPart)
    .where(and(eq(uploadPart.uploadId, of.id), inArray(uploadPart.id, partIds)));
  const known = new Map(parts.map((part) => [part.id, part]));
  const order = partIds.map((partId) => {
    const part = known.get(partId);
    if (!part)
      throw new AppError("invalid", "unknown_part", `The upload has no part '${partId.slice(0, 60)}'.`, {
        param: "part_ids",
      });
    return part;
  });
  if (known.size !== order.length)
    throw new AppError("invalid", "part_twice", "A part is listed twice.", { param: "part_ids" });
  const bytes = order.reduce((sum, part) => sum + part.bytes, 0);
  if (bytes !== of.bytes)
    throw new AppError(
      "invalid",
      "bytes_mismatch",
      `The parts have ${bytes} bytes, but the upload was created with ${of.bytes}. Send the missing parts, or create a new upload with the correct size.`,
      { param: "part_ids" },
    );
  return order;
}

async function assemble(ctx: Ctx, actor: Actor, id: string, given: { partIds: string[]; md5?: string | null }) {
  const of = await pendingUpload(ctx, actor, id);
  const order = await orderedParts(ctx, of, given.partIds);
  const received = await receive(ctx, joined(ctx, order), of.bytes, { md5: true });
  if (given.md5 && received.md5 !== given.md5.toLowerCase()) {
    await rm(received.path, { force: true });
    throw new AppError(
      "invalid",
      "md5_mismatch",
      `The bytes received have the MD5 checksum ${received.md5}, not ${given.md5}. Check the order of the parts, or send them again.`,
      { param: "md5" },
    );
  }
  const { file: created } = await keepFile(
    ctx,
    actor,
    received,
    { filename: of.filename, purpose: of.purpose, expiresAfterS: of.fileExpiresAfterS },
    {},
    async (tx, fileId) => {
      await tx.update(upload).set({ status: "completed", fileId }).where(eq(upload.id, id));
    },
  );
  await rm(ctx.files.path("uploads", id), { recursive: true, force: true });
  return { upload: { ...of, status: "completed" as const, fileId: created.id }, file: created };
}

async function* joined(ctx: Ctx, parts: PartRow[]): AsyncGenerator<Uint8Array> {
  for (const part of parts)
    for await (const chunk of createReadStream(ctx.files.path("uploads", part.uploadId, part.id), {
      highWaterMark: 1 << 20,
    }))
      yield chunk as Uint8Array;
}

/** Cancels a pending upload and deletes its parts. */
export async function cancelUpload(ctx: Ctx, actor: Actor, id: string): Promise<UploadRow> {
  const row = await pendingUpload(ctx, actor, id);
  await ctx.write(async (tx) => {
    await audit(tx, ctx, actor, "upload.cancel", id);
  });
  await endUploads(ctx, [id], "cancelled");
  return { ...row, status: "cancelled" };
}

async function endUploads(ctx: Ctx, ids: string[], status: "cancelled" | "expired"): Promise<void> {
  await ctx.write(async (tx) => {
    await tx
      .update(upload)
      .set({ status })
      .where(and(inArray(upload.id, ids), eq(upload.status, "pending")));
    await tx.delete(uploadPart).where(inArray(uploadPart.uploadId, ids));
  });
  for (const id of ids) await rm(ctx.files.path("uploads", id), { recursive: true, force: true });
}

/** Expires uploads after their lifetime of one hour. */
export async function expireUploads(ctx: Ctx): Promise<void> {
  const rows = await ctx.db
    .select({ id: upload.id })
    .from(upload)
    .where(and(eq(upload.status, "pending"), lte(upload.expiresAt, ctx.clock.now())))
    .limit(1000);
  const ids = rows.map((row) => row.id).filter((id) => !completingOf(ctx).has(id));
  if (ids.length > 0) await endUploads(ctx, ids, "expired");
}
