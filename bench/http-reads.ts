/**
 * Authenticated list reads per second: 20 of 10,000 jobs through the real server, compared with a hand-written Fastify
 * handler (no accounts, no schema) that reads the same rows from the same file with the same driver on Node. `bun
 * bench/http-reads.ts`
 */
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "@libsql/client";
import { needs } from "../scripts/setup.ts";
import { startLive } from "../test/support/live.ts";
import { loadTool, measureLoad, median, rssMb } from "./support.ts";

const ROWS = 10_000;
const ROUNDS = 3;
const SECONDS = 5;

/** Fills the job table through SQL: 10,000 ended jobs of the organization that owns the key. */
async function seed(path: string): Promise<void> {
  const client = createClient({ url: `file:${path}`, timeout: 5000 });
  const org = (await client.execute("SELECT org FROM api_key LIMIT 1")).rows[0]?.org as string;
  const columns = (await client.execute("PRAGMA table_info(job)")).rows;
  const spec = JSON.stringify(SPEC);
  await client.execute({
    sql: `INSERT INTO job (id, org, kind, name, state, spec, request, metadata, progress, created_by, created_at, queued_at, finished_at)
      WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
      SELECT printf('ftjob-bench%015d', i), ?, 'train', 'bench ' || i, 'succeeded', ?, '{}', '{}', '{"step":40,"total_steps":40}', 'user-bench',
      1790000000000 + i * 1000, 1790000000000 + i * 1000, 1790000060000 + i * 1000 FROM n`,
    args: [ROWS, org, spec],
  });
  client.close();
  if (columns.length === 0) throw new Error("no job table");
}

const SPEC = {
  version: 1,
  kind: "train",
  base_model: { id: "smollm2-135m-instruct", revision: "1", hash: "0", parameters: 134515008, context_length: 8192 },
  dataset: { dataset_id: "ds_x", version_id: "dsv_x", file_id: "file-x", hash: "0", train_rows: 300, holdout_rows: 30 },
  validation: null,
  method: {
    type: "sft",
    adapter: { type: "lora", r: 16, alpha: 32, dropout: 0, target_modules: "all-linear", layers: null },
    loss_on: "completion",
  },
  hyperparameters: {
    n_epochs: 1,
    max_steps: null,
    batch_size: 8,
    per_device_batch_size: 8,
    gradient_accumulation: 1,
    learning_rate: 0.001,
    scheduler: "linear",
    warmup_ratio: 0.1,
    weight_decay: 0,
    max_grad_norm: 1,
    max_length: 512,
    seed: 1,
    precision: "float32",
    gradient_checkpointing: false,
  },
  schedule: {
    total_steps: 40,
    log_every: 1,
    eval_every: 10,
    save_every: 20,
    keep_checkpoints: 3,
    sample_rows: 3,
    eval_rows: 30,
    sample_max_tokens: 64,
  },
  suffix: null,
  output_model: "ft:smollm2-135m-instruct:acme::abc123",
  evaluate_after: true,
  trainer: { version: "1", environment: "0" },
  need: {
    gpus: 0,
    gpu_memory_mb: 0,
    cpus: 1,
    memory_mb: 2048,
    disk_mb: 2048,
    max_price_per_hour: null,
    provider: null,
  },
  limits: { queued_s: 86400, no_progress_s: 900, total_s: 86400, max_attempts: 3 },
};

/** Fastify and the driver in a separate directory, so that the peer is not a dependency of the project. */
async function startPeer(dir: string, database: string): Promise<{ url: string; pid: number; stop(): void }> {
  writeFileSync(
    join(dir, "package.json"),
    JSON.stringify({ type: "module", dependencies: { fastify: "5.12.8", "@libsql/client": "0.18.0" } }),
  );
  cpSync(join(import.meta.dir, "peers/fastify-list.mjs"), join(dir, "server.mjs"));
  const install = Bun.spawnSync(["npm", "install", "--no-audit", "--no-fund", "--silent"], { cwd: dir });
  if (install.exitCode !== 0) throw new Error(`npm install of the peer failed: ${install.stderr.toString()}`);
  const child = Bun.spawn(["node", "server.mjs", database], { cwd: dir, stdout: "pipe" });
  const { value } = await child.stdout.getReader().read();
  return { url: new TextDecoder().decode(value).trim(), pid: child.pid, stop: () => child.kill() };
}

needs("node");
const live = await startLive();
await live.kill9();
await seed(join(live.dir, "lab.db"));
await live.start();
const peerDir = mkdtempSync(join(tmpdir(), "bench-fastify-"));
const peer = await startPeer(peerDir, join(live.dir, "lab.db"));
try {
  const path = "/v1/fine_tuning/jobs?limit=20";
  const headers = { authorization: `Bearer ${live.key}` };
  const ours: number[] = [];
  const theirs: number[] = [];
  const p99: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const a = await measureLoad(live.url + path, headers, SECONDS);
    const b = await measureLoad(peer.url + path, {}, SECONDS);
    ours.push(a.perSecond);
    p99.push(a.p99Ms);
    theirs.push(b.perSecond);
    if (a.errors || b.errors) throw new Error(`errors under load: ours ${a.errors}, peer ${b.errors}`);
  }
  console.log(`list of 20 of ${ROWS} jobs, ${loadTool()}, ${ROUNDS} rounds of ${SECONDS} s, medians`);
  console.log(
    `  finetune-lab (key checked)      ${median(ours).toFixed(0)} req/s, p99 ${median(p99).toFixed(1)} ms, ${rssMb(live.pid())} MB`,
  );
  console.log(`  hand-written Fastify, no auth   ${median(theirs).toFixed(0)} req/s, ${rssMb(peer.pid)} MB`);
  console.log(
    `  ratio ${(median(ours) / median(theirs)).toFixed(2)}; PocketBase's published figure for the same read: 685-1,179 req/s`,
  );
} finally {
  peer.stop();
  await live.close();
  if (existsSync(peerDir)) rmSync(peerDir, { recursive: true });
}
