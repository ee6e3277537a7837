/**
 * Artifacts: files a trainer uploads in resumable parts; checked, hashed, and made to count by a manifest that is
 * written last.
 */
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { and, eq } from "drizzle-orm";
import * as v from "valibot";
import type { FileEntry } from "../../contract/spec.ts";
import type { ArtifactCompleted, ArtifactOpened } from "../../contract/trainer.ts";
import type { Ctx } from "../../ctx.ts";
import { artifact, checkpoint } from "../../db/schema/models.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { isSafePath, manifestHash, sha256File } from "../../lib/disk/manifest.ts";
import { requireDisk } from "../../lib/disk/reserve.ts";
import { newId } from "../../lib/ids.ts";
import { addCheckpoint, artifactDir } from "../../models/tuned/service.ts";
import { addEvent } from "../metrics/events.ts";
import { badFile, contentProblem, headProblem, KINDS_TEXT, kindOf } from "./content.ts";
import { removeDirectory, removeFile, sizeOf, syncTree, writeManifest, writePart } from "./disk.ts";
import { prune } from "./prune.ts";
import type { Trainer } from "./token.ts";

type ArtifactRow = typeof artifact.$inferSelect;

const MANIFEST = "manifest.json";
const MAX_FILES = 200;
const MAX_FILE_BYTES = 256 * 1024 ** 3;
/** Artifacts of one attempt that may be open at once. */
const MAX_OPEN = 8;

const measured = v.union([v.pipe(v.number(), v.finite()), v.picklist(["NaN", "Infinity", "-Infinity"])]);
const OpenSchema = v.object({
  kind: v.picklist(["checkpoint", "adapter", "model", "merged", "gguf", "report"]),
  step: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  metrics: v.pipe(
    v.record(v.pipe(v.string(), v.maxLength(200)), measured),
    v.check((metrics) => Object.keys(metrics).length <= 500, "at most 500 metrics"),
  ),
  files: v.pipe(
    v.array(
      v.object({
        path: v.pipe(v.string(), v.maxLength(500)),
        size: v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(MAX_FILE_BYTES)),
        sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
      }),
    ),
    v.minLength(1),
    v.maxLength(MAX_FILES),
  ),
});

function checkList(kind: string, files: FileEntry[]): void {
  const seen = new Set<string>();
  for (const { path, size } of files) {
    if (!isSafePath(path) || path.split("/").some((segment) => segment.startsWith(".")))
      throw badFile(
        path.slice(0, 200),
        "a path is made of plain names ([A-Za-z0-9._-], not beginning with a dot)",
        "bad_path",
      );
    if (!kindOf(path)) throw badFile(path, `only ${KINDS_TEXT} files are taken`);
    if (path.toLowerCase() === MANIFEST) throw badFile(path, "this name is kept for the server's own list of files");
    if (seen.has(path.toLowerCase())) throw badFile(path, "named twice");
    seen.add(path.toLowerCase());
    if (size === 0 && kindOf(path) !== "text" && kindOf(path) !== "jsonl") throw badFile(path, "an empty file");
  }
  for (const path of seen)
    for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1))
      if (seen.has(path.slice(0, at))) throw badFile(path, "lies under the name of another file");
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

/** Artifacts being opened, by attempt: one at a time, so that a repeated request finds the first one's row. */
const turns = new Map<string, Promise<unknown>>();

async function inTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
  const before = turns.get(key) ?? Promise.resolve();
  const mine = before.catch(() => {}).then(work);
  turns.set(key, mine);
  try {
    return await mine;
  } finally {
    if (turns.get(key) === mine) turns.delete(key);
  }
}

/** Opens an artifact, or finds the same one again. @throws AppError 400, 422 (paths, kinds), 507 */
export async function openArtifact(ctx: Ctx, trainer: Trainer, body: unknown): Promise<ArtifactOpened> {
  const parsed = v.safeParse(OpenSchema, body);
  if (!parsed.success) {
    const param = v.getDotPath(parsed.issues[0]);
    throw new AppError("invalid", "invalid_value", `Invalid '${param ?? "body"}': ${parsed.issues[0].message}`, {
      param,
    });
  }
  const { kind, step, metrics, files } = parsed.output;
  checkList(kind, files);
  const { id: attemptId, jobId, org } = trainer;
  return inTurn(attemptId, async () => {
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
      // One that was pruned or found damaged makes room for its own repetition.
      if (same) await tx.delete(artifact).where(eq(artifact.id, same.id));
      await tx.insert(artifact).values(row);
    });
    if (same) await removeDirectory(artifactDir(ctx, same.id));
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

/** A part that does not begin where the file ends; the answer's `offset` says where that is. */
export class WrongOffset extends AppError {
  readonly offset: number;
  constructor(offset: number) {
    super("conflict", "wrong_offset", `The file has ${offset} bytes so far; send the part that begins there.`, {
      param: "offset",
    });
    this.offset = offset;
  }
}

/**
 * Appends a part to a file. The first part must look like what the file's name says.
 * @returns the size of the file now
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
  return inTurn(`${id}/${path}`, async () => {
    const have = await sizeOf(target);
    if (offset !== have) throw new WrongOffset(have);
    if (offset + bytes.byteLength > entry.size)
      throw new AppError(
        "too_large",
        "file_too_long",
        `${path} was declared with ${entry.size} bytes; this part goes beyond.`,
        {
          param: path,
        },
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

async function requireWhole(directory: string, file: FileEntry): Promise<void> {
  const target = join(directory, file.path);
  const have = await sizeOf(target);
  if (have !== file.size)
    throw badFile(file.path, `${have} of ${file.size} bytes have arrived; send the rest first`, "incomplete_file");
  if (file.size === 0) await writePart(target, 0, new Uint8Array());
  const kind = kindOf(file.path);
  const problem =
    (await sha256File(target)) !== file.sha256
      ? "the bytes that arrived do not have the declared sha256; send the file again"
      : kind && (await contentProblem(target, kind, file.size));
  if (!problem) return;
  // The next upload of this file begins anew.
  await removeFile(target);
  throw badFile(file.path, problem);
}

async function reply(db: Db, row: ArtifactRow): Promise<ArtifactCompleted> {
  const [point] = await db.select().from(checkpoint).where(eq(checkpoint.artifactId, row.id)).limit(1);
  return { artifact_id: row.id, checkpoint_id: point?.id ?? null, model: point?.model ?? null };
}

/**
 * Makes an artifact count: every file is hashed and looked into, then the manifest is written, then the rows. Repeating
 * it answers the same.
 * @throws AppError 404, 422 naming the file, 507
 */
export async function completeArtifact(ctx: Ctx, trainer: Trainer, id: string): Promise<ArtifactCompleted> {
  return inTurn(id, async () => {
    const row = await ownArtifact(ctx, trainer, id);
    if (row.status === "complete") return reply(ctx.db, row);
    const directory = artifactDir(ctx, id);
    for (const file of row.files) await requireWhole(directory, file);
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
    const { spec, org, jobId } = trainer;
    const now = ctx.clock.now();
    const done = await ctx.write(async (tx) => {
      await tx.update(artifact).set({ status: "complete", completedAt: now }).where(eq(artifact.id, id));
      if (row.kind !== "checkpoint" || spec.kind !== "train") return reply(tx, row);
      const { step, metrics } = row;
      const point = await addCheckpoint(tx, {
        jobId,
        org,
        artifactId: id,
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
      return { artifact_id: id, checkpoint_id: point.id, model: point.model };
    });
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
