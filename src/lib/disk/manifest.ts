/** File lists of models and artifacts: hashes of files and lists, and the check of a directory against its list. */
import { createReadStream, lstatSync } from "node:fs";
import { join } from "node:path";
import { isSafeSegment } from "./files.ts";

/** A file of a model or artifact. `size` in bytes, `sha256` in hex. */
export interface ListedFile {
  path: string;
  size: number;
  sha256: string;
}

/** True for a relative path of plain segments: `a/b.json`, never `../x` or `/x`. */
export function isSafePath(path: string): boolean {
  const segments = path.split("/");
  return segments.length <= 8 && segments.every(isSafeSegment);
}

/** Hex sha256 of a file, read as a stream. */
export async function sha256File(path: string): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 20 })) hasher.update(piece as Buffer);
  return hasher.digest("hex");
}

/**
 * One hash for a whole list: sha256 over lines `sha256 size path`, sorted by path. The trainer computes the same hash.
 */
export function manifestHash(files: readonly ListedFile[]): string {
  const sorted = [...files].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  const hasher = new Bun.CryptoHasher("sha256");
  for (const file of sorted) hasher.update(`${file.sha256} ${file.size} ${file.path}\n`);
  return hasher.digest("hex");
}

/**
 * The first difference between `directory` and its list, as text; null when all files match. Sizes are checked first,
 * because they are cheap.
 */
export async function listProblem(directory: string, files: readonly ListedFile[]): Promise<string | null> {
  for (const file of files) {
    if (!isSafePath(file.path)) return `${file.path}: not a plain path`;
    const found = lstatSync(join(directory, file.path), { throwIfNoEntry: false });
    if (!found?.isFile()) return `${file.path}: missing`;
    if (found.size !== file.size) return `${file.path}: ${found.size} bytes long instead of ${file.size}`;
  }
  for (const file of files)
    if ((await sha256File(join(directory, file.path))) !== file.sha256) return `${file.path}: its content changed`;
  return null;
}
