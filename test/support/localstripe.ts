/** localstripe, a stateful server of Stripe's API: customers, payment methods, payment intents, charges, refunds. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { CLIENTS } from "./clients.ts";

const SOURCE = join(CLIENTS, "localstripe-source");

/** Null when it can run here, else what is missing. */
export const localstripeMissing = existsSync(join(SOURCE, "localstripe"))
  ? null
  : `no localstripe at ${SOURCE} (the test command installs it)`;

/** Starts a server with an empty account. */
export async function startLocalstripe(): Promise<{ url: string; stop(): Promise<void> }> {
  const child = Bun.spawn([join(CLIENTS, "bin/python"), join(import.meta.dir, "localstripe_server.py")], {
    env: { PATH: process.env.PATH ?? "", PYTHONPATH: SOURCE, PYTHONDONTWRITEBYTECODE: "1" },
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const { value } = await child.stdout.getReader().read();
  const port = new TextDecoder().decode(value).trim();
  if (!/^\d+$/.test(port)) throw new Error(`localstripe did not start: ${port}`);
  return {
    url: `http://127.0.0.1:${port}`,
    async stop() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}
