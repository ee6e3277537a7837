/**
 * Metric points per second over HTTP, each batch acknowledged after its commit, with the p99 of concurrent readers;
 * compared with the MLflow tracking server (SQLite backend, its log-batch call), alternating in the same run. `bun
 * bench/metric-ingest.ts [--no-install]`
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MLFLOW_BATCH, startMlflow } from "./peers/mlflow.ts";
import { cpuSeconds, median, quantile, rssMb } from "./support.ts";

const ROOT = join(import.meta.dir, "..");
const ROUNDS = 3;
const SECONDS = 5;
const WRITERS = 4;
const KEYS = 10;
const JSON_TYPE = { "content-type": "application/json" };

interface Result {
  perSecond: number;
  /**
   * Points per second of the server's CPU time, which varies less on a busy machine.
   */
  perCpuSecond: number;
  readers: number[];
}

/**
 * Writers send as fast as they are answered; one reader reads ten times per second. `send` returns the number of
 * acknowledged points.
 */
async function measure(
  pid: number,
  send: (writer: number, round: number) => Promise<number>,
  read: () => Promise<void>,
): Promise<Result> {
  const readers: number[] = [];
  let points = 0;
  const cpu = cpuSeconds(pid);
  const began = performance.now();
  const end = began + SECONDS * 1000;
  const reader = async () => {
    while (performance.now() < end) {
      const at = performance.now();
      await read();
      readers.push(performance.now() - at);
      await Bun.sleep(Math.max(0, 100 - (performance.now() - at)));
    }
  };
  const writer = async (n: number) => {
    for (let round = 0; performance.now() < end; round++) {
      const sent = await send(n, round);
      // Not `points += await …`: that reads the sum before it waits, and writers would overwrite each other's sums.
      points += sent;
    }
  };
  await Promise.all([reader(), ...Array.from({ length: WRITERS }, (_, n) => writer(n))]);
  const seconds = (performance.now() - began) / 1000;
  return { perSecond: points / seconds, perCpuSecond: points / (cpuSeconds(pid) - cpu), readers };
}

async function ok(answer: Response): Promise<Response> {
  if (!answer.ok) throw new Error(`${answer.url} answered ${answer.status}: ${(await answer.text()).slice(0, 300)}`);
  return answer;
}

const values = (step: number) =>
  Object.fromEntries(Array.from({ length: KEYS }, (_, key) => [`train/metric_${key}`, Math.sin(step + key) * 3]));

