/**
 * Backups in the bucket, at `backups/INSTALLATION/NAME/`: the list, the check of every byte, and their removal. Objects
 * are encrypted. `backup.json` is written last: without it a backup is incomplete.
 */
import * as v from "valibot";
import { AppError } from "../../errors.ts";
import { inPool } from "../../lib/background/in-pool.ts";
import { isSafeSegment } from "../../lib/disk/files.ts";
import { isSafePath, type ListedFile } from "../../lib/disk/manifest.ts";
import { decrypted, keyId } from "../../lib/objects/encrypted.ts";
import { hashed, type ObjectStore, StoreProblem } from "../../lib/objects/store.ts";

const ROOT = "backups/";
export const SUMMARY = "backup.json";
export const BEGUN = "begun.json";
/** The format of the summary and the list; an older version refuses a newer one. */
export const FORMAT = 1;
/** The encrypted list of files. */
export const LIST = "files";
const AT_ONCE = 4;
/** An incomplete backup of another machine counts as interrupted after this time. */
const INTERRUPTED_MS = 86_400_000;

/** The bucket, and what opens backups in it. */
export interface BackupBucket {
  store: ObjectStore;
  /** `s3://BUCKET/PREFIX`, for people. */
  address: string;
  /** The setting `backup_key`; null when only lists are read. */
  key: string | null;
  now(): number;
}

export interface BackupId {
  installation: string;
  name: string;
}

/** What `backup.json` says. It names no file and reveals no content. */
const Summary = v.fallback(
  v.object({
    format: v.number(),
    version: v.fallback(v.string(), "unknown"),
    made_at: v.fallback(v.pipe(v.string(), v.isoTimestamp()), "1970-01-01T00:00:00.000Z"),
    key_id: v.fallback(v.string(), ""),
    files: v.fallback(v.number(), 0),
    bytes: v.fallback(v.number(), 0),
    /** Objects that the database refers to, and that this bucket has already: they are not part of the backup. */
    not_copied: v.fallback(v.object({ objects: v.number(), bytes: v.number() }), { objects: 0, bytes: 0 }),
  }),
  // A summary that cannot be read is not a missing one: nothing removes its backup.
  {
    format: 0,
    version: "unknown",
    made_at: "1970-01-01T00:00:00.000Z",
    key_id: "",
    files: 0,
    bytes: 0,
    not_copied: { objects: 0, bytes: 0 },
  },
);
export type Summary = v.InferOutput<typeof Summary>;

const Begun = v.fallback(v.object({ at: v.number(), place: v.string() }), { at: 0, place: "" });
type Begun = v.InferOutput<typeof Begun>;

const Listed = v.object({
  files: v.array(
    v.object({ path: v.string(), size: v.number(), sha256: v.pipe(v.string(), v.hexadecimal()), object: v.string() }),
  ),
});
/** A file of a backup, and the object that has it. */
export interface BackedUpFile extends ListedFile {
  object: string;
}

/** A backup in the bucket; `summary` is null while it is made, or when that was interrupted. */
interface BucketBackup extends BackupId {
  summary: Summary | null;
  begun: Begun | null;
}

export const folderOf = ({ installation, name }: BackupId) => `${ROOT}${installation}/${name}/`;
/** The name that an object is encrypted for: the same in every bucket and below every prefix. */
export const boundTo = (id: BackupId, object: string) => `${id.installation}/${id.name}/${object}`;

/** An error of the bucket for the person at the terminal or the page. */
export function backupProblem(error: unknown): unknown {
  if (!(error instanceof StoreProblem)) return error;
  if (error.kind === "setup") return new AppError("invalid", "object_store_setup", error.message, { cause: error });
  if (error.kind === "unreachable")
    return new AppError("unavailable", "object_store_unavailable", error.message, { cause: error });
  return new AppError("invalid", "backup_damaged", `The backup is damaged: ${error.message}.`, { cause: error });
}

