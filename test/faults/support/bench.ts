/**
 * A real server on its own data directory, set up for faults: training data, a base model, a trainer that is scripted
 * or real, and a look into the database from outside.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "@libsql/client";
import type { JobState } from "../../../src/contract/job.ts";
import type { Limits } from "../../../src/contract/spec.ts";
import { keyOf } from "../../../src/training/attempts/launch.ts";
import { type Live, SERVER_ENV, startLive, until } from "../../support/live.ts";
import { importTinyModel, trainingLines } from "../../support/tiny.ts";
import { type Hands, processHands } from "./hands.ts";

interface JobView {
  id: string;
  state: JobState;
  progress: { step?: number; total_steps?: number; address?: string };
  error: { code: string; message: string; advice: string | null } | null;
}

export interface AttemptView {
  id: string;
  number: number;
  state: string;
  outcome: string | null;
  goneAt: number | null;
  lastSeq: number;
  exitCode: number | null;
}

/** What invariants and rows need to know of a lab, whether it runs in a process of its own or in this one. */
export interface Watched {
  dir: string;
  hands: Pick<Hands, "working" | "leftovers">;
  /** Reads from the database without the server's help. */
  rows<T>(sql: string, args?: (string | number)[]): Promise<T[]>;
  /** Writes the server acknowledged: each query must find a row for ever after. */
  acknowledged: { what: string; sql: string; args: (string | number)[] }[];
}

export interface Bench extends Live, Watched {
  hands: Hands;
  fileId: string;
  /** Where trainers of this machine reach the server. */
  trainerSocket: string;
  /** Starts a training job; `suffix` controls the scripted trainer. */
  train(suffix: string, request?: Record<string, unknown>): Promise<string>;
  job(id: string): Promise<JobView>;
  attempts(id: string): Promise<AttemptView[]>;
  /** Waits until the job is in one of `states`; throws when it ended otherwise. */
  reached(id: string, ...states: JobState[]): Promise<JobView>;
  /** Waits until the job has reported step `n`. */
  atStep(id: string, n: number): Promise<void>;
  /** The key of the work of a job's newest attempt, once it runs. */
  workOf(id: string): Promise<string>;
  /** Writes other timeouts into a job's frozen spec, which no API lets anyone do. */
  setLimits(id: string, limits: Partial<Limits>): Promise<void>;
  /** One request to the server's socket for trainers, as the work of `key` would send it. */
  asTrainer(token: string, method: string, path: string, body?: unknown): Promise<Response>;
  /** The lines people see on the job's page, newest first. */
  notes(id: string): Promise<string[]>;
  /** An acknowledged write: a key with this name. Throws when the server did not take it. */
  writeSomething(name: string): Promise<void>;
}

interface BenchOptions {
  trainer: "scripted" | "real";
  /** Makes the hands for another provider than that of processes, once the installation has its id. */
  hands?: (dir: string, installation: string) => Hands;
  env?: Record<string, string>;
  rows?: number;
}

/** An environment whose Python runs the scripted trainer whatever sources the server names. Standard library only. */
function scriptedEnvironment(): string {
  const root = mkdtempSync(join(tmpdir(), "ftl-scripted-"));
  const found = Bun.spawnSync(["python3", "-c", "import sys; print(sys.executable)"]).stdout.toString().trim();
  if (!found) throw new Error("python3 is needed");
  mkdirSync(join(root, "bin"));
  const path = join(root, "bin", "python");
  const sources = join(import.meta.dir, "../../support/fake-trainer");
  writeFileSync(path, `#!/bin/sh\nPYTHONPATH='${sources}' exec '${found}' "$@"\n`);
  chmodSync(path, 0o755);
  return root;
}

/** Reads from a database file beside the server that owns it. */
export async function readFrom<T>(path: string, sql: string, args: (string | number)[] = []): Promise<T[]> {
  const client = createClient({ url: `file:${path}`, timeout: 5000 });
  try {
    return (await client.execute({ sql, args })).rows as unknown as T[];
  } finally {
    client.close();
  }
}

