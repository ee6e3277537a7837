/**
 * Validates waiting versions, oldest first. The queue is the database table alone, so a validation that was interrupted
 * by a stop of the server starts again from the beginning.
 */
import { existsSync } from "node:fs";
import { readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { and, asc, eq, isNull, notInArray, sql } from "drizzle-orm";
import { requestCheck } from "../../accounts/restrictions/requests.ts";
import type { Ctx } from "../../ctx.ts";
import { perContext } from "../../ctx.ts";
import { dataset, datasetVersion, file, piiScan } from "../../db/schema/datasets.ts";
import type { Db } from "../../db/types.ts";
import { workQueue } from "../../lib/background/work-queue.ts";
import { type BusMessage, emitAll } from "../../lib/bus.ts";
import { recordEvent } from "../../notices/events/store.ts";
import { dropUnit, keepUnit } from "../../objects/keep.ts";
import { localUnit } from "../../objects/local.ts";
import { clearWork } from "./containers/opening.ts";
import type { Mapping } from "./mapping/model.ts";
import type { ValidateOutcome } from "./pass/task.ts";
import { validationTask } from "./task-of.ts";
import { runInWorker, WorkerFailure } from "./worker/host.ts";
import type { WorkerAnswer } from "./worker/worker.ts";

/** Validations in parallel: two, so that a small file does not wait for a large one. */
const AT_ONCE = 2;
const SILENCE_MS = 120_000;
const PROGRESS_MS = 500;
const PART = ".part";

type Waiting = Awaited<ReturnType<typeof nextWaiting>>;

/** The result of a validation; without a report when the worker failed. */
type Outcome = Pick<ValidateOutcome, "status" | "hash" | "error"> & { report: ValidateOutcome["report"] | null };

async function nextWaiting(ctx: Ctx, running: string[]) {
  const [row] = await ctx.db
    .select({
      id: datasetVersion.id,
      org: datasetVersion.org,
      datasetId: datasetVersion.datasetId,
      number: datasetVersion.number,
      fileId: datasetVersion.fileId,
      filename: file.filename,
      mapping: datasetVersion.mapping,
      reading: datasetVersion.reading,
      splitSeed: datasetVersion.splitSeed,
      holdoutFraction: datasetVersion.holdoutFraction,
      skipBad: datasetVersion.skipBad,
      removeDuplicates: datasetVersion.removeDuplicates,
    })
    .from(datasetVersion)
    .innerJoin(dataset, eq(dataset.id, datasetVersion.datasetId))
    .leftJoin(file, eq(file.id, datasetVersion.fileId))
    .where(
      and(eq(datasetVersion.status, "validating"), isNull(dataset.deletedAt), notInArray(datasetVersion.id, running)),
    )
    .orderBy(asc(datasetVersion.createdAt))
    .limit(1);
  return row ?? null;
}

/** The versions that wait for validation and are being validated. A version that is being deleted is stopped. */
export const validationQueue = perContext((ctx) =>
  workQueue<NonNullable<Waiting>>(ctx, {
    what: "datasets to validate",
    atOnce: AT_ONCE,
    next: (running) => nextWaiting(ctx, running),
    run: (version, signal) => validate(ctx, version, signal),
  }),
);

async function validate(ctx: Ctx, version: NonNullable<Waiting>, signal: AbortSignal) {
  const part = ctx.files.path("datasets", version.id + PART);
  let outcome: Outcome;
  try {
    if (!version.fileId || !existsSync(await localUnit(ctx, { folder: "files", id: version.fileId })))
      throw new WorkerFailure("The uploaded file is gone.", "ENOENT");
    outcome = await runValidation(ctx, version, version.fileId, part, signal);
    if (outcome.status === "ready") {
      const place = ctx.files.path("datasets", version.id);
      await rm(place, { recursive: true, force: true });
      await rename(part, place);
      await keepUnit(ctx, { folder: "datasets", id: version.id, org: version.org });
    }
  } catch (error) {
    // The server is stopping. The row keeps the status "validating", so the next start validates it again.
    if (signal.aborted) return;
    outcome = { status: "failed", hash: null, error: failureOf(ctx, version.id, error), report: null };
  } finally {
    await rm(part, { recursive: true, force: true });
    clearWork(part);
  }
  await record(ctx, version, outcome);
}

/** Runs the worker process on the file, with its output in `outDir`. */
async function runValidation(
  ctx: Ctx,
  version: NonNullable<Waiting>,
  fileId: string,
  outDir: string,
  signal: AbortSignal,
): Promise<ValidateOutcome> {
  let savedAt = 0;
  const onMessage = (message: WorkerAnswer) => {
    if (message.type !== "progress" || ctx.clock.monotonic() - savedAt < PROGRESS_MS) return;
    savedAt = ctx.clock.monotonic();
    void saveProgress(ctx, version, message.done);
  };
  const task = validationTask(ctx, { ...version, fileId }, outDir);
  const answer = await runInWorker(task, { signal, silenceMs: SILENCE_MS, onMessage });
  if (answer.type !== "validated") throw new WorkerFailure("the worker sent an unexpected answer", null);
  return answer.outcome;
}

function failureOf(ctx: Ctx, versionId: string, error: unknown): string {
  const code = error instanceof WorkerFailure ? error.code : null;
  if (code === "ENOSPC" || code === "EDQUOT" || code === "disk_full")
    return "The server's disk is full, so the rows could not be written. Free some space, then create a new version.";
  if (code === "ENOENT") return "The uploaded file is gone. Upload it again.";
  ctx.log("error", "validation failed", { version: versionId, cause: error });
  return "Validation failed because of a server error; the details are in the server log. Create a new version to retry.";
}

async function saveProgress(ctx: Ctx, version: NonNullable<Waiting>, bytesRead: number) {
  try {
    await ctx.write((tx) => tx.update(datasetVersion).set({ bytesRead }).where(eq(datasetVersion.id, version.id)), {
      relaxed: true,
    });
    ctx.bus.emit("dataset.changed", { org: version.org, datasetId: version.datasetId, versionId: version.id });
  } catch (cause) {
    if (!ctx.signal.aborted) ctx.log("warn", "progress of a validation was not stored", { cause });
  }
}

/** Total bytes of the files directly in a folder. */
async function sizeOfFolder(folder: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(folder)) bytes += (await stat(join(folder, name))).size;
  return bytes;
}

