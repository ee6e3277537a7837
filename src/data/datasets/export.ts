/** Downloads of a dataset: the rows of a version, or the faulty rows of its file with their problems. */
import { createReadStream, existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { randomChars } from "../../lib/ids.ts";
import { localUnit } from "../../objects/local.ts";
import { getFile } from "../files/service.ts";
import type { VersionRow } from "../validation/model.ts";
import { validationTask } from "../validation/task-of.ts";
import { runInWorker, WorkerFailure } from "../validation/worker/host.ts";
import { rowsOnly } from "./append.ts";
import { splitPath } from "./rows.ts";
import { requireReady, versionOf } from "./versions.ts";

const SILENCE_MS = 120_000;

/**
 * The rows of a version as JSONL in the order of the file, without their numbers, so that the file can be uploaded.
 * @throws AppError `version_not_ready`, `rows_gone`
 */
export async function versionContent(
  ctx: Ctx,
  actor: Actor,
  datasetId: string,
  versionId?: string,
): Promise<{ version: VersionRow; rows: AsyncGenerator<Uint8Array> }> {
  const version = await versionOf(ctx, actor, datasetId, versionId);
  requireReady(version);
  const dir = await localUnit(ctx, { folder: "datasets", id: version.id });
  if (!existsSync(splitPath(ctx, version.id, "train")))
    throw new AppError("gone", "rows_gone", "The rows of this version are no longer on the server's disk.");
  return { version, rows: rowsOnly(dir) };
}

async function* fileOnce(path: string): AsyncGenerator<Uint8Array> {
  try {
    yield* createReadStream(path);
  } finally {
    await rm(path, { force: true });
  }
}

/**
 * The faulty rows of a version's file as JSONL: `line`, `problems` and `text`, the source. Reads the file again.
 * @throws AppError `file_not_found`, `bytes_missing`, `rows_not_read`
 */
export async function faultyRows(
  ctx: Ctx,
  actor: Actor,
  datasetId: string,
  versionId: string | undefined,
  signal: AbortSignal,
): Promise<{ version: VersionRow; rows: AsyncGenerator<Uint8Array> }> {
  const version = await versionOf(ctx, actor, datasetId, versionId);
  const file = await getFile(ctx, actor, version.fileId ?? "");
  if (!existsSync(await localUnit(ctx, { folder: "files", id: file.id })))
    throw new AppError(
      "gone",
      "bytes_missing",
      "The uploaded file is no longer on the server's disk. Upload it again.",
    );
  const path = ctx.files.path("tmp", `body-${randomChars(16)}`);
  const outDir = `${path}.rows`;
  try {
    const task = validationTask(ctx, { ...version, fileId: file.id, filename: file.filename }, outDir);
    const answer = await runInWorker({ ...task, faults: path }, { signal, silenceMs: SILENCE_MS });
    if (answer.type !== "validated" || !existsSync(path)) await Bun.write(path, "");
  } catch (cause) {
    await rm(path, { force: true });
    if (!(cause instanceof WorkerFailure)) throw cause;
    throw new AppError("unavailable", "rows_not_read", "The file could not be read again. Try again.", { cause });
  } finally {
    await rm(outDir, { recursive: true, force: true });
  }
  return { version, rows: fileOnce(path) };
}
