/**
 * The disk reserve: user data is refused when the disk has less free space than the reserve, so that the database can
 * always write.
 */
import { statfsSync } from "node:fs";
import { AppError } from "../../errors.ts";

/** A stream is checked again at least every this many bytes. */
const CHECK_EVERY = 4 * 1024 ** 2;
const FULL = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

/** Bytes that an unprivileged process can still write to the file system of `path`. */
export function freeBytes(path: string): number {
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}

const mebibytes = (bytes: number) => `${Math.ceil(bytes / 1024 ** 2).toLocaleString("en-US")} MiB`;

/**
 * Refuses a write that would leave less than the reserve.
 * @param path an existing path on the file system that is written to
 * @param reserve bytes that must stay free (setting `disk_reserve_bytes`); 0 = none
 * @param bytes size of the write, as far as known
 * @throws AppError `disk_full` (507)
 */
export function requireDisk(path: string, reserve: number, bytes = 0): void {
  const free = freeBytes(path);
  if (free - bytes >= reserve) return;
  throw new AppError(
    "no_space",
    "disk_full",
    `The server's disk is almost full: ${mebibytes(Math.max(0, free))} are free${bytes > 0 ? `, this needs ${mebibytes(bytes)}` : ""}, and ${mebibytes(reserve)} are kept for the database. Nothing was stored. Free some space (files, models or checkpoints that are no longer needed) and try again.`,
  );
}

/**
 * The same check for a stream of unknown length: call it with the size of each block before the block is written.
 * @returns a function that throws AppError `disk_full` (507)
 */
export function diskGuard(path: string, reserve: number): (bytes: number) => void {
  /** Bytes that may be written before the next check. */
  let allowed = 0;
  return (bytes) => {
    if (bytes > allowed) {
      requireDisk(path, reserve, bytes);
      allowed = Math.max(bytes, Math.min(CHECK_EVERY, freeBytes(path) - reserve));
    }
    allowed -= bytes;
  };
}

/** The error of a failed write; a full disk is reported as such, because the user can free space. */
export function writeFailure(error: unknown): unknown {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (!FULL.has(code)) return error;
  return new AppError(
    "no_space",
    "disk_full",
    "The server's disk is full. Nothing was stored. Free some space on the server and try again.",
    { cause: error },
  );
}
