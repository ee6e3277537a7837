/** Writes request bodies to disk with a size limit and hashes them on the way. An incomplete body leaves no file. */
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { diskGuard, writeFailure } from "../../lib/disk/reserve.ts";
import { randomChars } from "../../lib/ids.ts";
import { withoutHidden } from "../../lib/text/names.ts";
import { cutText } from "../../lib/text/well-formed.ts";

export type Body = ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>;

/** A complete body in the folder for temporary files. */
export interface Received {
  path: string;
  bytes: number;
  /** In hex. */
  sha256: string;
  md5: string | null;
}

const BLOCK = 1 << 20;

/** The error for a body over the limit. `field` is its name in the request. */
export function tooLarge(limit: number, field: string): AppError {
  return new AppError(
    "too_large",
    "file_too_large",
    field === "data"
      ? `A part can have at most ${limit} bytes.`
      : `The file exceeds the limit of ${limit} bytes. Split it, or ask the administrator to raise max_upload_bytes.`,
    { param: field },
  );
}

async function* chunks(body: Body): AsyncGenerator<Uint8Array> {
  if (Symbol.asyncIterator in body) {
    yield* body as AsyncIterable<Uint8Array>;
    return;
  }
  const reader = (body as ReadableStream<Uint8Array>).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

/**
 * Writes a body to a temporary file.
 * @param limit maximum size in bytes
 * @throws AppError `file_too_large`, `disk_full`, `upload_interrupted`, after deleting the file
 */
export async function receive(
  ctx: Ctx,
  body: Body,
  limit: number,
  options: { md5?: boolean; field?: string } = {},
): Promise<Received> {
  const path = ctx.files.path("tmp", `body-${randomChars(16)}`);
  const sha256 = new Bun.CryptoHasher("sha256");
  const md5 = options.md5 ? new Bun.CryptoHasher("md5") : null;
  const block = Buffer.allocUnsafe(BLOCK);
  const guard = diskGuard(ctx.files.path("tmp"), ctx.config.disk_reserve_bytes);
  let used = 0;
  let bytes = 0;
  try {
    const file = await open(path, "wx", 0o600);
    try {
      const flush = async () => {
        guard(used);
        const full = block.subarray(0, used);
        sha256.update(full);
        md5?.update(full);
        for (let at = 0; at < used; ) at += (await file.write(full, at, used - at)).bytesWritten;
        used = 0;
      };
      for await (const chunk of chunks(body)) {
        bytes += chunk.length;
        if (bytes > limit) throw tooLarge(limit, options.field ?? "file");
        for (let at = 0; at < chunk.length; ) {
          const piece = chunk.subarray(at, at + BLOCK - used);
          block.set(piece, used);
          used += piece.length;
          at += piece.length;
          if (used === BLOCK) await flush();
        }
      }
      await flush();
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    await rm(path, { force: true });
    throw interrupted(writeFailure(error));
  }
  return { path, bytes, sha256: sha256.digest("hex"), md5: md5?.digest("hex") ?? null };
}

/** The error for an upload during which the client disconnected. */
function interrupted(error: unknown): unknown {
  const name = error instanceof Error ? error.name : "";
  if (name !== "AbortError" && !(error instanceof TypeError)) return error;
  return new AppError("invalid", "upload_interrupted", "The upload ended too early. Send the file again.", {
    cause: error,
  });
}

/** Moves a received file to its final path, durably: after a power failure it is complete or absent. */
export async function settleFile(from: string, to: string): Promise<void> {
  await rename(from, to);
  const folder = await open(dirname(to), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** The file name of a client for display: without path and hidden characters, at most 255 characters. */
export function cleanFilename(name: string): string {
  const last = name.split(/[/\\]/).at(-1) ?? "";
  return cutText(withoutHidden(last).trim(), 255) || "upload";
}