const child = Bun.spawn([process.execPath, join(import.meta.dir, "peers/ingest-under-test.ts"), String(WRITERS + 1)], {
  stdout: "pipe",
  stderr: "inherit",
});
const scratch = mkdtempSync(join(tmpdir(), "ftl-bench-ingest-"));
const mlflow = await startMlflow({
  cache: join(ROOT, ".cache/bench-peers"),
  scratch,
  install: !process.argv.includes("--no-install"),
});
try {
  const first = await child.stdout.getReader().read();
  const server = JSON.parse(new TextDecoder().decode(first.value)) as {
    url: string;
    key: string;
    trainers: { jobId: string; token: string }[];
  };

  // Batches are numbered consecutively; only the text around the numbers is built while the clock runs.
  const seqs = server.trainers.map(() => 0);
  const post = async (writer: number, steps: number): Promise<number> => {
    const from = seqs[writer] ?? 0;
    const at = Date.now();
    const events = Array.from({ length: steps }, (_, n) => ({
      seq: from + n + 1,
      at,
      type: "metrics",
      step: from + n + 1,
      epoch: 0,
      values: values(from + n),
    }));
    const answer = await fetch(`${server.url}/trainer/v1/events`, {
      method: "POST",
      headers: { ...JSON_TYPE, authorization: `Bearer ${server.trainers[writer]?.token}` },
      body: JSON.stringify({ events }),
    });
    const { last_seq: last } = (await (await ok(answer)).json()) as { last_seq: number };
    if (last !== from + steps) throw new Error(`kept ${last} instead of ${from + steps}`);
    seqs[writer] = last;
    return steps * KEYS;
  };
  const quiet = server.trainers.length - 1;
  await post(quiet, 1000);
  const readOurs = async () => {
    const answer = await fetch(`${server.url}/v1/jobs/${server.trainers[quiet]?.jobId}/metrics?points=200`, {
      headers: { authorization: `Bearer ${server.key}` },
    });
    await (await ok(answer)).arrayBuffer();
  };

  const runs = typeof mlflow === "string" ? [] : await Promise.all(Array.from({ length: WRITERS + 1 }, mlflow.makeRun));
  const steps = runs.map(() => 0);
  const logBatch = async (writer: number): Promise<number> => {
    const from = steps[writer] ?? 0;
    const timestamp = Date.now();
    const metrics = Array.from({ length: MLFLOW_BATCH / KEYS }, (_, n) =>
      Object.entries(values(from + n)).map(([key, value]) => ({ key, value, timestamp, step: from + n })),
    ).flat();
    const url = typeof mlflow === "string" ? "" : mlflow.url;
    const body = JSON.stringify({ run_id: runs[writer], metrics, params: [], tags: [] });
    const send = () => fetch(`${url}/api/2.0/mlflow/runs/log-batch`, { method: "POST", headers: JSON_TYPE, body });
    // A connection that MLflow closed while suspended fails only when it is used.
    await ok(await send().catch(send));
    steps[writer] = from + MLFLOW_BATCH / KEYS;
    return metrics.length;
  };
  const readTheirs = async () => {
    const url = typeof mlflow === "string" ? "" : mlflow.url;
    await (await ok(await fetch(`${url}/api/2.0/mlflow/runs/get?run_id=${runs.at(-1)}`))).arrayBuffer();
  };

  const results: Record<string, Result[]> = {};
  const turn = async (name: string, run: () => Promise<Result>) => {
    const result = await run();
    results[name] = [...(results[name] ?? []), result];
  };
  for (let round = 0; round < ROUNDS; round++) {
    if (typeof mlflow !== "string") mlflow.pause(true);
    await turn("ours, 500 steps a request", () => measure(child.pid, (writer) => post(writer, 500), readOurs));
    await turn("ours, 25 steps a request", () => measure(child.pid, (writer) => post(writer, 25), readOurs));
    if (typeof mlflow === "string") continue;
    mlflow.pause(false);
    await turn("MLflow, 100 steps a request", () => measure(mlflow.pid, logBatch, readTheirs));
  }

  console.log(
    `metric points acknowledged a second, ${WRITERS} writers, ${KEYS} values a step, medians of ${ROUNDS} rounds`,
  );
  const speed = (name: string) => median((results[name] ?? []).map((one) => one.perSecond));
  for (const [name, all] of Object.entries(results)) {
    const readers = all.flatMap((one) => one.readers);
    console.log(
      `  ${name.padEnd(28)} ${Math.round(speed(name)).toLocaleString("en-US").padStart(9)}/s (${Math.round(median(all.map((one) => one.perCpuSecond))).toLocaleString("en-US")} a processor second)   readers p50 ${quantile(readers, 0.5).toFixed(1)} ms, p99 ${quantile(readers, 0.99).toFixed(1)} ms`,
    );
  }
  console.log(`  peak memory of our server: ${rssMb(child.pid, true)} MB`);
  if (typeof mlflow === "string") console.log(`  MLflow skipped: ${mlflow}`);
  else {
    const ratio = speed("ours, 500 steps a request") / speed("MLflow, 100 steps a request");
    const cpu = (name: string) => median((results[name] ?? []).map((one) => one.perCpuSecond));
    const frugal = cpu("ours, 500 steps a request") / cpu("MLflow, 100 steps a request");
    console.log(`  ratio to MLflow: ${ratio.toFixed(1)}x; for the same CPU time ${frugal.toFixed(1)}x`);
  }
} finally {
  child.kill("SIGTERM");
  await child.exited;
  if (typeof mlflow !== "string") await mlflow.stop();
  rmSync(scratch, { recursive: true, force: true });
}