/** Starts everything. Close it at the end. */
export async function startBench(options: BenchOptions): Promise<Bench> {
  const scripted = options.trainer === "scripted" ? scriptedEnvironment() : null;
  const live = await startLive({
    env: { FTL_TRAIN_SLOTS: "8", FTL_TRAINER_ENV: scripted ?? SERVER_ENV, ...options.env },
  });
  await importTinyModel(live);
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", new File([trainingLines(options.rows ?? 40)], "rows.jsonl"));
  const headers = { authorization: `Bearer ${live.key}` };
  const answer = await fetch(`${live.url}/v1/files`, { method: "POST", headers, body: form });
  const { id: fileId } = (await answer.json()) as { id: string };
  await until(
    "the file",
    async () => (await live.call<{ status: string }>("GET", `/v1/files/${fileId}`)).status === "processed",
  );
  const database = join(live.dir, "lab.db");
  const facts = await readFrom<{ value: string }>(database, "SELECT value FROM installation WHERE key = 'id'");
  const hands = options.hands?.(live.dir, facts[0]?.value ?? "") ?? processHands(live.dir);
  const job = (id: string) => live.call<JobView>("GET", `/v1/jobs/${id}`);
  /** Keys that `writeSomething` made and did not revoke, oldest first. */
  const own: string[] = [];
  const bench: Bench = {
    ...live,
    hands,
    fileId,
    trainerSocket: join(live.dir, "run", "trainers", "trainer.sock"),
    acknowledged: [],
    rows: (sql, args) => readFrom(database, sql, args),
    async train(suffix, request = {}) {
      const body = {
        model: "tiny",
        training_file: fileId,
        suffix,
        n_epochs: 50,
        batch_size: 1,
        max_steps: 20,
        save_every: 5,
        evaluate_after: false,
        ...request,
      };
      const { id } = await live.call<{ id: string }>("POST", "/v1/jobs", body);
      bench.acknowledged.push({ what: `job ${id}`, sql: "SELECT 1 FROM job WHERE id = ?", args: [id] });
      return id;
    },
    job,
    attempts: async (id) =>
      bench.rows<AttemptView>(
        `SELECT id, number, state, outcome, gone_at AS goneAt, last_seq AS lastSeq, exit_code AS exitCode
        FROM attempt WHERE job_id = ? ORDER BY number`,
        [id],
      ),
    reached: (id, ...states) =>
      until(
        `job ${id} to be ${states.join(" or ")}`,
        async () => {
          const now = await job(id);
          if (!states.includes(now.state) && ["failed", "succeeded", "cancelled"].includes(now.state))
            throw new Error(`the job is ${now.state}: ${now.error?.message}`);
          return states.includes(now.state) ? now : null;
        },
        options.trainer === "real" ? 600_000 : 240_000,
        options.trainer === "real" ? 400 : 150,
      ),
    async atStep(id, n) {
      await until(`step ${n}`, async () => ((await job(id)).progress.step ?? 0) >= n, 120_000, 60);
    },
    workOf: (id) =>
      until(
        `the work of ${id}`,
        async () => {
          const newest = (await bench.attempts(id)).at(-1);
          const key = newest && newest.state !== "ended" ? keyOf(newest.id) : null;
          return hands.working().some((work) => work.key === key) ? key : null;
        },
        60_000,
        60,
      ),
    async setLimits(id, limits) {
      const client = createClient({ url: `file:${database}`, timeout: 5000 });
      try {
        await client.execute({
          sql: "UPDATE job SET spec = json_patch(spec, ?) WHERE id = ?",
          args: [JSON.stringify({ limits }), id],
        });
      } finally {
        client.close();
      }
    },
    asTrainer: (token, method, path, body) =>
      fetch(`http://localhost/trainer/v1${path}`, {
        unix: bench.trainerSocket,
        method,
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        body: body === undefined ? undefined : body instanceof Uint8Array ? body : JSON.stringify(body),
      } as RequestInit),
    notes: async (id) =>
      (
        await bench.rows<{ message: string }>("SELECT message FROM event WHERE job_id = ? ORDER BY n DESC LIMIT 200", [
          id,
        ])
      ).map((row) => row.message),
    async writeSomething(name) {
      // The number of keys per user is limited, and revoked keys count.
      const oldest = own.length >= 100 ? own[0] : undefined;
      if (oldest) {
        await live.call("DELETE", `/v1/keys/${oldest}`);
        own.shift();
      }
      const made = await live.call<{ id: string }>("POST", "/v1/keys", { name });
      own.push(made.id);
      bench.acknowledged.push({ what: `key ${name}`, sql: "SELECT 1 FROM api_key WHERE id = ?", args: [made.id] });
    },
    async close() {
      await live.close();
      if (scripted) rmSync(scripted, { recursive: true, force: true });
    },
  };
  return bench;
}
