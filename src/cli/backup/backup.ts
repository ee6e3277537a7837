/** `backup`: a consistent, verified copy of all data of the server, with or without a running server. */
import { join, resolve } from "node:path";
import { type Config, loadConfig } from "../../config.ts";
import { makeBackup } from "../../insights/installation/backup.ts";
import { makeBucketBackup } from "../../insights/installation/bucket-backup.ts";
import { backupProblem, folderOf } from "../../insights/installation/bucket-backups.ts";
import { isSafeSegment } from "../../lib/disk/files.ts";
import { armFailPoints } from "../../lib/fail-points.ts";
import { formatBytes } from "../../lib/text/format.ts";
import { type Args, CONFIG_OPTIONS, configFlags, EXIT, UsageError, type Verb } from "../command.ts";
import { openBackups } from "./bucket.ts";

const now = () => new Date().toISOString().replace(/[:.]/g, "-");

function common(args: Args, config: Config) {
  return {
    withModels: !args.on("without-models"),
    reserve: config.disk_reserve_bytes,
    remote: config.database_url ? { url: config.database_url, token: config.database_token } : null,
    onProgress: (done: number, of: number) => {
      if (done % 100 === 0) process.stderr.write(`\r${done} of ${of} files`);
    },
  };
}

const sayGone = (gone: string[]) => {
  process.stderr.write("\r");
  for (const path of gone) process.stderr.write(`deleted during the backup, not included: ${path}\n`);
};

const sayStored = ({ objects, bytes }: { objects: number; bytes: number }) => {
  if (objects > 0)
    process.stdout.write(
      `Not part of it: ${objects} objects, ${formatBytes(bytes)}, that artifact_store has in the bucket. Keep their versions there: docs/object-storage.md.\n`,
    );
};

async function toBucket(args: Args, config: Config): Promise<number> {
  const name = args.text("name") ?? now();
  if (!isSafeSegment(name)) throw new UsageError("--name has letters, digits, points, - and _.");
  const keep = args.text("keep") ?? String(config.backup_keep);
  if (!/^\d{1,5}$/.test(keep)) throw new UsageError("--keep is a number; 0 keeps all.");
  const bucket = openBackups(config);
  const options = { ...common(args, config), name, keep: Number(keep), failPoint: armFailPoints(config.fail_points) };
  const made = await makeBucketBackup(config.data_dir, bucket, options).catch((error: unknown) => {
    process.stderr.write("\r");
    throw backupProblem(error);
  });
  sayGone(made.gone);
  const { id, summary } = made;
  process.stdout.write(
    `${bucket.address}${folderOf(id)}: ${summary.files} files, ${formatBytes(summary.bytes)}, encrypted, read back and compared.\n`,
  );
  sayStored(summary.not_copied);
  if (made.interrupted > 0) process.stdout.write(`Removed ${made.interrupted} interrupted backups.\n`);
  for (const old of made.removed) process.stdout.write(`Removed ${old}: ${keep} are kept.\n`);
  return EXIT.ok;
}

async function toDirectory(args: Args, config: Config): Promise<number> {
  const target = resolve(args.words[0] ?? join(config.data_dir, "backups", now()));
  const { files, bytes, gone, open, elsewhere } = await makeBackup(config.data_dir, target, common(args, config));
  sayGone(gone);
  if (open)
    process.stderr.write(
      `other users of this machine can read ${target}: this user cannot change the mode of its directory\n`,
    );
  process.stdout.write(`${target}: ${files} files, ${(bytes / 1e6).toFixed(1)} MB, checked.\n`);
  sayStored(elsewhere);
  return EXIT.ok;
}

export const backup: Verb = {
  name: "backup",
  summary: "Copies all data of the server into a new directory or into the bucket, and verifies the copy.",
  words: "DIR",
  options: {
    to: { value: "disk|s3", help: "a directory, or the bucket of s3_bucket (default: backup_store; disk with DIR)" },
    keep: { value: "N", help: "in the bucket: then remove older ones until N are left (default: backup_keep)" },
    name: { value: "NAME", help: "in the bucket: its name (default: the time)" },
    data: CONFIG_OPTIONS.data,
    "without-models": { help: "skip base models (they can be installed again)" },
  },
  notes: `Works while the server runs, also with a database on a server (database_url). The copy contains the key that signs sessions: protect it like the data directory. In the bucket everything is encrypted with backup_key.
Objects that artifact_store: s3 has in the bucket are not copied. Put it back with \`restore\`.`,
  async run(args) {
    const config = loadConfig(configFlags(args));
    const [dir, more] = args.words;
    const to = args.text("to") ?? (dir ? "disk" : config.backup_store);
    if (to !== "disk" && to !== "s3") throw new UsageError(`--to is disk or s3, not ${to}`);
    if (more !== undefined || (dir !== undefined && to === "s3")) throw new UsageError(`Unexpected "${more ?? dir}".`);
    return to === "s3" ? toBucket(args, config) : toDirectory(args, config);
  },
};