/** Queues the scan of a version that is ready. */
async function queueScan(tx: Db, ctx: Ctx, { id, org, datasetId }: NonNullable<Waiting>): Promise<void> {
  const values = { versionId: id, org, datasetId, engine: "builtin", counts: {}, createdAt: ctx.clock.now() };
  await tx
    .insert(piiScan)
    .values({ ...values, status: "waiting" })
    .onConflictDoNothing();
}

/** Stores the event of a validated version. Only its failure is news to the user of the dataset. */
async function recordValidated(
  tx: Db,
  ctx: Ctx,
  version: NonNullable<Waiting>,
  outcome: Outcome,
): Promise<BusMessage[]> {
  const [of] = await tx
    .select({ name: dataset.name, createdBy: dataset.createdBy })
    .from(dataset)
    .where(and(eq(dataset.id, version.datasetId), isNull(dataset.deletedAt)));
  if (!of) return [];
  const failed = outcome.status === "failed";
  const message = await recordEvent(tx, ctx, {
    org: version.org,
    type: failed ? "dataset.failed" : "dataset.ready",
    subject: version.datasetId,
    userId: failed ? of.createdBy : null,
    title: failed ? `Dataset ${of.name} cannot be used` : `Dataset ${of.name} is ready`,
    body: outcome.error ?? "",
    path: `/datasets/${version.datasetId}`,
  });
  return [message];
}

/** Asks for the moderation checks of a version that is ready, where the installation has any. */
async function checked(tx: Db, ctx: Ctx, { id, org, datasetId, number }: NonNullable<Waiting>, hash: string | null) {
  const [of] = await tx
    .select({ name: dataset.name, createdBy: dataset.createdBy })
    .from(dataset)
    .where(and(eq(dataset.id, datasetId), isNull(dataset.deletedAt)));
  if (!of) return [];
  const name = `${of.name}, version ${number}`;
  return requestCheck(tx, ctx, { org, object: "dataset_version", subject: id, name, hash, userId: of.createdBy });
}

async function record(ctx: Ctx, version: NonNullable<Waiting>, outcome: Outcome) {
  const { report } = outcome;
  const fileId = version.fileId;
  const bytes = outcome.status === "ready" ? await sizeOfFolder(ctx.files.path("datasets", version.id)) : 0;
  const kept = await ctx.write(async (tx) => {
    const rows = await tx
      .update(datasetVersion)
      .set({
        status: outcome.status,
        hash: outcome.hash,
        mapping: (version.mapping as Mapping | null) ?? report?.mapping?.used ?? null,
        format: report?.format ?? null,
        rowType: report?.row_type ?? "chat",
        rows: report?.rows ?? 0,
        trainRows: report?.split.train_rows ?? 0,
        holdoutRows: report?.split.holdout_rows ?? 0,
        badRows: report?.bad_rows ?? 0,
        bytesRead: report?.bytes ?? 0,
        // The dataset may have been deleted in the meantime.
        bytes: sql`(select case when deleted_at is null then ${bytes} else 0 end from dataset where id = ${version.datasetId})`,
        report,
        error: outcome.error,
        finishedAt: ctx.clock.now(),
      })
      .where(and(eq(datasetVersion.id, version.id), eq(datasetVersion.status, "validating")))
      .returning({ id: datasetVersion.id });
    // The status of the file follows its first validation, because OpenAI clients wait for it.
    if (rows.length > 0 && fileId)
      await tx
        .update(file)
        .set({
          status: outcome.status === "failed" ? "error" : "processed",
          statusDetails: outcome.status === "failed" ? outcome.error : null,
        })
        .where(and(eq(file.id, fileId), eq(file.status, "uploaded")));
    if (rows.length === 0) return null;
    const ready = outcome.status === "ready";
    if (ready && ctx.config.pii_scan === "on") await queueScan(tx, ctx, version);
    const noticed = await recordValidated(tx, ctx, version, outcome);
    return ready ? [...noticed, ...(await checked(tx, ctx, version, outcome.hash))] : noticed;
  });
  if (!kept) {
    await dropUnit(ctx, { folder: "datasets", id: version.id });
    return;
  }
  emitAll(ctx.bus, kept);
  ctx.bus.emit("dataset.changed", { org: version.org, datasetId: version.datasetId, versionId: version.id });
  if (fileId) ctx.bus.emit("file.changed", { org: version.org, fileId });
}

/** Deletes incomplete rows that a killed server left in the datasets folder. */
export async function removeHalfDone(ctx: Ctx): Promise<void> {
  const folder = ctx.files.path("datasets");
  const { running } = validationQueue(ctx);
  for (const name of await readdir(folder))
    if (name.includes(PART) && !running.has(name.slice(0, name.indexOf(PART))))
      await rm(join(folder, name), { recursive: true, force: true });
}
