/** `migrate`: migrates a database without starting the server. */
import { loadConfig } from "../config.ts";
import { CONFIG_OPTIONS, configFlags, EXIT, type Verb } from "./command.ts";

export const migrateVerb: Verb = {
  name: "migrate",
  summary: "Migrates the database to the schema of this version. `serve` does the same by itself.",
  options: { data: CONFIG_OPTIONS.data },
  notes: "Refused (exit code 3) while a server uses the directory, and when a newer version wrote it. Back up first.",
  async run(args) {
    const { createCtx } = await import("../app.ts");
    const ctx = await createCtx(loadConfig({ log_level: "warn", ...configFlags(args) }));
    await ctx.close();
    process.stdout.write("The database has this version's schema.\n");
    return EXIT.ok;
  },
};
