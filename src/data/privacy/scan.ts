/**
 * Scans ready versions for personal data in the background, one at a time and the newest first. A version can be used
 * before its scan has ended. A scan that a restart interrupted starts again.
 */
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { and, desc, eq, inArray, isNull, notInArray, sql } from "drizzle-orm";
import { type Actor, type Ctx, perContext } from "../../ctx.ts";
import { dataset, piiScan } from "../../db/schema/datasets.ts";
import { AppError } from "../../errors.ts";
import { workQueue } from "../../lib/background/work-queue.ts";
import { keepUnit } from "../../objects/keep.ts";
import { localUnit } from "../../objects/local.ts";
import { versionOf } from "../datasets/versions.ts";
import type { PiiOutcome } from "../pii/scan-rows.ts";
import { FINDINGS_FILE } from "../pii/scan-rows.ts";
import { runInWorker, WorkerFailure } from "../validation/worker/host.ts";
import type { ScanRow } from "./model.ts";

const SILENCE_MS = 300_000;
const PROGRESS_MS = 500;

/** A scan by the id of its version. */
interface Waiting {
  id: string;
  scan: ScanRow;
}

async function nextScan(ctx: Ctx, running: string[]): Promise<Waiting | null> {
  const [row] = await ctx.db
    .select({ scan: piiScan })
    .from(piiScan)
    .innerJoin(dataset, eq(dataset.id, piiScan.datasetId))
    .where(
      and(
        inArray(piiScan.status, ["waiting", "running"]),
        isNull(dataset.deletedAt),
        notInArray(piiScan.versionId, running),
      ),
    )
    .orderBy(desc(piiScan.createdAt))
    .limit(1);
  return row ? { id: row.scan.versionId, scan: row.scan } : null;
}

/** The scans that wait and the one that runs. */
const scanQueue = perContext((ctx) =>
  workQueue<Waiting>(ctx, {
    what: "versions to scan for personal data",
    atOnce: 1,
    next: (running) => nextScan(ctx, running),
    run: (waiting, signal) => scan(ctx, waiting.scan, signal),
  }),
);

const announce = (ctx: Ctx, { org, datasetId, versionId }: ScanRow) =>
  ctx.bus.emit("dataset.changed", { org, datasetId, versionId });

async function update(ctx: Ctx, row: ScanRow, values: Partial<ScanRow>, relaxed = false): Promise<void> {
  await ctx.write((tx) => tx.update(piiScan).set(values).where(eq(piiScan.versionId, row.versionId)), { relaxed });
  announce(ctx, row);
}

function failureOf(ctx: Ctx, row: ScanRow, cause: unknown): string {
  ctx.log("error", "a scan for personal data failed", { version: row.versionId, cause });
  const message = cause instanceof Error ? cause.message : "";
  if (message.includes("Presidio") || message.includes("posix_spawn"))
    return `Presidio could not run: ${message.slice(0, 300)} See the setting presidio_python.`;
  if (cause instanceof WorkerFailure && (cause.code === "ENOSPC" || cause.code === "EDQUOT"))
    return "The server's disk is full, so the findings could not be written. Free some space, then scan again.";
  return "The scan failed because of a server error; the details are in the server log. Scan again.";
}

async function scan(ctx: Ctx, row: ScanRow, signal: AbortSignal): Promise<void> {
  const { presidio_python: python, presidio_language: language } = ctx.config;
  const dir = ctx.files.path("datasets", row.versionId);
  await update(ctx, row, { status: "running", rowsDone: 0, engine: python ? "builtin+presidio" : "builtin" });
  let savedAt = ctx.clock.monotonic();
  let found: PiiOutcome;
  try {
    await localUnit(ctx, { folder: "datasets", id: row.versionId });
    const answer = await runInWorker(
      { type: "pii", dir, presidio: python ? { python, language } : null },
      {
        signal,
        silenceMs: SILENCE_MS,
        onMessage(message) {
          if (message.type !== "progress" || ctx.clock.monotonic() - savedAt < PROGRESS_MS) return;
          savedAt = ctx.clock.monotonic();
          void update(ctx, row, { rowsDone: message.done }, true).catch(() => {});
        },
      },
    );
    await keepUnit(ctx, { folder: "datasets", id: row.versionId, org: row.org });
    if (answer.type !== "scanned") throw new WorkerFailure("the worker sent an unexpected answer", null);
    found = answer.found;
  } catch (cause) {
    // The server is stopping: the row stays as it is, and the next start scans the version again.
    if (signal.aborted) return;
    const error = existsSync(join(dir, "train.jsonl"))
      ? failureOf(ctx, row, cause)
      : "The rows of this version are no longer on the server's disk.";
    await rm(join(dir, `${FINDINGS_FILE}.part`), { force: true });
    return update(ctx, row, { status: "failed", error, finishedAt: ctx.clock.now() });
  }
  const { rows, rowsFound, counts } = found;
  const done = { status: "done" as const, rowsDone: rows, rowsFound, counts, error: null };
  await update(ctx, row, { ...done, finishedAt: ctx.clock.now() });
}

/**
 * Scans a version again.
 * @throws AppError `pii_scan_off`, `version_not_ready`, `scan_running`
 */
export async function scanAgain(ctx: Ctx, actor: Actor, datasetId: string, versionId?: string): Promise<void> {
  const version = await versionOf(ctx, actor, datasetId, versionId);
  if (ctx.config.pii_scan === "off")
    throw new AppError("conflict", "pii_scan_off", "This installation does not scan datasets (setting pii_scan).");
  if (version.status !== "ready")
    throw new AppError("conflict", "version_not_ready", "Only a version that is ready can be scanned.");
  const waiting = { status: "waiting" as const, rowsDone: 0, rowsFound: 0, counts: {}, error: null };
  const values = { versionId: version.id, org: version.org, datasetId, engine: "builtin", createdAt: ctx.clock.now() };
  await ctx.write(async (tx) => {
    const [before] = await tx.select().from(piiScan).where(eq(piiScan.versionId, version.id));
    if (before?.status === "running")
      throw new AppError("conflict", "scan_running", "This version is being scanned. Wait until the scan has ended.");
    await tx
      .insert(piiScan)
      .values({ ...values, ...waiting })
      .onConflictDoUpdate({ target: piiScan.versionId, set: waiting });
  });
  scanQueue(ctx).kick();
}

/** Queues every ready version that has no scan: those that an update found, and those of a time without scans. */
async function queueMissing(ctx: Ctx): Promise<void> {
  await ctx.write((tx) =>
    tx.run(sql`
      insert into pii_scan (version_id, org, dataset_id, status, engine, counts, created_at)
      select v.id, v.org, v.dataset_id, 'waiting', 'builtin', '{}', v.created_at
      from dataset_version v join dataset d on d.id = v.dataset_id
      where v.status = 'ready' and d.deleted_at is null
        and not exists (select 1 from pii_scan s where s.version_id = v.id)`),
  );
  scanQueue(ctx).kick();
}

/** Scans what waits, and every version that becomes ready. @returns a function that stops it */
export function startScans(ctx: Ctx): () => void {
  if (ctx.config.pii_scan === "off") return () => {};
  queueMissing(ctx).catch((cause) => {
    if (!ctx.signal.aborted) ctx.log("error", "scans for personal data could not be continued", { cause });
  });
  return ctx.bus.on("dataset.changed", ({ versionId }) => {
    if (versionId) scanQueue(ctx).kick();
  });
}
