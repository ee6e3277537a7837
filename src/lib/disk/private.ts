/** Closes files and directories to other users of this machine, whatever mode they were made with. */
import { chmodSync, lstatSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { AppError } from "../../errors.ts";

/** Rights of the group and of all others. */
const OTHERS = 0o077;

/** True when other users have some right on `path`. */
export function isOpen(path: string): boolean {
  return (statSync(path).mode & OTHERS) !== 0;
}

/**
 * Takes every right on `path` from other users. @returns whether it is closed now: it stays open when it is not ours,
 * or on a file system without modes
 */
export function closeToOthers(path: string): boolean {
  if (!isOpen(path)) return true;
  try {
    chmodSync(path, statSync(path).mode & 0o7700);
  } catch (error) {
    if (!["EPERM", "EROFS", "ENOTSUP"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
  return !isOpen(path);
}

/**
 * Makes a data directory and what lies directly in it private: also one that was there before with other modes.
 * Links are left as they are.
 * @throws AppError `data_dir_open` when the directory stays open, because it belongs to another user
 */
export function makePrivate(dir: string): void {
  if (!closeToOthers(dir))
    throw new AppError(
      "forbidden",
      "data_dir_open",
      `Other users of this machine may read ${dir}, and this user may not change that: the directory belongs to somebody else, or its file system has no modes. It would hold keys and training data. Run chown on it, or name another with --data (one inside it will do).`,
    );
  for (const name of readdirSync(dir)) {
    const path = join(dir, name);
    if (!lstatSync(path).isSymbolicLink()) closeToOthers(path);
  }
}
