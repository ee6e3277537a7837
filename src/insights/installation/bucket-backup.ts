/**
 * Makes a backup in the bucket: a snapshot of the database, then every file as it is read, encrypted on the way, read
 * back and compared. Nothing but the database and the secret is copied on this disk.
 */
import { Database } from "bun:sqlite";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { copyFile, open } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { VERSION } from "../../assets.ts";
import { holdLock } from "../../db/lock.ts";
import { AppError } from "../../errors.ts";
import { isSafeSegment } from "../../lib/disk/files.ts";
import { encrypted, encryptedBytes, keyId } from "../../lib/objects/encrypted.ts";
import { type Expected, hashed, requireSame } from "../../lib/objects/store.ts";
import { copyAnyDatabase, keptFiles, requireSecret, type Snapshot, storedIn } from "./backup.ts";
import {
  type BackedUpFile,
  type BackupBucket,
  type BackupId,
  BEGUN,
  boundTo,
  FORMAT,
  folderOf,
  LIST,
  pruneBackups,
  readBucketBackups,
  removeBucketBackup,
  removeInterrupted,
  SUMMARY,
  type Summary,
} from "./bucket-backups.ts";

/** Bytes that are read from the disk at a time. */
const PIECE = 1 << 20;
/** Files up to this size are sent a few at a time; each larger one alone, in parts. */
const SMALL = 8 << 20;
const AT_ONCE = 4;
const WORK = "backup-";
/** Files that change in place: what is sent is a copy, so that it fits the database. */
const SECRETS = ["secret", "secret.next"];

export interface BucketBackupOptions {
  /** Name in the bucket. */
  name: string;
  withModels: boolean;
  remote: Snapshot["remote"];
  /** Bytes that must stay free on the disk of the database. */
  reserve: number;
  /** Complete backups of this installation that stay; 0 = all. */
  keep: number;
  onProgress?: (done: number, of: number) => void;
  failPoint?: (name: "backup.piece" | "backup.listed") => void;
}

interface Made {
  id: BackupId;
  summary: Summary;
  /** Files that were deleted meanwhile. */
  gone: string[];
  /** Names of backups that were removed, because newer ones are kept. */
  removed: string[];
  /** Interrupted backups that were removed. */
  interrupted: number;
}

function installationIn(database: string): string {
  const snapshot = new Database(database, { readonly: true });
  const row = snapshot.query("select value from installation where key = 'id'").get() as { value: string } | null;
  snapshot.close();
  if (row && isSafeSegment(row.value)) return row.value;
  throw new AppError("not_found", "nothing_to_back_up", "The database has no installation. Start the server once.");
}

/** Runs `work` while no other backup of this data directory is made. @throws AppError `backup_running` */
async function alone<T>(dataDir: string, work: () => Promise<T>): Promise<T> {
  mkdirSync(join(dataDir, "run"), { recursive: true, mode: 0o700 });
  let release: () => void;
  try {
    release = holdLock(join(dataDir, "run", "backup.db"));
  } catch (cause) {
    throw new AppError("conflict", "backup_running", "A backup is already running.", { cause });
  }
  try {
    return await work();
  } finally {
    release();
  }
}

/**
 * Creates a backup in the bucket.
 * @throws AppError `backup_running`, `backup_exists`, `nothing_to_back_up`, `database_damaged`, `database_not_copied`,
 *   `secret_changed`, `disk_full`; StoreProblem
 */
