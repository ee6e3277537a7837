/**
 * Artifacts: files that a trainer uploads in resumable parts. They are checked and hashed, and become valid when the
 * manifest is written last.
 */
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { and, eq } from "drizzle-orm";
import * as v from "valibot";
import type { FileEntry } from "../../contract/spec.ts";
import type { ArtifactCompleted, ArtifactOpen, ArtifactOpened } from "../../contract/trainer.ts";
import { type Ctx, perContext } from "../../ctx.ts";
import { artifact, checkpoint } from "../../db/schema/models.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { isSafePath, manifestHash, sha256File } from "../../lib/disk/manifest.ts";
import { requireDisk } from "../../lib/disk/reserve.ts";
import { newId } from "../../lib/ids.ts";
import { createInTurn } from "../../lib/in-turn.ts";
import { addCheckpoint, artifactDir } from "../../models/tuned/service.ts";
import { dropUnit, keepUnit } from "../../objects/keep.ts";
import { addEvent } from "../metrics/events.ts";
import { badFile, contentProblem, headProblem, KINDS_TEXT, kindOf } from "./content.ts";
import { removeFile, sizeOf, syncTree, writeManifest, writePart } from "./disk.ts";
import { OpenRequest } from "./model.ts";
import { prune } from "./prune.ts";
import type { Trainer } from "./token.ts";

type ArtifactRow = typeof artifact.$inferSelect;

const MANIFEST = "manifest.json";
/** Most open artifacts of an attempt. */
const MAX_OPEN = 8;

function checkList(kind: string, files: FileEntry[]): void {
  const seen = new Set<string>();
  for (const { path, size } of files) {
    if (!isSafePath(path) || path.split("/").some((segment) => segment.startsWith(".")))
      throw badFile(
        path.slice(0, 200),
        "a path consists of plain names ([A-Za-z0-9._-], not starting with a dot)",
        "bad_path",
      );
    if (!kindOf(path)) throw badFile(path, `only ${KINDS_TEXT} files are accepted`);
    if (path.toLowerCase() === MANIFEST) throw badFile(path, "this name is reserved for the server's manifest");
    if (seen.has(path.toLowerCase())) throw badFile(path, "listed twice");
    seen.add(path.toLowerCase());
    if (size === 0 && kindOf(path) !== "text" && kindOf(path) !== "jsonl") throw badFile(path, "the file is empty");
  }
  for (const path of seen)
    for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1))
      if (seen.has(path.slice(0, at))) throw badFile(path, "the path is below another file");
  const weights = files.some((file) => kindOf(file.path) === (kind === "gguf" ? "gguf" : "safetensors"));
  if (kind !== "report" && !weights)
    throw new AppError("unprocessable", "no_weights", `An artifact of kind ${kind} needs a file with weights.`, {
      param: "files",
    });
}

async function offsets(ctx: Ctx, row: ArtifactRow): Promise<ArtifactOpened["files"]> {
  const directory = artifactDir(ctx, row.id);
  return Promise.all(
    row.files.map(async ({ path, size }) => ({
      path,
      offset: row.status === "complete" ? size : await sizeOf(join(directory, path)),
    })),
  );
}

/** Requests about the same artifact run one at a time, so that a repeated request finds the rows of the first. */
const inTurnOf = perContext(createInTurn);

/** The request as a list of fields. @throws AppError 400 with the field, 422 (paths, kinds) */
function readOpen(body: unknown): ArtifactOpen {
  const parsed = v.safeParse(OpenRequest, body);
  if (!parsed.success) {
    const param = v.getDotPath(parsed.issues[0]);
    throw new AppError("invalid", "invalid_value", `Invalid '${param ?? "body"}': ${parsed.issues[0].message}`, {
      param,
    });
  }
  checkList(parsed.output.kind, parsed.output.files);
  return parsed.output;
}

/** @throws AppError `disk_full` (507), `too_many_uploads` (429) */
async function requireSpace(ctx: Ctx, attemptId: string, bytes: number): Promise<void> {
  requireDisk(ctx.files.path("artifacts"), ctx.config.disk_reserve_bytes, bytes);
  const open = await ctx.db
    .select({ id: artifact.id })
    .from(artifact)
    .where(and(eq(artifact.attemptId, attemptId), eq(artifact.status, "uploading")))
    .limit(MAX_OPEN);
  if (open.length >= MAX_OPEN)
    throw new AppError("rate_limited", "too_many_uploads", `Complete one of the ${MAX_OPEN} open artifacts first.`, {
      retryAfterS: 5,
    });
}

