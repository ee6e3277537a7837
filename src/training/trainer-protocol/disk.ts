/**
 * Writes uploads to disk so that a power failure, a full disk or a killed server leaves no incomplete file that looks
 * complete.
 */
import { type FileHandle, open, rename, rm, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { writeFailure } from "../../lib/disk/reserve.ts";

const codeOf = (error: unknown) => (error as { code?: string } | null)?.code ?? "";

/** Size of a file in bytes; 0 when it does not exist. */
export async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return 0;
    throw error;
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.byteLength - done, position + done);
    done += bytesWritten;
  }
}

/**
 * Writes a part at `offset`. When that fails, the file is truncated to `offset`.
 * @throws AppError `disk_full` (507)
 */
export async function writePart(path: string, offset: number, bytes: Uint8Array): Promise<void> {
  let file: FileHandle;
  try {
    file = await open(path, offset === 0 ? "w" : "r+", 0o600);
  } catch (error) {
    throw writeFailure(error);
  }
  try {
    await writeAll(file, bytes, offset);
  } catch (error) {
    await file.truncate(offset).catch(() => {});
    throw writeFailure(error);
  } finally {
    await file.close();
  }
}

async function sync(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Waits until all files and their directories are on disk. */
export async function syncTree(root: string, files: readonly { path: string }[]): Promise<void> {
  const directories = new Set([root]);
  for (const { path } of files) {
    await sync(join(root, path));
    for (let at = dirname(path); at !== "."; at = dirname(at)) directories.add(join(root, at));
  }
  for (const directory of directories) await sync(directory);
}

/**
 * Writes JSON to a temporary file, waits for the disk, then renames it.
 * @throws AppError `disk_full` (507)
 */
export async function writeManifest(path: string, value: unknown): Promise<void> {
  const draft = `${path}.tmp`;
  try {
    const file = await open(draft, "w", 0o600);
    try {
      await writeAll(file, new TextEncoder().encode(JSON.stringify(value, null, 1)), 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, path);
    await sync(dirname(path));
  } catch (error) {
    await unlink(draft).catch(() => {});
    throw writeFailure(error);
  }
}

/** Removes a file, if it exists. */
export async function removeFile(path: string): Promise<void> {
  await rm(path, { force: true });
}
