/** How tests start the program: the compiled binary of the test command, or the sources with this Bun. */
import { join } from "node:path";

/** The command without its verb. The binary starts in a third of the CPU time. */
export const PROGRAM: readonly [string, ...string[]] = process.env.FTL_TEST_PROGRAM
  ? [process.env.FTL_TEST_PROGRAM]
  : [process.execPath, join(import.meta.dir, "../../src/main.ts")];
