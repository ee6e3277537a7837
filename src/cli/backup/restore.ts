/** `restore`: copies a backup into a data directory, after verifying every file. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { copyFile, mkdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { loadConfig } from "../../config.ts";
import { acquireLock } from "../../db/lock.ts";
import { AppError } from "../../errors.ts";
import { type BackupManifest, checkDatabase, flush } from "../../insights/installation/backup.ts";
import { listProblem } from "../../lib/disk/manifest.ts";
import { closeToOthers, makePrivate } from "../../lib/disk/private.ts";
import { requireDisk } from "../../lib/disk/reserve.ts";
import { CONFIG_OPTIONS, configFlags, EXIT, UsageError, type Verb } from "../command.ts";

/** Entries of a data directory that still counts as empty: nothing of value. */
const NOTHING = new Set(["run", "tmp", "environments", "trainer", "backups"]);

function readManifest(source: string): BackupManifest {
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

/**
 * Restores a backup into `dataDir`. With `force`, existing content is moved aside, never deleted.
 * @param reserve bytes of the disk that must stay free
 * @returns the new place of the existing content, or null
 * @throws AppError `not_a_backup`, `backup_damaged`, `target_not_empty`, `data_dir_in_use`, `data_dir_open`,
 *   `disk_full`
 */
async function restoreBackup(source: string, dataDir: string, force: boolean, reserve = 0): Promise<string | null> {
  const manifest = readManifest(source);
  const problem = await listProblem(source, manifest.files);
  if (problem)
    throw new AppError("invalid", "backup_damaged", `The backup is damaged: ${problem}. Nothing was changed.`);
  checkDatabase(join(source, "lab.db"));
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
    for (const file of manifest.files) {
      const to = join(staging, file.path);
      await mkdir(dirname(to), { recursive: true, mode: 0o700 });
      requireDisk(dataDir, reserve, file.size);
      await copyFile(join(source, file.path), to);
      closeToOthers(to);
      flush(to);
    }
    const broken = await listProblem(staging, manifest.files);
    if (broken)
      throw new AppError("internal", "copy_damaged", `The copy differs from the backup: ${broken}. Check the disk.`);
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

export const restore: Verb = {
  name: "restore",
  summary: "Restores a backup into a data directory, after verifying every file.",
  words: "DIR",
  options: {
    data: CONFIG_OPTIONS.data,
    force: { help: "move the content of the data directory aside (into its folder backups) and continue" },
  },
  notes: "Refused (exit code 3) while a server uses the directory, and when it is not empty without --force.",
  async run(args) {
    const source = args.words[0];
    if (!source) throw new UsageError("Give the directory of the backup.");
    const config = loadConfig(configFlags(args));
    const aside = await restoreBackup(resolve(source), config.data_dir, args.on("force"), config.disk_reserve_bytes);
    if (aside) process.stdout.write(`Previous content: ${aside}\n`);
    process.stdout.write(
      `Restored into ${config.data_dir}. Start it with: finetune-lab serve --data ${config.data_dir}\n`,
    );
    return EXIT.ok;
  },
};
