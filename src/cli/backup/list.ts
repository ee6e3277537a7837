/** `backup list` and `backup verify`: what backups there are, and whether every byte of one can be restored. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { loadConfig } from "../../config.ts";
import { checkDatabase } from "../../insights/installation/backup.ts";
import { readFolder } from "../../insights/installation/backups.ts";
import {
  backupProblem,
  FORMAT,
  findBackup,
  readBucketBackups,
  verifyBackup,
} from "../../insights/installation/bucket-backups.ts";
import { readManifest } from "../../insights/installation/restore.ts";
import { listProblem } from "../../lib/disk/manifest.ts";
import { formatBytes } from "../../lib/text/format.ts";
import { CONFIG_OPTIONS, configFlags, EXIT, UsageError, type Verb } from "../command.ts";
import { openBackups } from "./bucket.ts";

interface Line {
  store: "disk" | "s3";
  name: string;
  state: "complete" | "incomplete" | "unreadable";
  created_at: string;
  version: string | null;
  files: number | null;
  bytes: number | null;
}

export const backupList: Verb = {
  name: "backup list",
  summary: "Lists the backups in the data directory and in the bucket, the newest first.",
  options: { json: { help: "print one JSON object a line" }, data: CONFIG_OPTIONS.data },
  notes:
    "Backups of the bucket are named INSTALLATION/NAME. One that is incomplete is being made, or was interrupted; one that is unreadable is damaged, or of a newer version.",
  async run(args) {
    const config = loadConfig(configFlags(args));
    const lines: Line[] = readFolder(join(config.data_dir, "backups")).map((row) => ({
      store: "disk",
      name: row.name,
      state: "complete",
      created_at: new Date(row.madeAt).toISOString(),
      version: row.version,
      files: row.files,
      bytes: row.bytes,
    }));
    if (config.s3_bucket !== null) {
      const found = await readBucketBackups(openBackups(config), null).catch((error: unknown) => {
        throw backupProblem(error);
      });
      for (const { installation, name, summary, begun } of found)
        lines.push({
          store: "s3",
          name: `${installation}/${name}`,
          state: summary ? (summary.format === FORMAT ? "complete" : "unreadable") : "incomplete",
          created_at: summary?.made_at ?? new Date(begun?.at ?? 0).toISOString(),
          version: summary?.version ?? null,
          files: summary?.files ?? null,
          bytes: summary?.bytes ?? null,
        });
    }
    for (const line of lines)
      process.stdout.write(
        args.on("json")
          ? `${JSON.stringify(line)}\n`
          : `${line.created_at}  ${line.store.padEnd(4)}  ${line.state.padEnd(10)}  ${formatBytes(line.bytes ?? 0).padStart(9)}  ${line.name}\n`,
      );
    if (lines.length === 0) process.stderr.write("There are no backups.\n");
    return EXIT.ok;
  },
};

export const backupVerify: Verb = {
  name: "backup verify",
  summary: "Reads every byte of a backup, and compares it with its SHA-256.",
  words: "DIR|NAME",
  options: {
    from: { value: "disk|s3", help: "where it is (default: s3 for a name that is no directory)" },
    data: CONFIG_OPTIONS.data,
  },
  notes: "Exit code 1 when something is missing or has changed. Nothing is restored.",
  async run(args) {
    const given = args.words[0];
    if (!given || args.words.length > 1) throw new UsageError("Give the directory or the name of one backup.");
    const config = loadConfig(configFlags(args));
    const from = args.text("from") ?? (existsSync(given) || config.s3_bucket === null ? "disk" : "s3");
    if (from !== "disk" && from !== "s3") throw new UsageError(`--from is disk or s3, not ${from}`);
    let checked: { files: number; bytes: number; problems: string[] };
    if (from === "s3") {
      const bucket = openBackups(config);
      const checking = async () =>
        verifyBackup(bucket, await findBackup(bucket, given), (done, of) => {
          if (done % 100 === 0) process.stderr.write(`\r${done} of ${of} files`);
        });
      checked = await checking().catch((error: unknown) => {
        throw backupProblem(error);
      });
      process.stderr.write("\r");
    } else {
      const { files } = readManifest(resolve(given));
      const problem = await listProblem(resolve(given), files);
      if (!problem) checkDatabase(join(resolve(given), "lab.db"));
      const bytes = files.reduce((sum, { size }) => sum + size, 0);
      checked = { files: files.length, bytes, problems: problem ? [problem] : [] };
    }
    for (const problem of checked.problems) process.stderr.write(`${problem}\n`);
    process.stdout.write(
      checked.problems.length > 0
        ? `Damaged: ${checked.problems.length} of ${checked.files} files.\n`
        : `Intact: ${checked.files} files, ${formatBytes(checked.bytes)}.\n`,
    );
    return checked.problems.length > 0 ? EXIT.failed : EXIT.ok;
  },
};
