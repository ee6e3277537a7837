/**
 * `bun run quickstart [options]`: installs the JavaScript packages, then runs `finetune-lab quickstart` from the
 * sources. `--help` lists the options.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { CACHE, installPackages, ROOT } from "./setup.ts";

installPackages();
const models = join(CACHE, "models");
// A process of its own: this one looked at node_modules before the packages were there, and its workers would not find
// them.
const child = Bun.spawn([process.execPath, join(ROOT, "src/main.ts"), "quickstart", ...process.argv.slice(2)], {
  stdio: ["inherit", "inherit", "inherit"],
  env: {
    // Shared with the tests, so that neither installs what the other has made.
    FTL_ENVIRONMENTS_DIR: join(CACHE, "environments"),
    ...(existsSync(models) ? { FTL_PREPARED_MODELS: models } : {}),
    ...process.env,
  },
});
// A terminal sends Ctrl-C to both; anything else that ends this process ends the other one, which stops what it
// started.
process.on("SIGINT", () => {});
process.on("SIGTERM", () => child.kill("SIGTERM"));
process.on("SIGHUP", () => child.kill("SIGTERM"));
process.exit(await child.exited);