/** Opens an artifact, or returns the same one again. @throws AppError 400, 422 (paths, kinds), 429, 507 */
export async function openArtifact(ctx: Ctx, trainer: Trainer, body: unknown): Promise<ArtifactOpened> {
  const { kind, step, metrics, files } = readOpen(body);
  const { id: attemptId, jobId, org } = trainer;
  return inTurnOf(ctx)(attemptId, async () => {
    const hash = manifestHash(files);
    const own = and(eq(artifact.attemptId, attemptId), eq(artifact.kind, kind), eq(artifact.step, step));
    const [same] = await ctx.db
      .select()
      .from(artifact)
      .where(and(own, eq(artifact.manifestHash, hash)))
      .limit(1);
    if (same && (same.status === "complete" || same.status === "uploading"))
      return { artifact_id: same.id, complete: same.status === "complete", files: await offsets(ctx, same) };

    const bytes = files.reduce((sum, file) => sum + file.size, 0);
    await requireSpace(ctx, attemptId, bytes);
    const row: ArtifactRow = {
      id: newId("artifact"),
      org,
      jobId,
      attemptId,
      kind,
      step,
      metrics,
      files,
      manifestHash: hash,
      bytes,
      status: "uploading",
      createdAt: ctx.clock.now(),
      completedAt: null,
    };
    await mkdir(artifactDir(ctx, row.id), { recursive: true, mode: 0o700 });
    await ctx.write(async (tx) => {
      // A repeated upload replaces an artifact that was pruned or found damaged.
      if (same) await tx.delete(artifact).where(eq(artifact.id, same.id));
      await tx.insert(artifact).values(row);
    });
    if (same) await dropUnit(ctx, { folder: "artifacts", id: same.id });
    return { artifact_id: row.id, complete: false, files: files.map(({ path }) => ({ path, offset: 0 })) };
  });
}

async function ownArtifact(ctx: Ctx, trainer: Trainer, id: string): Promise<ArtifactRow> {
  const [row] = await ctx.db
    .select()
    .from(artifact)
    .where(and(eq(artifact.id, id), eq(artifact.attemptId, trainer.id)))
    .limit(1);
  if (!row || row.status === "deleted" || row.status === "invalid") throw notFound("artifact", id.slice(0, 100));
  return row;
}

/** A part that does not start at the end of the file. The answer has the current size as `offset`. */
export class WrongOffset extends AppError {
  readonly offset: number;
  constructor(offset: number) {
    super("conflict", "wrong_offset", `The file has ${offset} bytes so far. Send the part that starts there.`, {
      param: "offset",
    });
    this.offset = offset;
  }
}

/**
 * Appends a part to a file. The first part must match the file's extension.
 * @returns the new size of the file
 * @throws WrongOffset (409), AppError 404, 413 (longer than declared), 422, 507
 */
export async function putPart(
  ctx: Ctx,
  trainer: Trainer,
  id: string,
  path: string,
  offset: number,
  bytes: Uint8Array,
): Promise<{ offset: number }> {
  const row = await ownArtifact(ctx, trainer, id);
  const entry = row.files.find((file) => file.path === path);
  if (!entry) throw notFound("artifact_file", path.slice(0, 200));
  if (row.status === "complete") throw new WrongOffset(entry.size);
  const target = join(artifactDir(ctx, id), entry.path);
  return inTurnOf(ctx)(`${id}/${path}`, async () => {
    const have = await sizeOf(target);
    if (offset !== have) throw new WrongOffset(have);
    if (offset + bytes.byteLength > entry.size)
      throw new AppError(
        "too_large",
        "file_too_long",
        `${path} was declared with ${entry.size} bytes; this part exceeds that.`,
        { param: path },
      );
    const kind = kindOf(path);
    if (offset === 0 && bytes.byteLength > 0 && kind) {
      const problem = headProblem(kind, bytes, entry.size);
      if (problem && bytes.byteLength >= Math.min(64, entry.size)) throw badFile(path, problem);
    }
    requireDisk(ctx.files.path("artifacts"), ctx.config.disk_reserve_bytes, bytes.byteLength);
    await mkdir(dirname(target), { recursive: true, mode: 0o700 });
    await writePart(target, offset, bytes);
    return { offset: offset + bytes.byteLength };
  });
}