/** A small JSON object; null when it is missing. */
async function readJson<S extends v.GenericSchema>(store: ObjectStore, key: string, schema: S) {
  const pieces: Uint8Array[] = [];
  try {
    for await (const piece of store.get(key)) pieces.push(piece);
  } catch (error) {
    if (error instanceof StoreProblem && error.kind === "missing") return null;
    throw error;
  }
  return v.parse(v.union([v.pipe(v.string(), v.parseJson(), schema), schema]), Buffer.concat(pieces).toString("utf8"));
}

async function readBackup({ store }: BackupBucket, id: BackupId): Promise<BucketBackup> {
  const summary = await readJson(store, folderOf(id) + SUMMARY, Summary);
  return { ...id, summary, begun: summary ? null : await readJson(store, folderOf(id) + BEGUN, Begun) };
}

/**
 * Backups in the bucket, the newest first; incomplete ones too.
 * @param installation null = of all installations
 */
export async function readBucketBackups(place: BackupBucket, installation: string | null): Promise<BucketBackup[]> {
  const installations = installation === null ? await place.store.folders(ROOT) : [installation];
  const ids: BackupId[] = [];
  for (const one of installations)
    for (const name of await place.store.folders(`${ROOT}${one}/`)) ids.push({ installation: one, name });
  const found = await inPool(ids, AT_ONCE, (id) => readBackup(place, id));
  const at = ({ summary, begun }: BucketBackup) => (summary ? Date.parse(summary.made_at) : (begun?.at ?? 0));
  return found.sort((a, b) => at(b) - at(a));
}

/**
 * The backup that a person names: `NAME`, or `INSTALLATION/NAME` when several installations use the bucket.
 * @throws AppError `backup_not_found`, `backup_incomplete`, `backup_newer`, `backup_ambiguous`
 */
export async function findBackup(place: BackupBucket, text: string): Promise<BucketBackup & { summary: Summary }> {
  const parts = text.split("/");
  const [name = "", installation = null] = parts.toReversed();
  const plain = parts.length <= 2 && parts.every(isSafeSegment);
  const candidates = plain ? (installation === null ? await place.store.folders(ROOT) : [installation]) : [];
  const found: BucketBackup[] = [];
  for (const one of candidates) {
    const backup = await readBackup(place, { installation: one, name });
    if (backup.summary || backup.begun) found.push(backup);
  }
  const [only, other] = found;
  if (!only)
    throw new AppError(
      "not_found",
      "backup_not_found",
      `${place.address} has no backup ${text}. See the list: finetune-lab backup list`,
    );
  if (other)
    throw new AppError(
      "invalid",
      "backup_ambiguous",
      `Several installations have a backup ${text}: name one of ${found.map((one) => `${one.installation}/${name}`).join(", ")}.`,
    );
  const { summary } = only;
  if (!summary)
    throw new AppError(
      "invalid",
      "backup_incomplete",
      `The backup ${text} is incomplete: it is being made, or was interrupted. Nothing was changed.`,
    );
  if (summary.format === 0) throw new AppError("invalid", "backup_damaged", `The backup is damaged: ${SUMMARY}.`);
  if (summary.format !== FORMAT)
    throw new AppError(
      "invalid",
      "backup_newer",
      `${text} was made by a newer version (${summary.version}). Restore it with that version.`,
    );
  return { ...only, summary };
}

/** @throws AppError `backup_key_wrong` */
function keyFor({ key }: BackupBucket, { name, summary }: BackupId & { summary: Summary }): string {
  if (key !== null && keyId(key) === summary.key_id) return key;
  throw new AppError(
    "invalid",
    "backup_key_wrong",
    `${name} was encrypted with the backup_key ${summary.key_id}${key === null ? "; none is set" : `, not with ${keyId(key)}`}. Set backup_key_file to the file with that key.`,
  );
}

/** The bytes of an object of a backup. */
const contentOf = (place: BackupBucket, backup: BackupId & { summary: Summary }, object: string) =>
  decrypted(keyFor(place, backup), boundTo(backup, object), place.store.get(folderOf(backup) + object));

