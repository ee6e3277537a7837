/**
 * Runs inside a mount namespace of its own (see disk.test.ts): a whole server on a small file system that is filled
 * while it works. Prints what was seen.
 */
import { closeSync, openSync, rmSync, statfsSync, statSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sha256Hex } from "../../../src/lib/ids.ts";
import { until } from "../../support/live.ts";
import { type Bench, startBench } from "./bench.ts";
import { checkInvariants } from "./invariants.ts";

const MIB = 2 ** 20;
/** User data is refused with less than RESERVE free. */
const RESERVE = 256 * MIB;
const SIZE = 360 * MIB;
const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", `size=${SIZE}`, "tmpfs", tmpdir()]);
if (mounted.exitCode !== 0) throw new Error(`cannot mount: ${mounted.stderr.toString()}`);
const ballast = join(tmpdir(), "ballast");

/** Fills the disk until at most `leave` bytes are free. */
function fill(leave: number): void {
  const file = openSync(ballast, "w");
  try {
    for (const size of [MIB, 4096]) {
      const zeros = Buffer.alloc(size);
      try {
        for (;;) {
          const { bavail, bsize } = statfsSync(tmpdir());
          if (bavail * bsize - size < leave) break;
          writeSync(file, zeros);
        }
      } catch {
        // The last bytes are gone too.
      }
    }
  } finally {
    closeSync(file);
  }
}

const makeRoom = () => rmSync(ballast);

const coded = async (answer: Response) => ({
  status: answer.status,
  code: ((await answer.json()) as { error?: { code?: string } }).error?.code ?? null,
});

async function mute(bench: Bench): Promise<{ id: string; token: string }> {
  const id = await bench.train("mute");
  const token = bench.hands.token(await bench.workOf(id));
  const asked = "SELECT 1 FROM attempt WHERE job_id = ? AND trim_step IS NOT NULL";
  await until("the spec to be asked for", async () => (await bench.rows(asked, [id])).length > 0);
  return { id, token };
}

async function fullForTheDatabase(bench: Bench) {
  const running = await bench.train("talk-slow.100", { max_steps: 40 });
  const { id, token } = await mute(bench);
  await bench.atStep(running, 3);
  fill(0);
  let seq = 0;
  const write = () => {
    const events = Array.from({ length: 400 }, (_, n) => ({
      seq: seq + n + 1,
      at: Date.now(),
      type: "log",
      level: "info",
      message: `${seq + n} ${"x".repeat(4000)}`,
    }));
    return bench.asTrainer(token, "POST", "/events", { events });
  };
  let answer = await write();
  for (let n = 0; answer.ok && n < 50; n++) {
    seq += 400;
    answer = await write();
  }
  const refused = await coded(answer);
  // What may go into the reserve finds the disk full in the end.
  const key = () =>
    fetch(`${bench.url}/v1/keys`, {
      method: "POST",
      headers: { authorization: `Bearer ${bench.key}`, "content-type": "application/json" },
      body: JSON.stringify({ name: "n".repeat(100) }),
    });
  let made = await key();
  for (let n = 0; made.ok && n < 3000; n++) made = await key();
  const database = await coded(made);
  const slowReads: number[] = [];
  for (let n = 0; n < 20; n++) {
    const from = performance.now();
    await bench.call("GET", "/v1/jobs?limit=5");
    slowReads.push(performance.now() - from);
  }
  const pid = bench.pid();
  makeRoom();
  const again = await write();
  seq += 400;
  await bench.writeSomething("after the full disk");
  const events = [
    { seq: seq + 1, at: Date.now(), type: "failed", reason: "internal", message: "enough", retry: false },
  ];
  await bench.asTrainer(token, "POST", "/events", { events });
  await until("the end", async () => (await bench.job(id)).state === "failed");
  await bench.reached(running, "succeeded");
  await checkInvariants(bench);
  return {
    refused,
    database,
    slowestRead: Math.round(Math.max(...slowReads)),
    again: again.status,
    restarted: pid !== bench.pid(),
  };
}

