/** `bun run quickstart [options]`: installs the JavaScript packages, then runs `finetune-lab quickstart` from the sources. `--help` tells the options. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { CACHE, installPackages } from "./setup.ts";

installPackages();
// Shared with the tests, so that neither installs what the other has made.
process.env.FTL_ENVIRONMENTS_DIR ??= join(CACHE, "environments");
if (existsSync(join(CACHE, "models"))) process.env.FTL_PREPARED_MODELS ??= join(CACHE, "models");
process.argv.splice(2, 0, "quickstart");
await import("../src/main.ts");