/** The files of a backup. @throws AppError `backup_key_wrong`, StoreProblem `damaged`, `missing` */
export async function filesOfBackup(
  place: BackupBucket,
  backup: BackupId & { summary: Summary },
): Promise<BackedUpFile[]> {
  const pieces: Uint8Array[] = [];
  for await (const piece of contentOf(place, backup, LIST)) pieces.push(piece);
  const { files } = v.parse(Listed, JSON.parse(Buffer.concat(pieces).toString("utf8")));
  const odd = files.find(({ path }) => !isSafePath(path));
  if (odd) throw new StoreProblem("damaged", `${odd.path}: not a plain path`);
  if (files.length !== backup.summary.files) throw new StoreProblem("damaged", "the number of its files is another");
  return files;
}

/** The bytes of a file. @throws StoreProblem `damaged` at the end when they are not those that were backed up */
export function fileOfBackup(
  place: BackupBucket,
  backup: BackupId & { summary: Summary },
  { path, size, sha256, object }: BackedUpFile,
): AsyncGenerator<Uint8Array> {
  return hashed(contentOf(place, backup, object), (found) => {
    if (found.bytes !== size || found.sha256 !== sha256)
      throw new StoreProblem("damaged", `${path}: its content changed`);
  });
}

/**
 * Reads every byte of a backup.
 * @returns what is wrong with it, by file; empty when it can be restored
 */
export async function verifyBackup(
  place: BackupBucket,
  backup: BackupId & { summary: Summary },
  onProgress: (done: number, of: number) => void = () => {},
): Promise<{ files: number; bytes: number; problems: string[] }> {
  const problems: string[] = [];
  const files = await filesOfBackup(place, backup);
  let done = 0;
  await inPool(files, AT_ONCE, async (file) => {
    try {
      for await (const _ of fileOfBackup(place, backup, file));
    } catch (error) {
      if (!(error instanceof StoreProblem) || error.kind === "unreachable" || error.kind === "setup") throw error;
      problems.push(`${file.path}: ${error.kind === "missing" ? "missing" : "its content changed"}`);
    }
    onProgress(++done, files.length);
  });
  return { files: files.length, bytes: files.reduce((sum, { size }) => sum + size, 0), problems };
}

/** Removes a backup. Its summary goes first: what is left after an interruption is never taken for a whole one. */
export async function removeBucketBackup({ store }: BackupBucket, id: BackupId): Promise<void> {
  const folder = folderOf(id);
  await store.remove([folder + SUMMARY]);
  await store.abortUploads(Number.POSITIVE_INFINITY, folder);
  const rest: string[] = [];
  for await (const { key } of store.list(folder)) if (key !== folder + BEGUN) rest.push(key);
  if (rest.length > 0) await store.remove(rest);
  await store.remove([folder + BEGUN]);
}

/**
 * Removes incomplete backups that nobody makes any more: those of this place, which can make one at a time, and those
 * that began more than a day ago. @returns how many
 */
export async function removeInterrupted(bucket: BackupBucket, installation: string, place: string): Promise<number> {
  const all = await readBucketBackups(bucket, installation);
  const before = bucket.now() - INTERRUPTED_MS;
  const over = all.filter(({ summary, begun }) => !summary && (!begun || begun.place === place || begun.at < before));
  for (const one of over) await removeBucketBackup(bucket, one);
  return over.length;
}

/**
 * Removes the oldest complete backups of an installation until `keep` are left. Those of another format are neither
 * counted nor removed. @returns their names
 */
export async function pruneBackups(bucket: BackupBucket, installation: string, keep: number): Promise<string[]> {
  if (keep === 0) return [];
  const whole = (await readBucketBackups(bucket, installation)).filter(({ summary }) => summary?.format === FORMAT);
  const old = whole.slice(keep);
  for (const one of old) await removeBucketBackup(bucket, one);
  return old.map(({ name }) => name);
}
