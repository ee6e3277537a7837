/** `backup`: a consistent, verified copy of all data of the server, with or without a running server. */
import { join, resolve } from "node:path";
import { loadConfig } from "../../config.ts";
import { makeBackup } from "../../insights/installation/backup.ts";
import { CONFIG_OPTIONS, configFlags, EXIT, type Verb } from "../command.ts";

export const backup: Verb = {
  name: "backup",
  summary: "Copies all data of the server into a new directory, and verifies the copy.",
  words: "DIR",
  options: {
    data: CONFIG_OPTIONS.data,
    "without-models": { help: "skip base models (they can be installed again)" },
  },
  notes: `Works while the server runs, also with a database on a server (database_url). The copy contains the key that signs sessions: protect it like the data directory.
Put it back with \`restore\`.`,
  async run(args) {
    const config = loadConfig(configFlags(args));
    const target = resolve(
      args.words[0] ?? join(config.data_dir, "backups", new Date().toISOString().replace(/[:.]/g, "-")),
    );
    const { files, bytes, gone, open } = await makeBackup(config.data_dir, target, {
      withModels: !args.on("without-models"),
      reserve: config.disk_reserve_bytes,
      remote: config.database_url ? { url: config.database_url, token: config.database_token } : null,
      onProgress: (done, of) => {
        if (done % 100 === 0) process.stderr.write(`\r${done} of ${of} files`);
      },
    });
    process.stderr.write("\r");
    for (const path of gone) process.stderr.write(`deleted during the backup, not included: ${path}\n`);
    if (open)
      process.stderr.write(
        `other users of this machine can read ${target}: this user cannot change the mode of its directory\n`,
      );
    process.stdout.write(`${target}: ${files} files, ${(bytes / 1e6).toFixed(1)} MB, checked.\n`);
    return EXIT.ok;
  },
};
