/** Removes access of other users of this machine to files and directories, whatever their modes were. */
import { chmodSync, lstatSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { AppError } from "../../errors.ts";

/** Permissions of the group and of others. */
const OTHERS = 0o077;

/** True when other users have any permission on `path`. */
export function isOpen(path: string): boolean {
  return (statSync(path).mode & OTHERS) !== 0;
}

/**
 * Removes all permissions of other users on `path`.
 * @returns whether it is private now; false when it belongs to another user, or on a file system without modes
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
 * Makes a data directory and its direct contents private, also when it existed with other modes. Links are not changed.
 * @throws AppError `data_dir_open` when the directory cannot be made private, because it belongs to another user
 */
export function makePrivate(dir: string): void {
  if (!closeToOthers(dir))
    throw new AppError(
      "forbidden",
      "data_dir_open",
      `Other users of this machine can read ${dir}, and this user cannot change that: the directory belongs to another user, or its file system has no modes. It will contain keys and training data. Run chown on it, or choose another with --data (a directory inside it works).`,
    );
  for (const name of readdirSync(dir)) {
    const path = join(dir, name);
    if (!lstatSync(path).isSymbolicLink()) closeToOthers(path);
  }
}
