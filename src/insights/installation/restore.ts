/** Restores a backup, of a directory or of the bucket, into a data directory, after verifying every file. */
import {
  createWriteStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { copyFile, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { acquireLock } from "../../db/lock.ts";
import { AppError } from "../../errors.ts";
import { type ListedFile, listProblem } from "../../lib/disk/manifest.ts";
import { closeToOthers, makePrivate } from "../../lib/disk/private.ts";
import { requireDisk } from "../../lib/disk/reserve.ts";
import { type BackupManifest, checkDatabase, flush } from "./backup.ts";
import { type BackupBucket, fileOfBackup, filesOfBackup, findBackup } from "./bucket-backups.ts";

/** Entries of a data directory that still counts as empty: nothing of value. */
const NOTHING = new Set(["run", "tmp", "environments", "trainer", "backups"]);

export function readManifest(source: string): BackupManifest {
  const path = join(source, "backup.json");
  if (!existsSync(path))
    throw new AppError(
      "invalid",
      "not_a_backup",
      `${source} has no backup.json: it is not a backup, or an incomplete one.`,
    );
  const manifest = JSON.parse(readFileSync(path, "utf8")) as BackupManifest;
  if (manifest.format !== 1)
    throw new AppError(
      "invalid",
      "backup_newer",
      `${source} was made by a newer version (${manifest.version}). Restore it with that version.`,
    );
  return manifest;
}

/** True when this entry of the data directory has no value. */
const hasNothing = (dataDir: string, name: string) => {
  const path = join(dataDir, name);
  return NOTHING.has(name) || (statSync(path).isDirectory() && readdirSync(path).length === 0);
};

/** A backup that is known to be complete: its files, and how one is copied to a path of this machine. */
interface Complete {
  files: readonly ListedFile[];
  copy(file: ListedFile, to: string): Promise<void>;
}

/** A backup in a directory; every byte is checked before anything changes. */
export async function openDirectory(source: string): Promise<Complete> {
  const { files } = readManifest(source);
  const problem = await listProblem(source, files);
  if (problem)
    throw new AppError("invalid", "backup_damaged", `The backup is damaged: ${problem}. Nothing was changed.`);
  checkDatabase(join(source, "lab.db"));
  return { files, copy: (file, to) => copyFile(join(source, file.path), to) };
}

/** A backup in the bucket; each file is checked while it is read. */
export async function openInBucket(bucket: BackupBucket, name: string): Promise<Complete> {
  const backup = await findBackup(bucket, name);
  const files = await filesOfBackup(bucket, backup);
  const byPath = new Map(files.map((file) => [file.path, file]));
  return {
    files,
    async copy({ path }, to) {
      const file = byPath.get(path);
      if (file) await pipeline(fileOfBackup(bucket, backup, file), createWriteStream(to, { mode: 0o600 }));
    },
  };
}

/**
 * Restores a backup into `dataDir`. With `force`, existing content is moved aside, never deleted.
 * @param reserve bytes of the disk that must stay free
 * @returns the new place of the existing content, or null
 * @throws AppError `target_not_empty`, `data_dir_in_use`, `data_dir_open`, `disk_full`
 */
export async function restoreBackup(
  from: Complete,
  dataDir: string,
  force: boolean,
  reserve = 0,
): Promise<string | null> {
  mkdirSync(join(dataDir, "run"), { recursive: true, mode: 0o700 });
  makePrivate(dataDir);
  const lock = acquireLock(dataDir);
  const staging = join(dataDir, "tmp", "restore");
  try {
    const there = readdirSync(dataDir).filter((name) => name !== "backup.json" && !hasNothing(dataDir, name));
    if (there.length > 0 && !force)
      throw new AppError(
        "conflict",
        "target_not_empty",
        `${dataDir} is not empty (${there.slice(0, 3).join(", ")}). Choose an empty one with --data, or move its content aside with --force.`,
      );
    rmSync(staging, { recursive: true, force: true });
    mkdirSync(staging, { recursive: true, mode: 0o700 });
    const bytes = from.files.reduce((sum, { size }) => sum + size, 0);
    requireDisk(dataDir, reserve, bytes);
    for (const file of from.files) {
      const to = join(staging, file.path);
      await mkdir(dirname(to), { recursive: true, mode: 0o700 });
      requireDisk(dataDir, reserve, file.size);
      await from.copy(file, to);
      closeToOthers(to);
      flush(to);
    }
    const broken = await listProblem(staging, from.files);
    if (broken)
      throw new AppError("internal", "copy_damaged", `The copy differs from the backup: ${broken}. Check the disk.`);
    checkDatabase(join(staging, "lab.db"));
    return swap(dataDir, staging, there);
  } finally {
    rmSync(staging, { recursive: true, force: true });
    lock.release();
  }
}

/**
 * Moves the old content aside and the new content in, with renames only and the database last: an interruption leaves
 * either no database or a complete one.
 */
function swap(dataDir: string, staging: string, there: string[]): string | null {
  const aside = there.length > 0 ? join(dataDir, "backups", `before-restore-${Date.now()}`) : null;
  if (aside) {
    mkdirSync(aside, { recursive: true, mode: 0o700 });
    // The database first: from here on the directory has none until the new one is in place.
    const first = there.filter((name) => name.startsWith("lab.db"));
    for (const name of [...first, ...there.filter((each) => !first.includes(each))])
      renameSync(join(dataDir, name), join(aside, name));
  }
  const names = readdirSync(staging).filter((name) => name !== "lab.db");
  for (const name of [...names, "lab.db"]) {
    const to = join(dataDir, name);
    // Only an empty folder can be in the way.
    if (existsSync(to)) rmSync(to, { recursive: true });
    renameSync(join(staging, name), to);
  }
  flush(dataDir);
  return aside;
}
