/** What must hold after every fault, whatever it was: I1 to I8 of the fault table, checked from outside the server. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { createClient } from "@libsql/client";
import { drizzle } from "drizzle-orm/libsql";
import { verifyAudit } from "../../../src/accounts/audit/service.ts";
import { verifyLedger } from "../../../src/billing/ledger/verify.ts";
import { JOB_STATES } from "../../../src/contract/job.ts";
import type { Db } from "../../../src/db/types.ts";
import { keyOf } from "../../../src/training/attempts/launch.ts";
import type { Watched } from "./bench.ts";

/** How long leftovers of ended work may take to go, in milliseconds: longer than the grace of work nobody owns. */
const SETTLE_MS = 40_000;

interface JobRow {
  id: string;
  state: string;
  spec: string;
  progress: string;
  finished_at: number | null;
  kind: string;
}
interface AttemptRow {
  id: string;
  job_id: string;
  number: number;
  state: string;
  gone_at: number | null;
  created_at: number;
  started_at: number | null;
  ended_at: number | null;
  last_seq: number;
}

const groupBy = <T, K>(rows: T[], keyOfRow: (row: T) => K) => Map.groupBy(rows, keyOfRow);

async function acknowledgedWrites(watched: Watched): Promise<string[]> {
  const lost: string[] = [];
  for (const { what, sql, args } of watched.acknowledged)
    if ((await watched.rows(sql, args)).length === 0) lost.push(`I1 ${what} was acknowledged and is not there`);
  return lost;
}

async function wholeDatabase(watched: Watched): Promise<string[]> {
  const [check] = await watched.rows<{ integrity_check: string }>("PRAGMA integrity_check");
  const strangers = await watched.rows<object>("PRAGMA foreign_key_check");
  return [
    ...(check?.integrity_check === "ok" ? [] : [`I2 integrity_check says ${check?.integrity_check}`]),
    ...(strangers.length === 0 ? [] : [`I2 foreign_key_check names ${strangers.length} rows`]),
  ];
}

function liveWork(watched: Watched, attempts: AttemptRow[]): string[] {
  const wrong: string[] = [];
  for (const [key, works] of groupBy(watched.hands.working(), (work) => work.key))
    if (works.length > 1) wrong.push(`I3 ${works.length} live pieces of work of ${key}`);
  for (const [id, mine] of groupBy(attempts, (one) => one.job_id)) {
    const open = mine.filter((one) => one.state !== "ended");
    if (open.length > 1) wrong.push(`I3 ${open.length} open attempts of ${id}`);
  }
  return wrong;
}

const TERMINAL = ["succeeded", "failed", "cancelled"];
const WORDS: Record<string, string> = {
  succeeded: "The job succeeded",
  failed: "The job failed",
  cancelled: "The job was canceled",
};

async function legalStates(watched: Watched, jobs: JobRow[], attempts: AttemptRow[]): Promise<string[]> {
  const wrong: string[] = [];
  const ends = await watched.rows<{ target: string; action: string }>(
    "SELECT target, action FROM audit_log WHERE action IN ('job.succeeded', 'job.failed', 'job.cancelled')",
  );
  const said = await watched.rows<{ job_id: string; message: string }>(
    "SELECT job_id, message FROM event WHERE type = 'state'",
  );
  for (const job of jobs) {
    if (!(JOB_STATES as readonly string[]).includes(job.state)) wrong.push(`I4 ${job.id} is ${job.state}`);
    const mine = ends.filter((end) => end.target === job.id);
    const terminal = TERMINAL.includes(job.state);
    if (mine.length !== (terminal ? 1 : 0)) wrong.push(`I4 ${job.id} (${job.state}) ended ${mine.length} times`);
    if (terminal && mine[0]?.action !== `job.${job.state}`) wrong.push(`I4 ${job.id} ended as ${mine[0]?.action}`);
    const words = WORDS[job.state];
    const records = said.filter(
      (one) => one.job_id === job.id && words && (one.message === words || one.message.startsWith(`${words}:`)),
    );
    if (terminal && records.length !== 1) wrong.push(`I4 the end of ${job.id} is recorded ${records.length} times`);
    if (terminal !== (job.finished_at !== null))
      wrong.push(`I4 ${job.id} is ${job.state}, finished ${job.finished_at}`);
    const open = attempts.filter((one) => one.job_id === job.id && one.state !== "ended");
    if (terminal && open.length > 0) wrong.push(`I4 ${job.id} has ended, an attempt of it has not`);
  }
  return wrong;
}

