/** Starts what a machine of the fake cloud runs: a real trainer, with nothing of the server's but what was sent. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FORKED_PYTHON } from "../far-machines.ts";
import type { Machine } from "./core.ts";
import { VENDORS } from "./vendors.ts";

/** The command of the trainer's image. */
const TRAINER = ["python", "-m", "finetune_trainer"];

/** Runs the trainer where a machine would. @param root a directory for the scratch directories of all machines */
export function bootOf(vendor: string, root: string) {
  const { program } = VENDORS[vendor] as (typeof VENDORS)[string];
  return (machine: Machine) => {
    const scratch = join(root, machine.id);
    mkdirSync(join(scratch, "bin"), { recursive: true });
    writeFileSync(join(scratch, "bin/python"), `#!/bin/sh\nexec '${FORKED_PYTHON}' "$@"\n`, { mode: 0o755 });
    const started = program(machine);
    const script = vendor === "lambda";
    const env = {
      ...started.env,
      PATH: `${script ? `${started.env.PATH?.split(":")[0]}:` : ""}${join(scratch, "bin")}:/usr/bin:/bin`,
      PYTHONPATH: join(import.meta.dir, "../../../trainer"),
      HOME: scratch,
      FTL_SCRATCH: scratch,
      ...(script ? { FTL_BOOT_DIR: scratch, FTL_FAKE_IMAGE: JSON.stringify(TRAINER) } : {}),
    };
    const child = Bun.spawn(script ? started.argv : TRAINER, {
      cwd: scratch,
      env,
      stdout: Bun.file(join(scratch, "out")),
      stderr: Bun.file(join(scratch, "err")),
    });
    return {
      notice: () => child.kill("SIGTERM"),
      async end() {
        child.kill("SIGKILL");
        await child.exited;
      },
    };
  };
}
