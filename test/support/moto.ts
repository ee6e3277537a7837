/** moto, a server of AWS's API in Python: EC2, SSM and STS with real data about machine types. */
import { existsSync } from "node:fs";
import { join } from "node:path";

const CLOUDS = join(import.meta.dir, "../../.cache/clouds-env");
/** Null when it can run here, else what is missing. */
export const motoMissing = existsSync(join(CLOUDS, "bin/moto_server"))
  ? null
  : `no moto at ${CLOUDS} (the test command installs it)`;

function freePort(): number {
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = server;
  server.stop(true);
  return port;
}

/** Starts a server with an empty account. */
export async function startMoto(): Promise<{ url: string; reset(): Promise<void>; stop(): Promise<void> }> {
  const port = freePort();
  const url = `http://127.0.0.1:${port}`;
  const child = Bun.spawn([join(CLOUDS, "bin/moto_server"), "-H", "127.0.0.1", "-p", String(port)], {
    env: { PATH: process.env.PATH ?? "", PYTHONDONTWRITEBYTECODE: "1" },
    stdio: ["ignore", "ignore", "ignore"],
  });
  const reset = () => fetch(`${url}/moto-api/reset`, { method: "POST" });
  for (const until = Date.now() + 60_000; ; await Bun.sleep(50)) {
    if (child.exitCode !== null) throw new Error(`moto ended with ${child.exitCode}`);
    if (await reset().catch(() => null)) break;
    if (Date.now() > until) throw new Error("moto did not start");
  }
  return {
    url,
    async reset() {
      await reset();
    },
    async stop() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}