async function requireComplete(directory: string, file: FileEntry): Promise<void> {
  const target = join(directory, file.path);
  const have = await sizeOf(target);
  if (have !== file.size)
    throw badFile(file.path, `${have} of ${file.size} bytes were received; send the rest first`, "incomplete_file");
  if (file.size === 0) await writePart(target, 0, new Uint8Array());
  const kind = kindOf(file.path);
  const problem =
    (await sha256File(target)) !== file.sha256
      ? "the received bytes do not match the declared sha256; send the file again"
      : kind && (await contentProblem(target, kind, file.size));
  if (!problem) return;
  // The next upload of this file starts at 0.
  await removeFile(target);
  throw badFile(file.path, problem);
}

async function reply(db: Db, row: ArtifactRow): Promise<ArtifactCompleted> {
  const [point] = await db.select().from(checkpoint).where(eq(checkpoint.artifactId, row.id)).limit(1);
  return { artifact_id: row.id, checkpoint_id: point?.id ?? null, model: point?.model ?? null };
}

/** Marks an artifact as complete, with its checkpoint and event, in one transaction. */
function storeCompleted(ctx: Ctx, trainer: Trainer, row: ArtifactRow): Promise<ArtifactCompleted> {
  const { spec, org, jobId } = trainer;
  const now = ctx.clock.now();
  return ctx.write(async (tx) => {
    await tx.update(artifact).set({ status: "complete", completedAt: now }).where(eq(artifact.id, row.id));
    if (row.kind !== "checkpoint" || spec.kind !== "train") return reply(tx, row);
    const { step, metrics } = row;
    const point = await addCheckpoint(tx, {
      jobId,
      org,
      artifactId: row.id,
      step,
      metrics,
      model: spec.output_model,
      at: now,
    });
    await addEvent(tx, {
      jobId,
      attemptId: trainer.id,
      type: "checkpoint",
      step,
      message: `Checkpoint of step ${step} saved`,
      data: { checkpoint_id: point.id, model: point.model, bytes: row.bytes },
      at: now,
    });
    return { artifact_id: row.id, checkpoint_id: point.id, model: point.model };
  });
}

/**
 * Completes an artifact: checks and hashes every file, then writes the manifest, then the rows. Repeating it returns
 * the same answer.
 * @throws AppError 404, 422 naming the file, 503 (the object store), 507
 */
export async function completeArtifact(ctx: Ctx, trainer: Trainer, id: string): Promise<ArtifactCompleted> {
  return inTurnOf(ctx)(id, async () => {
    const row = await ownArtifact(ctx, trainer, id);
    if (row.status === "complete") return reply(ctx.db, row);
    const directory = artifactDir(ctx, id);
    for (const file of row.files) await requireComplete(directory, file);
    await syncTree(directory, row.files);
    await writeManifest(join(directory, MANIFEST), {
      version: 1,
      artifact_id: row.id,
      job_id: row.jobId,
      kind: row.kind,
      step: row.step,
      metrics: row.metrics,
      files: row.files,
      manifest_hash: row.manifestHash,
    });
    ctx.failPoint("artifact.checked");
    const hashes = new Map(row.files.map((file) => [file.path, file.sha256]));
    await keepUnit(ctx, { folder: "artifacts", id, org: row.org }, hashes);
    const done = await storeCompleted(ctx, trainer, row);
    const { spec, org, jobId } = trainer;
    if (done.checkpoint_id) {
      ctx.bus.emit("checkpoint.added", { org, jobId, checkpointId: done.checkpoint_id, step: row.step });
      if (spec.kind === "train")
        await prune(ctx, jobId, {
          keep: spec.schedule.keep_checkpoints,
          best: spec.hyperparameters.keep_best ?? false,
          fresh: id,
        });
    }
    return done;
  });
}
