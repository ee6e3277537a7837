/**
 * Rewrites the single initial migration from the schema. Only before the first release: afterwards migrations are
 * append-only.
 */
import { mkdirSync, rmSync } from "node:fs";

rmSync("migrations", { recursive: true, force: true });
mkdirSync("migrations");
const run = Bun.spawnSync(["bunx", "drizzle-kit", "generate", "--name", "initial"], {
  stdout: "inherit",
  stderr: "inherit",
});
process.exit(run.exitCode);