/** A safetensors file of `bytes` bytes of data. */
function tensors(bytes: number): Uint8Array {
  const header = Buffer.from(JSON.stringify({ w: { dtype: "U8", shape: [bytes], data_offsets: [0, bytes] } }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return new Uint8Array(Buffer.concat([length, header, Buffer.alloc(bytes, 7)]));
}

async function fullDuringUpload(bench: Bench) {
  const { id, token } = await mute(bench);
  const config = new TextEncoder().encode('{"peft_type": "LORA", "r": 16}');
  const ask = async <T>(method: string, path: string, body?: unknown) => {
    const answer = await bench.asTrainer(token, method, path, body);
    if (!answer.ok) throw new Error(`${method} ${path} answered ${answer.status}: ${await answer.text()}`);
    return (await answer.json()) as T;
  };
  const open = (step: number, weights: Uint8Array) => ({
    kind: "checkpoint",
    step,
    metrics: {},
    files: [
      { path: "adapter_model.safetensors", size: weights.byteLength, sha256: sha256Hex(weights) },
      { path: "adapter_config.json", size: config.byteLength, sha256: sha256Hex(config) },
    ],
  });
  const part = (artifact: string, name: string, bytes: Uint8Array, from: number) =>
    bench.asTrainer(token, "PUT", `/artifacts/${artifact}/${name}?offset=${from}`, bytes.slice(from, from + 8 * MIB));
  const small = tensors(1000);
  const good = await ask<{ artifact_id: string }>("POST", "/artifacts", open(5, small));
  await part(good.artifact_id, "adapter_model.safetensors", small, 0);
  await part(good.artifact_id, "adapter_config.json", config, 0);
  await ask("POST", `/artifacts/${good.artifact_id}/complete`);

  const large = tensors(20 * MIB);
  const { artifact_id: artifact } = await ask<{ artifact_id: string }>("POST", "/artifacts", open(10, large));
  await part(artifact, "adapter_model.safetensors", large, 0);
  fill(2 * MIB);
  const refused = await coded(await part(artifact, "adapter_model.safetensors", large, 8 * MIB));
  const kept = statSync(join(bench.dir, "artifacts", artifact, "adapter_model.safetensors")).size / MIB;
  const opening = await coded(await bench.asTrainer(token, "POST", "/artifacts", open(15, small)));
  const before = await bench.rows<{ step: number }>("SELECT step FROM checkpoint WHERE job_id = ?", [id]);
  makeRoom();
  for (const from of [8 * MIB, 16 * MIB]) {
    const answer = await part(artifact, "adapter_model.safetensors", large, from);
    if (!answer.ok) throw new Error(`afterwards a part was answered ${answer.status}`);
  }
  await part(artifact, "adapter_config.json", config, 0);
  await ask("POST", `/artifacts/${artifact}/complete`);
  const after = await bench.rows<{ step: number }>("SELECT step FROM checkpoint WHERE job_id = ? ORDER BY step", [id]);
  // One that is left unfinished goes with its attempt.
  await ask("POST", "/artifacts", open(20, large));
  const events = [{ seq: 1, at: Date.now(), type: "failed", reason: "disk_full", message: "enough", retry: false }];
  await bench.asTrainer(token, "POST", "/events", { events });
  await until("the end", async () => (await bench.job(id)).state === "failed");
  await checkInvariants(bench);
  return { refused, kept, opening, before: before.map((one) => one.step), after: after.map((one) => one.step) };
}

const bench = await startBench({ trainer: "scripted", env: { FTL_DISK_RESERVE_BYTES: String(RESERVE) } });
try {
  const database = await fullForTheDatabase(bench);
  const upload = await fullDuringUpload(bench);
  console.log(JSON.stringify({ database, upload }));
} finally {
  await bench.close();
}
