/** `secret rotate`: replaces the secret of a data directory. */
import { loadConfig } from "../config.ts";
import { CONFIG_OPTIONS, configFlags, EXIT, type Verb } from "./command.ts";

export const secretRotate: Verb = {
  name: "secret rotate",
  summary: "Replaces the secret and encrypts every stored credential with the new one.",
  options: { data: CONFIG_OPTIONS.data },
  notes:
    "Stop the server first; refused (exit code 3) while one uses the directory. Everybody signs in again; API keys keep working. After an interruption, run it again or start the server.",
  async run(args) {
    const { createCtx } = await import("../app.ts");
    const { rotateSecret } = await import("../accounts/auth/rotate.ts");
    const { systemActor } = await import("../ctx.ts");
    const config = loadConfig({ log_level: "error", ...configFlags(args) });
    const ctx = await createCtx(config);
    try {
      const { id, opened, failed } = await rotateSecret(ctx, { ...systemActor(), via: "cli" });
      for (const value of failed)
        process.stderr.write(`not encrypted again, because the old secret did not open it: ${value}\n`);
      process.stdout.write(`New secret ${id}: ${opened} values encrypted again. Make a backup now.\n`);
    } finally {
      await ctx.close();
    }
    return EXIT.ok;
  },
};
