/**
 * A vendor's own API description between plugin and fake: `prism proxy --errors` refuses requests that break it with
 * 422, and answers of the fake that break it with 500.
 */
import { join } from "node:path";
import { freePort } from "../live.ts";

const ROOT = join(import.meta.dir, "../../..");

export interface Contract {
  url: string;
  stop(): Promise<void>;
}

/**
 * Starts Prism in front of `upstream`; it takes 1 to 5 seconds. Calls of paths that the description lacks (GraphQL) are
 * refused.
 * @param description a file of test/fixtures/contracts
 */
export async function startPrism(description: "runpod-v2" | "lambda-1.10", upstream: string): Promise<Contract> {
  const port = await freePort();
  const file = join(ROOT, "test/fixtures/contracts", `${description}.json`);
  const program = join(ROOT, "node_modules/@stoplight/prism-cli/dist/index.js");
  const argv = ["proxy", "--errors", file, upstream, "-p", String(port), "-h", "127.0.0.1", "-v", "silent"];
  const child = Bun.spawn([process.execPath, program, ...argv], {
    cwd: ROOT,
    env: { PATH: process.env.PATH ?? "", BUN_BE_BUN: "1" },
    stdout: "ignore",
    stderr: "inherit",
  });
  const url = `http://127.0.0.1:${port}`;
  for (const end = Date.now() + 60_000; ; await Bun.sleep(50)) {
    if (await fetch(url).catch(() => null)) break;
    if (Date.now() > end || child.exitCode !== null)
      throw new Error(`Prism did not start: exit code ${child.exitCode}`);
  }
  return {
    url,
    async stop() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}
