/** Answers with a file: of the data directory, or generated while it is sent. */

import { existsSync } from "node:fs";
import { type AccessWatch, accessEnded, watchAccess } from "../accounts/auth/revocation.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { type TarEntry, tarOf } from "../lib/disk/tar.ts";
import type { Download } from "../objects/downloads.ts";

/**
 * The response of a download: the bytes of a file of this machine, or a redirect to the bucket. The address is valid
 * for minutes, and nobody caches it.
 * @param name the file name for the client
 * @throws AppError `bytes_missing`
 */
export function downloadResponse(from: Download, name: string, headers: Record<string, string> = {}): Response {
  if ("path" in from) return storedFile(from.path, name, headers);
  const hidden = { "cache-control": "no-store", "referrer-policy": "no-referrer" };
  return new Response(null, { status: 302, headers: { location: from.address, ...hidden } });
}

/**
 * The response with a stored file's bytes, always as a download.
 * @param path absolute path of the file
 * @param name the file name for the client
 * @throws AppError `bytes_missing` when the file is no longer on disk
 */
function storedFile(path: string, name: string, headers: Record<string, string> = {}): Response {
  requireBytes(path);
  return new Response(Bun.file(path), { headers: { ...download(name, "application/octet-stream"), ...headers } });
}

function requireBytes(path: string): void {
  if (existsSync(path)) return;
  throw new AppError(
    "gone",
    "bytes_missing",
    "The bytes of this file are no longer on the server's disk. Restore them from a backup, or create the file again.",
  );
}

const download = (name: string, type: string): Record<string, string> => ({
  "content-type": type,
  "content-disposition": `attachment; filename*=UTF-8''${encodeURIComponent(name).replaceAll("'", "%27")}`,
  "x-content-type-options": "nosniff",
});

/**
 * The response with stored files as one tar archive. It is written while it is sent, so large archives take no memory.
 * @param folders paths of folders inside, each with a slash at the end
 * @throws AppError `bytes_missing` when a file is no longer on disk
 */
export function storedArchive(name: string, folders: string[], files: readonly TarEntry[]): Response {
  for (const { path } of files) requireBytes(path);
  return streamed(name, "application/x-tar", tarOf(folders, files));
}

/** The response with rows as a download, one JSON object a line. */
export const rowsDownload = (name: string, rows: AsyncGenerator<Uint8Array>): Response =>
  streamed(name, "application/jsonl", rows);

/** Bytes that are sent together. */
const PIECE = 1 << 16;

/** A download that is written while it is sent. */
function streamed(name: string, type: string, source: AsyncGenerator<Uint8Array>): Response {
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const parts: Uint8Array[] = [];
      for (let size = 0; size < PIECE; ) {
        const { value, done } = await source.next();
        if (done) {
          if (parts.length) controller.enqueue(Buffer.concat(parts));
          controller.close();
          return;
        }
        parts.push(value);
        size += value.length;
      }
      controller.enqueue(Buffer.concat(parts));
    },
    async cancel() {
      await source.return(undefined);
    },
  });
  return new Response(body, { headers: download(name, type) });
}

const TYPES = { csv: "text/csv; charset=utf-8", jsonl: "application/x-ndjson", json: "application/json" } as const;

/**
 * A download named `NAME-DAY.FORMAT`.
 * @param pieces of text, in order; generating stops when the client disconnects
 */
export function generated(
  ctx: Ctx,
  pieces: AsyncGenerator<string>,
  name: string,
  format: keyof typeof TYPES,
): Response {
  const encoder = new TextEncoder();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { value, done } = await pieces.next();
      if (done) controller.close();
      else controller.enqueue(encoder.encode(value));
    },
    async cancel() {
      await pieces.return(undefined);
    },
  });
  const day = new Date(ctx.clock.now()).toISOString().slice(0, 10);
  const disposition = `attachment; filename="${name}-${day}.${format}"`;
  return new Response(body, { headers: { "content-type": TYPES[format], "content-disposition": disposition } });
}

/** A download that fails, instead of ending normally, when access is revoked. */
function streamOf(source: AsyncGenerator<string | Uint8Array>, access: AccessWatch): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const next = await source.next();
        await access.settled();
        if (access.ended) throw accessEnded();
        if (!next.done)
          return controller.enqueue(typeof next.value === "string" ? encoder.encode(next.value) : next.value);
        access.stop();
        controller.close();
      } catch (cause) {
        access.stop();
        controller.error(cause);
        await source.return(undefined);
      }
    },
    async cancel() {
      access.stop();
      await source.return(undefined);
    },
  });
}

/**
 * A file made of the pieces of `source`, for an actor whose access may be revoked meanwhile.
 * @param filename of ASCII letters, digits, points, `-` and `_`
 */
export function generatedFile(
  ctx: Ctx,
  actor: Actor,
  request: Request,
  { source, type, filename }: { source: AsyncGenerator<string | Uint8Array>; type: string; filename: string },
): Response {
  return new Response(streamOf(source, watchAccess(ctx, actor, request)), {
    headers: { "content-type": type, "content-disposition": `attachment; filename="${filename}"` },
  });
}