async function wholeCurves(watched: Watched, jobs: JobRow[], attempts: AttemptRow[]): Promise<string[]> {
  const wrong: string[] = [];
  for (const job of jobs.filter((one) => one.kind === "train")) {
    const points = await watched.rows<{ key: string; step: number }>(
      "SELECT s.key, p.step FROM point p JOIN series s ON s.id = p.series_id WHERE s.job_id = ? ORDER BY s.key, p.step",
      [job.id],
    );
    const every = (JSON.parse(job.spec) as { schedule?: { log_every?: number } }).schedule?.log_every ?? 1;
    const loss = points.filter((point) => point.key === "train/loss").map((point) => Number(point.step));
    const holes = loss.filter((step, at) => at > 0 && step - (loss[at - 1] ?? 0) > every);
    if (loss.length > 0 && (loss[0] ?? 0) > every) wrong.push(`I5 ${job.id} begins at step ${loss[0]}`);
    if (holes.length > 0) wrong.push(`I5 ${job.id} has a hole before step ${holes.join(", ")}`);
    if (new Set(points.map(({ key, step }) => `${key} ${step}`)).size !== points.length)
      wrong.push(`I5 ${job.id} has a step twice`);
    const { total_steps: total } = JSON.parse(job.progress) as { total_steps?: number };
    if (job.state === "succeeded" && loss.at(-1) !== total)
      wrong.push(`I5 ${job.id} succeeded at step ${loss.at(-1)} of ${total}`);
  }
  const batches = await watched.rows<{ attempt_id: string; first_seq: number; last_seq: number }>(
    "SELECT attempt_id, first_seq, last_seq FROM batch WHERE last_seq >= first_seq ORDER BY id",
  );
  const next = new Map<string, number>();
  for (const batch of batches) {
    const expected = next.get(batch.attempt_id) ?? 1;
    if (batch.first_seq !== expected)
      wrong.push(`I5 ${batch.attempt_id}: event ${batch.first_seq} where ${expected} was due`);
    next.set(batch.attempt_id, batch.last_seq + 1);
  }
  for (const { id, last_seq: last } of attempts)
    if ((next.get(id) ?? 1) !== last + 1) wrong.push(`I5 ${id} holds events to ${next.get(id)}, says ${last}`);
  const lines = await watched.rows<{ attempt_id: string; message: string; n: number }>(
    "SELECT attempt_id, message, count(*) n FROM log_line WHERE message LIKE 'step %' GROUP BY 1, 2 HAVING n > 1",
  );
  for (const line of lines) wrong.push(`I5 ${line.attempt_id} says "${line.message}" ${line.n} times`);
  return wrong;
}

async function billedOnce(watched: Watched, attempts: AttemptRow[]): Promise<string[]> {
  const checks = await inDatabase(watched, verifyLedger);
  const wrong = checks.flatMap(({ name, violations }) => violations.map((one) => `I6 ${name}: ${one}`));
  for (const [id, mine] of groupBy(attempts, (one) => one.job_id))
    for (const [at, one] of mine.entries()) {
      const before = mine[at - 1];
      if (before && (one.started_at ?? one.created_at) < (before.ended_at ?? Number.POSITIVE_INFINITY))
        wrong.push(`I6 attempts ${before.number} and ${one.number} of ${id} overlap`);
    }
  return wrong;
}

/** Asks the database as the server's own tools do. */
async function inDatabase<T>(watched: Watched, ask: (db: Db) => Promise<T>): Promise<T> {
  const client = createClient({ url: `file:${join(watched.dir, "lab.db")}`, timeout: 5000 });
  try {
    return await ask(drizzle(client));
  } finally {
    client.close();
  }
}

async function unbrokenAudit(watched: Watched): Promise<string[]> {
  const { brokenAt } = await inDatabase(watched, (db) => verifyAudit({ db }));
  return brokenAt === null ? [] : [`I7 the audit chain is broken at ${brokenAt}`];
}

async function orphans(watched: Watched, attempts: AttemptRow[]): Promise<string[]> {
  const live = attempts.filter((one) => one.gone_at === null).map((one) => keyOf(one.id));
  const wrong = watched.hands.leftovers(live).map((name) => `I8 left behind: ${name}`);
  for (const one of attempts)
    if (one.state === "ended" && one.gone_at === null) wrong.push(`I8 the work of ${one.id} is not gone`);
  const known = await watched.rows<{ id: string; status: string; open: number }>(
    `SELECT a.id, a.status, t.state <> 'ended' AS open FROM artifact a JOIN attempt t ON t.id = a.attempt_id`,
  );
  for (const { id, status, open } of known)
    if (status === "uploading" && !open) wrong.push(`I8 the upload of ${id} was never taken back`);
  const kept = known.filter((one) => one.status !== "deleted").map((one) => one.id);
  const folder = join(watched.dir, "artifacts");
  for (const name of existsSync(folder) ? readdirSync(folder, { recursive: true, encoding: "utf8" }) : []) {
    const [id = ""] = name.split("/");
    if (!kept.includes(id) || name.endsWith(".tmp")) wrong.push(`I8 left behind: artifacts/${name}`);
  }
  const holds = await watched.rows<{ job_id: string }>("SELECT job_id FROM budget_hold ORDER BY 1");
  const running = attempts.filter((one) => one.state !== "ended").map((one) => one.job_id);
  if (String(holds.map((one) => one.job_id)) !== String(running))
    wrong.push(`I8 budgets are held for ${holds.map((one) => one.job_id)}, attempts of ${running} are open`);
  const temporary = join(watched.dir, "tmp");
  for (const name of existsSync(temporary) ? readdirSync(temporary) : []) wrong.push(`I8 left behind: tmp/${name}`);
  return wrong;
}

async function look(watched: Watched): Promise<string[]> {
  const jobs = await watched.rows<JobRow>("SELECT id, kind, state, spec, progress, finished_at FROM job");
  const attempts = await watched.rows<AttemptRow>("SELECT * FROM attempt ORDER BY job_id, number");
  return [
    ...(await acknowledgedWrites(watched)),
    ...(await wholeDatabase(watched)),
    ...liveWork(watched, attempts),
    ...(await legalStates(watched, jobs, attempts)),
    ...(await wholeCurves(watched, jobs, attempts)),
    ...(await billedOnce(watched, attempts)),
    ...(await unbrokenAudit(watched)),
    ...(await orphans(watched, attempts)),
  ];
}

/**
 * Checks I1 to I8. What ended a moment ago gets a while to be gone; everything else must hold by then too.
 * @param settleMs how long that is
 * @throws an error that names every broken invariant
 */
export async function checkInvariants(watched: Watched, settleMs = SETTLE_MS): Promise<void> {
  const end = Date.now() + settleMs;
  let broken = await look(watched);
  while (broken.length > 0 && Date.now() < end) {
    await Bun.sleep(200);
    broken = await look(watched);
  }
  if (broken.length > 0) throw new Error(`broken invariants:\n  ${broken.join("\n  ")}`);
}
