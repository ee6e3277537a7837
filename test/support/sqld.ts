/** sqld, the libSQL server, as a remote database of the tests: one process, and a database of it for each test. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const SQLD = join(import.meta.dir, "../../.cache/clouds-env/bin/sqld");
/** Null when it can run here, else what is missing. */
export const sqldMissing = existsSync(SQLD) ? null : `no libSQL server at ${SQLD} (the test command installs it)`;

export interface Sqld {
  port: number;
  /** The address of one of its databases. */
  url(name: string): string;
  /** Creates a database: an empty one, or a copy of another. */
  create(name: string, from?: string): Promise<void>;
  drop(name: string): Promise<void>;
  /** Kills the server at once; the data stay. */
  kill(): Promise<void>;
  /** Starts it again at the same address. */
  start(): Promise<void>;
  /** Kills it and deletes the data. */
  stop(): Promise<void>;
}

function freePort(): number {
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = server;
  server.stop(true);
  return port;
}

/** Starts a server without databases; `more` are arguments of it. */
export async function startSqld(more: readonly string[] = []): Promise<Sqld> {
  const dir = mkdtempSync(join(tmpdir(), "ftl-sqld-"));
  const [port, admin] = [freePort(), freePort()];
  const argv = [SQLD, "--no-welcome", "--disable-metrics", "--enable-namespaces", "--db-path", join(dir, "data")];
  argv.push("--http-listen-addr", `127.0.0.1:${port}`, "--admin-listen-addr", `127.0.0.1:${admin}`);
  // Whatever happens to the tests, it does not stay.
  argv.push("--idle-shutdown-timeout-s", "600", ...more);
  let child: Bun.Subprocess | null = null;
  const kill = async () => {
    child?.kill("SIGKILL");
    await child?.exited;
  };
  const cleanUp = () => {
    child?.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  };
  process.on("exit", cleanUp);
  const start = async () => {
    const started = Bun.spawn(argv, { env: { RUST_LOG: "off" }, stdio: ["ignore", "ignore", "ignore"] });
    child = started;
    for (const until = Date.now() + 60_000; Date.now() < until; await Bun.sleep(10)) {
      if (started.exitCode !== null) throw new Error(`sqld ended with ${started.exitCode}`);
      const ready = [`http://127.0.0.1:${port}/health`, `http://127.0.0.1:${admin}/`].map((url) => fetch(url));
      if ((await Promise.allSettled(ready)).every(({ status }) => status === "fulfilled")) return;
    }
    throw new Error("sqld did not start");
  };
  const ask = async (method: string, path: string) => {
    const headers = { "content-type": "application/json" };
    const answer = await fetch(`http://127.0.0.1:${admin}/v1/namespaces/${path}`, { method, headers, body: "{}" });
    if (!answer.ok) throw new Error(`sqld: ${method} ${path} answered ${answer.status}: ${await answer.text()}`);
    await answer.arrayBuffer();
  };
  await start();
  return {
    port,
    // The server finds the database in the name of the host.
    url: (name) => `http://${name}.localhost:${port}`,
    create: (name, from) => ask("POST", from ? `${from}/fork/${name}` : `${name}/create`),
    drop: (name) => ask("DELETE", name),
    kill,
    start,
    async stop() {
      await kill();
      process.off("exit", cleanUp);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
