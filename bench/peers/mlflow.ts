/**
 * The MLflow tracking server as the peer of metric ingestion: installed from PyPI into .cache once, with its SQLite
 * backend.
 */
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";

const MLFLOW = "mlflow==3.17.2";
/** Maximum number of values that its server accepts in one request. */
export const MLFLOW_BATCH = 1000;

export interface Mlflow {
  url: string;
  /** Its SQLite file. */
  file: string;
  pid: number;
  /** Creates a run and returns its id. */
  makeRun(): Promise<string>;
  /** Suspends or resumes all its processes: an idle peer must not take CPU time from the one being measured. */
  pause(held: boolean): void;
  stop(): Promise<void>;
}

function run(argv: string[]): boolean {
  return Bun.spawnSync(argv, { stdout: "ignore", stderr: "ignore" }).exitCode === 0;
}

/** Starts the server, or returns why it cannot. `install` false uses only an existing installation. */
export async function startMlflow(options: {
  cache: string;
  scratch: string;
  install: boolean;
}): Promise<Mlflow | string> {
  const env = join(options.cache, "mlflow");
  const bin = join(env, "bin/mlflow");
  if (!existsSync(bin)) {
    if (!options.install) return "not installed";
    mkdirSync(options.cache, { recursive: true });
    console.log(`installing ${MLFLOW} into ${env} (once) …`);
    if (!run(["python3", "-m", "venv", env]) || !run([join(env, "bin/pip"), "install", "-q", MLFLOW]))
      return `pip could not install ${MLFLOW}`;
  }
  const probe = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
  const port = probe.port;
  await probe.stop(true);
  const url = `http://127.0.0.1:${port}`;
  const file = join(options.scratch, "mlflow.db");
  const argv = [
    bin,
    "server",
    "--backend-store-uri",
    `sqlite:///${file}`,
    "--host",
    "127.0.0.1",
    "--port",
    String(port),
    "--workers",
    "2",
  ];
  // One process group for the server and its workers, so that all of them end together.
  const child = Bun.spawn(["setsid", ...argv], {
    cwd: options.scratch,
    env: { ...process.env, MLFLOW_DISABLE_TELEMETRY: "true", DO_NOT_TRACK: "true" },
    stdout: "ignore",
    stderr: "ignore",
  });
  const stop = async () => {
    process.kill(-child.pid, "SIGKILL");
    await child.exited;
  };
  for (const end = Date.now() + 90_000; ; await Bun.sleep(300)) {
    if ((await fetch(`${url}/health`).catch(() => null))?.ok) break;
    if (Date.now() > end || child.exitCode !== null) {
      if (child.exitCode === null) await stop();
      return "its server did not come up";
    }
  }
  return {
    url,
    file,
    pid: child.pid,
    stop,
    pause: (held) => void process.kill(-child.pid, held ? "SIGSTOP" : "SIGCONT"),
    async makeRun() {
      const answer = await fetch(`${url}/api/2.0/mlflow/runs/create`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ experiment_id: "0", start_time: Date.now(), tags: [] }),
      });
      if (!answer.ok) throw new Error(`mlflow: ${answer.status} ${await answer.text()}`);
      const { run: made } = (await answer.json()) as { run: { info: { run_id: string } } };
      return made.info.run_id;
    },
  };
}
