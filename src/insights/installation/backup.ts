/** Makes a backup: a consistent, verified copy of all data of the server in a new directory. */
import { Database } from "bun:sqlite";
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { copyFile, mkdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { VERSION } from "../../assets.ts";
import { SECRET_ID } from "../../db/secret.ts";
import { AppError } from "../../errors.ts";
import { isSafePath, type ListedFile, sha256File } from "../../lib/disk/manifest.ts";
import { closeToOthers } from "../../lib/disk/private.ts";
import { requireDisk } from "../../lib/disk/reserve.ts";
import { secretId } from "../../lib/sealed.ts";
import { localKey } from "../../objects/units.ts";
import { copyRemoteDatabase, type RemoteDatabase } from "./remote-copy.ts";

/** Folders of the data directory that cannot be re-created; not environments, sockets and running trainers. */
const KEPT = ["files", "uploads", "datasets", "models", "artifacts", "plugins"] as const;
const SINGLE = ["secret", "secret.next", "config.json", "images.json"];

/** The content of `backup.json`. It is written last: a backup without it is incomplete. */
export interface BackupManifest {
  format: 1;
  version: string;
  made_at: string;
  files: ListedFile[];
}

/** Flushes a file or directory to the disk. */
export function flush(path: string): void {
  const handle = openSync(path, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/** Throws unless SQLite finds the database intact. */
export function checkDatabase(path: string): void {
  const database = new Database(path, { readonly: true });
  try {
    const rows = database.query("PRAGMA integrity_check").all() as { integrity_check: string }[];
    if (rows.length !== 1 || rows[0]?.integrity_check !== "ok")
      throw new AppError(
        "internal",
        "database_damaged",
        `${path} is damaged: ${rows[0]?.integrity_check ?? "no answer"}`,
      );
  } finally {
    database.close();
  }
}

/**
 * Copies a consistent snapshot of the database. A separate process reads it next to the server (write-ahead log), so
 * the server's event loop never waits for the copy.
 */
function copyDatabase(from: string, to: string): void {
  const database = new Database(from, { readwrite: true, create: false });
  try {
    database.run("PRAGMA busy_timeout = 10000");
    database.query("VACUUM INTO ?").run(`${to}.tmp`);
  } finally {
    database.close();
  }
  flush(`${to}.tmp`);
  checkDatabase(`${to}.tmp`);
  chmodSync(`${to}.tmp`, 0o600);
  renameSync(`${to}.tmp`, to);
}

/** What `artifact_store: s3` has in the bucket, by path in the data directory; from a copy of the database. */
export function storedIn(database: string): { path: string; bytes: number }[] {
  const copy = new Database(database, { readonly: true });
  try {
    // A database of an earlier version has no such table.
    if (!copy.query("select 1 from sqlite_master where name = 'stored_object'").get()) return [];
    const rows = copy.query("select unit, path, bytes from stored_object").all();
    return (rows as { unit: string; path: string; bytes: number }[]).map(({ unit, path, bytes }) => ({
      path: localKey(unit, path),
      bytes,
    }));
  } finally {
    copy.close();
  }
}

/** Where the database is, and where its copy goes. */
export interface Snapshot {
  dataDir: string;
  target: string;
  /** Null: in the data directory. */
  remote: RemoteDatabase | null;
  /** Bytes that must stay free. */
  reserve: number;
}

/**
 * Copies the database to `lab.db` in the directory `target`, and checks the copy.
 * @throws AppError `nothing_to_back_up`, `database_damaged`, `database_not_copied`, `disk_full`
 */
export async function copyAnyDatabase({ dataDir, target, remote, reserve }: Snapshot): Promise<void> {
  const to = join(target, "lab.db");
  if (remote) {
    await copyRemoteDatabase(remote, to);
    flush(to);
    checkDatabase(to);
    return;
  }
  requireDisk(target, reserve, statSync(requireDatabase(dataDir)).size);
  copyDatabase(join(dataDir, "lab.db"), to);
}

/** The path of the database. @throws AppError `nothing_to_back_up` */
function requireDatabase(dataDir: string): string {
  const path = join(dataDir, "lab.db");
  if (existsSync(path)) return path;
  throw new AppError(
    "not_found",
    "nothing_to_back_up",
    `There is no database in ${dataDir}. Set the data directory with --data.`,
  );
}

/** Throws unless the copied secret opens the copied database: a rotation between the two would make it worthless. */
export function requireSecret(target: string): void {
  const database = new Database(join(target, "lab.db"), { readonly: true });
  const row = database.query("select value from installation where key = ?").get(SECRET_ID) as { value: string } | null;
  database.close();
  const ids = ["secret", "secret.next"]
    .filter((name) => existsSync(join(target, name)))
    .map((name) => secretId(readFileSync(join(target, name), "utf8").trim()));
  if (row && !ids.includes(row.value))
    throw new AppError(
      "conflict",
      "secret_changed",
      "The secret was replaced while the backup was made. Make the backup again.",
    );
}

/**
 * Relative paths of the files to copy, without unfinished ones (names that begin with a dot).
 * @throws AppError `path_not_plain` for a name that `restore` would refuse
 */
export function keptFiles(dataDir: string, withModels: boolean): string[] {
  const found = SINGLE.filter((name) => existsSync(join(dataDir, name)));
  for (const folder of KEPT) {
    if (folder === "models" && !withModels) continue;
    const root = join(dataDir, folder);
    if (!existsSync(root)) continue;
    for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name).slice(dataDir.length + 1);
      if (!path.split("/").some((part) => part.startsWith("."))) found.push(path);
    }
  }
  const odd = found.find((path) => !isSafePath(path));
  if (odd === undefined) return found.sort();
  throw new AppError(
    "invalid",
    "path_not_plain",
    `${join(dataDir, odd)} cannot be restored: names have letters, digits, points, - and _, at most 8 levels deep. Rename it, or move it out of the data directory.`,
  );
}

/**
 * Creates a backup in the new directory `target`.
 * @param options `reserve`: bytes that must stay free when the backup is on the disk of the database; `remote`: the
 *   database is on a server
 * @returns its content; `bytes` in total, `gone`: files deleted during the copy, `open`: other users can read it,
 *   `elsewhere`: what only the bucket has
 * @throws AppError `backup_exists`, `nothing_to_back_up`, `database_damaged`, `database_not_copied`,
 *   `secret_changed`, `disk_full`
 */
export async function makeBackup(
  dataDir: string,
  target: string,
  options: {
    withModels?: boolean;
    reserve?: number;
    remote?: RemoteDatabase | null;
    onProgress?: (done: number, of: number) => void;
  } = {},
): Promise<{
  files: number;
  bytes: number;
  gone: string[];
  open: boolean;
  elsewhere: { objects: number; bytes: number };
}> {
  const remote = options.remote ?? null;
  if (!remote) requireDatabase(dataDir);
  if (existsSync(target) && readdirSync(target).length > 0)
    throw new AppError("conflict", "backup_exists", `${target} is not empty. Choose a new directory for each backup.`);
  mkdirSync(target, { recursive: true, mode: 0o700 });
  const open = !closeToOthers(target);
  // A backup on another disk does not use the space of the database.
  const reserve = statSync(target).dev === statSync(dataDir).dev ? (options.reserve ?? 0) : 0;
  try {
    // The database first: files are written before their rows, so every file it refers to exists.
    await copyAnyDatabase({ dataDir, target, remote, reserve });
    const paths = keptFiles(dataDir, options.withModels ?? true);
    const list: ListedFile[] = [await listed(target, "lab.db")];
    const gone: string[] = [];
    for (const [done, path] of paths.entries()) {
      options.onProgress?.(done, paths.length);
      const to = join(target, path);
      await mkdir(dirname(to), { recursive: true, mode: 0o700 });
      try {
        requireDisk(target, reserve, (await stat(join(dataDir, path))).size);
        await copyFile(join(dataDir, path), to, constants.COPYFILE_FICLONE);
        closeToOthers(to);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
        gone.push(path);
        continue;
      }
      flush(to);
      list.push(await listed(target, path));
    }
    requireSecret(target);
    const manifest: BackupManifest = { format: 1, version: VERSION, made_at: new Date().toISOString(), files: list };
    writeFileSync(join(target, "backup.json"), `${JSON.stringify(manifest, null, 1)}\n`, { mode: 0o600 });
    flush(join(target, "backup.json"));
    flush(target);
    const copied = new Set(list.map(({ path }) => path));
    const others = storedIn(join(target, "lab.db")).filter(({ path }) => !copied.has(path));
    const elsewhere = { objects: others.length, bytes: others.reduce((sum, { bytes }) => sum + bytes, 0) };
    return { files: list.length, bytes: list.reduce((sum, file) => sum + file.size, 0), gone, open, elsewhere };
  } catch (error) {
    rmSync(target, { recursive: true, force: true });
    throw error;
  }
}

async function listed(root: string, path: string): Promise<ListedFile> {
  return { path, size: (await stat(join(root, path))).size, sha256: await sha256File(join(root, path)) };
}
