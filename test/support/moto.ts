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
export async function startMoto(): Promise<{ url: string; stop(): Promise<void> }> {
  const port = freePort();
  const url = `http://127.0.0.1:${port}`;
  const child = Bun.spawn([join(CLOUDS, "bin/moto_server"), "-H", "127.0.0.1", "-p", String(port)], {
    env: { PATH: process.env.PATH ?? "", PYTHONDONTWRITEBYTECODE: "1" },
    stdio: ["ignore", "ignore", "ignore"],
  });
  // The first question about machine types reads a large table, which a busy machine does not do within a timeout.
  const warm = () =>
    fetch(url, {
      method: "POST",
      headers: { authorization: "AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/ec2/aws4_request, Signature=x" },
      body: new URLSearchParams({ Action: "DescribeInstanceTypes", "InstanceType.1": "g5.xlarge" }),
    });
  for (const until = Date.now() + 100_000; ; await Bun.sleep(50)) {
    if (child.exitCode !== null) throw new Error(`moto ended with ${child.exitCode}`);
    if (await warm().catch(() => null)) break;
    if (Date.now() > until) throw new Error("moto did not start");
  }
  return {
    url,
    async stop() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}
