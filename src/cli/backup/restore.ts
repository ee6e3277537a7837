/** `restore`: copies a backup into a data directory, after verifying every file. */
import { resolve } from "node:path";
import { loadConfig } from "../../config.ts";
import { backupProblem } from "../../insights/installation/bucket-backups.ts";
import { openDirectory, openInBucket, restoreBackup } from "../../insights/installation/restore.ts";
import { CONFIG_OPTIONS, configFlags, EXIT, UsageError, type Verb } from "../command.ts";
import { openBackups } from "./bucket.ts";

export const restore: Verb = {
  name: "restore",
  summary: "Restores a backup into a data directory, after verifying every file.",
  words: "DIR|NAME",
  options: {
    from: { value: "disk|s3", help: "a directory, or a name in the bucket of s3_bucket (default disk)" },
    data: CONFIG_OPTIONS.data,
    force: { help: "move the content of the data directory aside (into its folder backups) and continue" },
  },
  notes:
    "Refused (exit code 3) while a server uses the directory, and when it is not empty without --force. From the bucket, every file is downloaded and compared with its SHA-256 before anything in the directory changes; that needs the settings of the bucket, and the backup_key that encrypted it.",
  async run(args) {
    const source = args.words[0];
    const from = args.text("from") ?? "disk";
    if (from !== "disk" && from !== "s3") throw new UsageError(`--from is disk or s3, not ${from}`);
    if (!source)
      throw new UsageError(from === "disk" ? "Give the directory of the backup." : "Give the name of the backup.");
    const config = loadConfig(configFlags(args));
    const restoring = async () => {
      const backup = await (from === "s3" ? openInBucket(openBackups(config), source) : openDirectory(resolve(source)));
      return restoreBackup(backup, config.data_dir, args.on("force"), config.disk_reserve_bytes);
    };
    const aside = await restoring().catch((error: unknown) => {
      throw backupProblem(error);
    });
    if (aside) process.stdout.write(`Previous content: ${aside}\n`);
    process.stdout.write(
      `Restored into ${config.data_dir}. Start it with: finetune-lab serve --data ${config.data_dir}\n`,
    );
    return EXIT.ok;
  },
};
