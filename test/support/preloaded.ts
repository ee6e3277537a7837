/** Starts the preloaded Python that servers of the tests share (`preloaded.py` says how). */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Preloaded {
  /** What tests get: the environments of servers and of trainers that may share it. */
  env: Record<"FTL_TEST_SERVER_ENV" | "FTL_TEST_FORKED_PYTHON", string>;
  close(): Promise<void>;
}

/**
 * @param python of the trainer's environment
 * @param sources the directory with the trainer's package
 */
export async function startPreloaded(python: string, sources: string): Promise<Preloaded> {
  const directory = mkdtempSync(join(tmpdir(), "ftl-preloaded-"));
  const child = Bun.spawn([python, "-IuB", join(import.meta.dir, "preloaded.py"), "serve", directory, sources], {
    // What a server gives a warm launcher.
    env: { PATH: process.env.PATH ?? "", LANG: "C.UTF-8", HF_HOME: join(directory, "hf") },
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const first = await child.stdout.getReader().read();
  if (first.done) throw new Error(`the preloaded Python ended with exit code ${await child.exited}`);
  return {
    env: { FTL_TEST_SERVER_ENV: directory, FTL_TEST_FORKED_PYTHON: join(directory, "bin/python-forked") },
    async close() {
      child.stdin.end();
      await child.exited;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
