/**
 * Paths of Unix sockets: in the data directory, or in a private directory of the temporary folder when that path is too
 * long for the system.
 */
import { lstatSync, mkdirSync, rmSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { sha256Hex } from "../ids.ts";

/** The system's limit is 108 bytes with the closing zero; macOS has 104. */
const MAX_PATH = 100;

/**
 * The path of a socket of `runDir`. It is the same at every start, so that trainers that outlive the server find it
 * again.
 * @throws Error when the private directory in the temporary folder belongs to someone else
 */
export function socketPath(runDir: string, name: string): string {
  const direct = join(runDir, name);
  if (Buffer.byteLength(direct) <= MAX_PATH) return direct;
  const { uid } = userInfo();
  const folder = join(tmpdir(), `ftl-${uid}-${sha256Hex(runDir).slice(0, 16)}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const found = lstatSync(folder);
  if (!found.isDirectory() || found.uid !== uid || (found.mode & 0o077) !== 0)
    throw new Error(`${folder} must be a directory of this user alone (mode 0700); remove it and start again`);
  return join(folder, name);
}

/** Removes the socket that a dead server left at `path`. The caller holds the server lock. */
export function clearSocket(path: string): void {
  rmSync(path, { force: true });
}