export const makeBucketBackup = (dataDir: string, bucket: BackupBucket, options: BucketBackupOptions): Promise<Made> =>
  alone(dataDir, async () => {
    const tmp = join(dataDir, "tmp");
    mkdirSync(tmp, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(tmp))
      if (name.startsWith(WORK)) rmSync(join(tmp, name), { recursive: true, force: true });
    const work = join(tmp, `${WORK}${options.name}`);
    mkdirSync(work, { mode: 0o700 });
    try {
      return await intoBucket(dataDir, work, bucket, options);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  });

async function intoBucket(
  dataDir: string,
  work: string,
  bucket: BackupBucket,
  options: BucketBackupOptions,
): Promise<Made> {
  const { store, key, now } = bucket;
  if (key === null)
    throw new AppError(
      "invalid",
      "backup_key_missing",
      "Backups in the bucket are encrypted. Set backup_key_file to a file with a key (openssl rand -hex 32 > FILE), and keep a copy of it elsewhere: without it nothing can be restored.",
      { param: "backup_key" },
    );
  await copyAnyDatabase({ dataDir, target: work, remote: options.remote, reserve: options.reserve });
  const database = join(work, "lab.db");
  const id = { installation: installationIn(database), name: options.name };
  const place = createHash("sha256").update(`${hostname()} ${dataDir}`).digest("hex").slice(0, 16);
  const interrupted = await removeInterrupted(bucket, id.installation, place);
  if ((await readBucketBackups(bucket, id.installation)).some(({ name }) => name === id.name))
    throw new AppError("conflict", "backup_exists", `${bucket.address} has a backup ${id.name} already.`);
  const stored = storedIn(database);
  const there = new Set(stored.map(({ path }) => path));
  for (const name of SECRETS)
    if (existsSync(join(dataDir, name))) await copyFile(join(dataDir, name), join(work, name));
  try {
    await store.put(folderOf(id) + BEGUN, textOf({ at: now(), place }));
    const paths = ["lab.db", ...keptFiles(dataDir, options.withModels).filter((path) => !there.has(path))];
    const { files, gone } = await sendFiles(paths, bucket, id, {
      ...options,
      key,
      pathOf: (path) => join(existsSync(join(work, path)) ? work : dataDir, path),
    });
    requireSecret(work);
    const list = Buffer.from(JSON.stringify({ files }));
    await sendPieces(bucket, id, LIST, key, pieceOf(list), list.byteLength);
    options.failPoint?.("backup.listed");
    const summary: Summary = {
      format: FORMAT,
      version: VERSION,
      made_at: new Date(now()).toISOString(),
      key_id: keyId(key),
      files: files.length,
      bytes: files.reduce((sum, { size }) => sum + size, 0),
      not_copied: { objects: stored.length, bytes: stored.reduce((sum, { bytes }) => sum + bytes, 0) },
    };
    await store.put(folderOf(id) + SUMMARY, textOf(summary));
    const removed = await pruneBackups(bucket, id.installation, options.keep);
    return { id, summary, gone, removed, interrupted };
  } catch (error) {
    // When the bucket does not answer either, the next backup removes it.
    const whole = await store.stat(folderOf(id) + SUMMARY).catch(() => true);
    if (!whole) await removeBucketBackup(bucket, id).catch(() => {});
    throw error;
  }
}

async function* pieceOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
const textOf = (value: unknown) => pieceOf(Buffer.from(`${JSON.stringify(value, null, 1)}\n`));

/** Sends an object encrypted, reads it back and compares. */
async function sendPieces(
  { store }: BackupBucket,
  id: BackupId,
  object: string,
  key: string,
  pieces: AsyncIterable<Uint8Array>,
  bytes: number,
): Promise<void> {
  const to = folderOf(id) + object;
  const secret = encrypted(key, boundTo(id, object), pieces);
  const sent = await store.put(to, { pieces: secret, bytes: encryptedBytes(bytes) });
  for await (const _ of hashed(store.get(to), (found) => requireSame(to, found, sent)));
}

interface Sending extends BucketBackupOptions {
  key: string;
  pathOf(path: string): string;
}

/** Sends the files in order: small ones a few at a time, each large one alone. */
async function sendFiles(
  paths: readonly string[],
  bucket: BackupBucket,
  id: BackupId,
  { key, pathOf, onProgress, failPoint }: Sending,
): Promise<{ files: BackedUpFile[]; gone: string[] }> {
  const files: BackedUpFile[] = [];
  const gone: string[] = [];
  let done = 0;
  const send = async (path: string, object: string) => {
    const handle = await open(pathOf(path), "r").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return null;
      throw error;
    });
    if (handle === null) {
      gone.push(path);
      return;
    }
    let found: Expected = { bytes: 0, sha256: "" };
    const read = async function* () {
      for await (const piece of handle.createReadStream({ highWaterMark: PIECE, autoClose: false })) {
        failPoint?.("backup.piece");
        yield piece as Uint8Array;
      }
    };
    const pieces = hashed(read(), (what) => {
      found = what;
    });
    try {
      await sendPieces(bucket, id, object, key, pieces, (await handle.stat()).size);
    } finally {
      await handle.close();
    }
    files.push({ path, size: found.bytes, sha256: found.sha256, object });
    onProgress?.(++done, paths.length);
  };
  const under = new Set<Promise<void>>();
  let failure: { error: unknown } | null = null;
  for (const [at, path] of paths.entries()) {
    const small = (statSync(pathOf(path), { throwIfNoEntry: false })?.size ?? 0) <= SMALL;
    const work = send(path, `data/${at + 1}`).catch((error: unknown) => {
      failure ??= { error };
    });
    under.add(work);
    void work.finally(() => under.delete(work));
    if (!small) await Promise.all(under);
    else if (under.size >= AT_ONCE) await Promise.race(under);
    if (failure) break;
  }
  await Promise.all(under);
  if (failure) throw (failure as { error: unknown }).error;
  return { files: files.sort((a, b) => (a.path < b.path ? -1 : 1)), gone };
}
