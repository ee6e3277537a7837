/**
 * Opening the chart of a run with a million points, over HTTP: one series of 1,000,000 steps, and ten of 100,000;
 * compared with reading every point, and with the MLflow server's own chart call on the same points. `bun
 * bench/chart-read.ts [--no-install]`
 */
import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Mlflow, startMlflow } from "./peers/mlflow.ts";
import { median, quantile } from "./support.ts";

const ROOT = join(import.meta.dir, "..");
const TOTAL = 1_000_000;
const ROUNDS = 15;
const SLOW_ROUNDS = 3;
const SPIKE = 1000;
const SHAPES = [
  { keys: 1, steps: TOTAL },
  { keys: 10, steps: TOTAL / 10 },
];

interface Server {
  url: string;
  key: string;
  trainers: { jobId: string; token: string }[];
}

const valueAt = (step: number, steps: number) =>
  step === Math.floor(steps * 0.6321) ? SPIKE : 2 + Math.sin(step / 5000);

async function fill(server: Server, which: number, keys: number, steps: number): Promise<number> {
  const began = performance.now();
  const EVENTS = Math.floor(20_000 / keys);
  for (let from = 1; from <= steps; from += EVENTS) {
    const events = Array.from({ length: Math.min(EVENTS, steps - from + 1) }, (_, n) => ({
      seq: from + n,
      at: Date.now(),
      type: "metrics",
      step: from + n,
      epoch: 0,
      values: Object.fromEntries(Array.from({ length: keys }, (_, key) => [`m${key}`, valueAt(from + n, steps) + key])),
    }));
    const answer = await fetch(`${server.url}/trainer/v1/events`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${server.trainers[which]?.token}` },
      body: JSON.stringify({ events }),
    });
    if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  }
  return TOTAL / ((performance.now() - began) / 1000);
}

/** Writes the same points directly to MLflow's table: its API would take half an hour. */
function fillMlflow(mlflow: Mlflow, run: string, keys: number, steps: number): void {
  const db = new Database(mlflow.file);
  db.run("pragma busy_timeout = 10000");
  const insert = db.prepare(
    "insert into metrics (key, value, timestamp, run_uuid, step, is_nan) values (?, ?, ?, ?, ?, 0)",
  );
  db.transaction(() => {
    for (let key = 0; key < keys; key++)
      for (let step = 1; step <= steps; step++)
        insert.run(`m${key}`, valueAt(step, steps) + key, 1_700_000_000_000 + step, run, step);
  })();
  db.close();
}

interface Read {
  ms: number;
  /** Points of the longest series. */
  points: number;
  bytes: number;
  spike: boolean;
}

async function timed(read: () => Promise<{ text: string; series: number[][] }>): Promise<Read> {
  const began = performance.now();
  const { text, series } = await read();
  const ms = performance.now() - began;
  const all = series[0] ?? [];
  return { ms, points: Math.max(...series.map((one) => one.length)), bytes: text.length, spike: all.includes(SPIKE) };
}

const results: { name: string; reads: Read[] }[] = [];
async function turn(name: string, rounds: number, read: () => Promise<{ text: string; series: number[][] }>) {
  const reads: Read[] = [];
  for (let round = 0; round < rounds; round++) reads.push(await timed(read));
  results.push({ name, reads });
}

const child = Bun.spawn([process.execPath, join(import.meta.dir, "peers/ingest-under-test.ts"), "2"], {
  stdout: "pipe",
  stderr: "inherit",
});
const scratch = mkdtempSync(join(tmpdir(), "ftl-bench-chart-"));
const mlflow = await startMlflow({
  cache: join(ROOT, ".cache/bench-peers"),
  scratch,
  install: !process.argv.includes("--no-install"),
});
try {
  const first = await child.stdout.getReader().read();
  const server = JSON.parse(new TextDecoder().decode(first.value)) as Server;
  const headers = { authorization: `Bearer ${server.key}` };
  for (const [which, { keys, steps }] of SHAPES.entries()) {
    const speed = await fill(server, which, keys, steps);
    console.log(
      `filled ${keys} x ${steps.toLocaleString("en-US")} points through HTTP at ${Math.round(speed).toLocaleString("en-US")}/s`,
    );
    const jobId = server.trainers[which]?.jobId;
    const shape = `${keys} series of ${steps.toLocaleString("en-US")}`;
    await turn(`ours                 ${shape}`, ROUNDS, async () => {
      const text = await (await fetch(`${server.url}/v1/jobs/${jobId}/metrics`, { headers })).text();
      const { series } = JSON.parse(text) as { series: Record<string, { points: [number, number][] }> };
      return { text, series: Object.values(series).map((one) => one.points.map(([, value]) => value)) };
    });
    await turn(`ours, every point    ${shape}`, SLOW_ROUNDS, async () => {
      const text = await (await fetch(`${server.url}/naive/${jobId}`)).text();
      const series = JSON.parse(text) as Record<string, [number, number][]>;
      return { text, series: Object.values(series).map((one) => one.map(([, value]) => value)) };
    });
    if (typeof mlflow === "string") continue;
    const run = await mlflow.makeRun();
    fillMlflow(mlflow, run, keys, steps);
    await turn(`MLflow's chart call  ${shape}`, SLOW_ROUNDS, async () => {
      let all = "";
      const series: number[][] = [];
      for (let key = 0; key < keys; key++) {
        const query = `run_ids=${run}&metric_key=m${key}&max_results=2000`;
        const answer = await fetch(`${mlflow.url}/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?${query}`);
        const text = await answer.text();
        if (!answer.ok) throw new Error(`mlflow: ${answer.status} ${text.slice(0, 300)}`);
        all += text;
        series.push((JSON.parse(text) as { metrics: { value: number }[] }).metrics.map((one) => one.value));
      }
      return { text: all, series };
    });
  }
  console.log("opening a run of 1,000,000 points over HTTP, JSON parsed by the reader");
  for (const { name, reads } of results) {
    const times = reads.map((one) => one.ms);
    const [one] = reads;
    console.log(
      `  ${name.padEnd(44)} median ${median(times).toFixed(0).padStart(5)} ms, p99 ${quantile(times, 0.99).toFixed(0).padStart(5)} ms, ${one?.points.toLocaleString("en-US").padStart(9)} points per series, ${((one?.bytes ?? 0) / 1024).toFixed(0).padStart(6)} KiB, spike ${one?.spike ? "kept" : "LOST"}`,
    );
  }
  if (typeof mlflow === "string") console.log(`  MLflow skipped: ${mlflow}`);
} finally {
  child.kill("SIGTERM");
  await child.exited;
  if (typeof mlflow !== "string") await mlflow.stop();
  rmSync(scratch, { recursive: true, force: true });
}
