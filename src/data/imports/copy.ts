/** Copies one file of an import to disk. A copy that broke off continues where it ended, also after a restart. */
import { createReadStream, readFileSync, statSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { sha256File } from "../../lib/disk/manifest.ts";
import { diskGuard, requireDisk } from "../../lib/disk/reserve.ts";
import { type Reply, saveBody } from "../../lib/net/download.ts";
import { tooLarge } from "../storage/receive.ts";
import { type Place, replyError } from "./remote.ts";

/** Tries without a new byte before a copy fails. */
const MOST_TRIES = 3;
const WAIT_MS = 500;

interface Copy {
  place: Place;
  path: string;
  signal: AbortSignal;
  /** Gets the bytes copied, and all bytes when they are known. */
  onBytes(done: number, total: number | null): void;
}

const sizeOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

/** The mark of the content that a partial file is of: an ETag or a date. */
const markPath = (path: string) => `${path}.mark`;
function markOf(path: string): string | null {
  try {
    return readFileSync(markPath(path), "utf8") || null;
  } catch {
    return null;
  }
}

/** A strong ETag, else the date of the last change; null when a partial file cannot be continued safely. */
function contentMark(reply: Reply): string | null {
  const tag = reply.header("etag");
  return tag && !tag.startsWith("W/") ? tag : reply.header("last-modified");
}

/** All bytes of the file by the headers of an answer that begins at `from`; null when they do not say it. */
function totalOf(reply: Reply, from: number): number | null {
  const range = /\/(\d+)$/.exec(reply.header("content-range") ?? "");
  if (range) return Number(range[1]);
  const length = reply.header("content-length");
  return length === null || reply.header("content-encoding") ? null : from + Number(length);
}

/** One request. @returns whether the file is complete */
async function tryOnce(ctx: Ctx, { place, path, signal, onBytes }: Copy): Promise<boolean> {
  const mark = markOf(path);
  let from = mark || place.sha256 ? sizeOf(path) : 0;
  if (from > 0 && from === place.size) return true;
  const range: Record<string, string> =
    from > 0 ? { range: `bytes=${from}-`, ...(mark ? { "if-range": mark } : {}) } : {};
  const reply = await place.get({ ...range, "accept-encoding": "identity" }, signal);
  if (reply.status !== 200 && reply.status !== 206) {
    await reply.discard();
    if (reply.status !== 416 || from === 0) throw replyError(new URL(place.address), reply.status);
    await rm(path, { force: true });
    return false;
  }
  if (reply.status === 200) from = 0;
  const total = totalOf(reply, from) ?? place.size;
  const limit = ctx.config.max_upload_bytes;
  if (total !== null && total > limit) {
    await reply.discard();
    throw tooLarge(limit, "source");
  }
  requireDisk(ctx.files.path("tmp"), ctx.config.disk_reserve_bytes, total === null ? 0 : total - from);
  const guard = diskGuard(ctx.files.path("tmp"), ctx.config.disk_reserve_bytes);
  writeFileSync(markPath(path), contentMark(reply) ?? "", { mode: 0o600 });
  await saveBody(reply, path, from, (chunk, received) => {
    if (received > limit) throw tooLarge(limit, "source");
    guard(chunk);
    onBytes(received, total);
  });
  return total === null || sizeOf(path) >= total;
}

/** Repeats requests as long as they bring new bytes. */
async function download(ctx: Ctx, copy: Copy): Promise<void> {
  for (let tries = 1; ; ) {
    const before = sizeOf(copy.path);
    let failure: unknown = null;
    try {
      if (await tryOnce(ctx, copy)) return;
    } catch (cause) {
      const temporary =
        !(cause instanceof AppError) || cause.code === "import_unreachable" || cause.code === "import_refused";
      if (!temporary || copy.signal.aborted) throw cause;
      failure = cause;
    }
    tries = sizeOf(copy.path) > before ? 1 : tries + 1;
    if (tries > MOST_TRIES)
      throw failure instanceof AppError
        ? failure
        : new AppError(
            "unavailable",
            "import_broken",
            `The connection to ${new URL(copy.place.address).host} broke. Import it again.`,
            { cause: failure },
          );
    await ctx.clock.sleep(WAIT_MS * (tries - 1), copy.signal);
  }
}

/** Copies a file of this machine. */
async function copyLocal(ctx: Ctx, { path, signal, onBytes }: Copy, source: string, size: number): Promise<void> {
  if (size > ctx.config.max_upload_bytes) throw tooLarge(ctx.config.max_upload_bytes, "source");
  requireDisk(ctx.files.path("tmp"), ctx.config.disk_reserve_bytes, size);
  const body = createReadStream(source, { highWaterMark: 1 << 20, signal }) as AsyncIterable<Uint8Array>;
  const reply: Reply = { status: 200, header: () => null, body, discard: async () => {} };
  await saveBody(reply, path, 0, (_, received) => {
    if (received > ctx.config.max_upload_bytes) throw tooLarge(ctx.config.max_upload_bytes, "source");
    onBytes(received, size);
  });
}

/**
 * Copies a file, and checks its hash when the place lists one.
 * @throws AppError `file_too_large`, `disk_full`, `import_*`
 */
export async function copyPlace(ctx: Ctx, copy: Copy): Promise<void> {
  const { place, path } = copy;
  if (place.path) await copyLocal(ctx, copy, place.path, place.size ?? 0);
  else await download(ctx, copy);
  await rm(markPath(path), { force: true });
  if (place.sha256 && (await sha256File(path)) !== place.sha256) {
    await rm(path, { force: true });
    throw new AppError(
      "unavailable",
      "import_broken",
      `${place.name} does not have the hash that its place lists. Import it again.`,
    );
  }
}
