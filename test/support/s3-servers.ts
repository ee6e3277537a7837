/** Two S3 servers of different origin (moto in Python, rclone in Go), and a proxy that breaks connections. */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const CLOUDS = join(import.meta.dir, "../../.cache/clouds-env");
/** Null when they can run here, else what is missing. */
export const cloudsMissing = existsSync(join(CLOUDS, "bin/rclone"))
  ? null
  : `no S3 servers at ${CLOUDS} (the test command installs them)`;

export const ACCESS = { accessKey: "labkey", secretKey: "labsecret12345678" };
export const BUCKET = "lab";

export interface S3Server {
  endpoint: string;
  port: number;
  stop(): Promise<void>;
}

function freePort(): number {
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = server;
  server.stop(true);
  return port;
}

async function waitFor(endpoint: string, child: { exitCode: number | null }): Promise<void> {
  for (const until = Date.now() + 60_000; Date.now() < until; await Bun.sleep(50)) {
    if (child.exitCode !== null) throw new Error(`the S3 server ended with ${child.exitCode}`);
    const answer = await fetch(endpoint, { signal: AbortSignal.timeout(2000) }).catch(() => null);
    if (answer) return;
  }
  throw new Error(`${endpoint} did not start`);
}

/** Starts a server with one empty bucket. rclone checks signatures, moto checks the contract of AWS. */
export async function startS3(kind: "moto" | "rclone"): Promise<S3Server> {
  const dir = mkdtempSync(join(tmpdir(), "ftl-s3-"));
  const port = freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  mkdirSync(join(dir, BUCKET));
  const rclone = ["serve", "s3", "--auth-key", `${ACCESS.accessKey},${ACCESS.secretKey}`, "--vfs-cache-mode", "off"];
  const argv =
    kind === "rclone"
      ? [join(CLOUDS, "bin/rclone"), ...rclone, "--addr", `127.0.0.1:${port}`, dir]
      : [join(CLOUDS, "bin/moto_server"), "-H", "127.0.0.1", "-p", String(port)];
  const env = { PATH: process.env.PATH ?? "", RCLONE_CONFIG: join(dir, "none.conf"), HOME: dir };
  const child = Bun.spawn(argv, { env, stdio: ["ignore", "ignore", "ignore"] });
  await waitFor(endpoint, child);
  if (kind === "moto") await fetch(`${endpoint}/${BUCKET}`, { method: "PUT" });
  return {
    endpoint,
    port,
    async stop() {
      child.kill("SIGKILL");
      await child.exited;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** What the proxy does to connections; set it between requests. */
interface Faults {
  /** Requests that are answered with 503 SlowDown. */
  slowDown: number;
  /** Connections that are reset after `resetAfter` bytes from the client. */
  resets: number;
  resetAfter: number;
  /** Connections that are reset after this many bytes from the server; 0 = none. */
  resetDownAfter: number;
  /** Bytes that came from clients. */
  sent: number;
  /** Holds everything back. */
  stalled: boolean;
}

const SLOW_DOWN =
  "<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";

/** A TCP proxy in front of an S3 server. Its address is in the signature, and passed on unchanged. */
export async function faultyProxy(target: S3Server): Promise<{ endpoint: string; faults: Faults; stop(): void }> {
  const faults: Faults = { slowDown: 0, resets: 0, resetAfter: 0, resetDownAfter: 0, sent: 0, stalled: false };
  const open = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(target.port, "127.0.0.1");
    let up = 0;
    let down = 0;
    for (const one of [client, upstream]) {
      open.add(one);
      one.on("error", () => {});
      one.on("close", () => {
        open.delete(one);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on("data", (piece) => {
      if (faults.stalled) return;
      if (faults.slowDown > 0 && /^[A-Z]+ \//.test(Buffer.from(piece).subarray(0, 12).toString("latin1"))) {
        faults.slowDown--;
        client.end(
          `HTTP/1.1 503 Slow Down\r\ncontent-type: application/xml\r\ncontent-length: ${SLOW_DOWN.length}\r\nconnection: close\r\n\r\n${SLOW_DOWN}`,
        );
        return;
      }
      up += piece.length;
      faults.sent += piece.length;
      if (faults.resets > 0 && up > faults.resetAfter) {
        faults.resets--;
        client.resetAndDestroy();
        return;
      }
      upstream.write(piece);
    });
    upstream.on("data", (piece) => {
      if (faults.stalled) return;
      down += piece.length;
      if (faults.resetDownAfter > 0 && down > faults.resetDownAfter) {
        faults.resetDownAfter = 0;
        client.resetAndDestroy();
        return;
      }
      client.write(piece);
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as { port: number };
  return {
    endpoint: `http://127.0.0.1:${port}`,
    faults,
    stop() {
      for (const one of open) one.destroy();
      server.close();
    },
  };
}
