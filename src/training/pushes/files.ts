/** The files of a push: those of the artifact, the model card and the provenance; and which the hub lacks. */
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { sha256Hex } from "../../lib/ids.ts";
import { artifactProblem, getArtifact } from "../../models/tuned/service.ts";
import { localUnit } from "../../objects/local.ts";
import { cardOf } from "../exports/card.ts";
import type { Format } from "../exports/model.ts";
import { passportOf } from "../exports/passport.ts";
import type { PushRow } from "./model.ts";
import type { RemoteFile } from "./repository.ts";

/** Files of a checkpoint that only a training that resumes needs. */
const RESUME_FILES = new Set(["trainer_state.json", "optimizer.safetensors", "rng.json", "best.safetensors"]);
const CARD = "README.md";
export const PASSPORT = "passport.json";
const CHUNK = 1 << 18;

/** A file to push. `size` in bytes, `sha256` in hex. */
export interface PushFile {
  path: string;
  size: number;
  sha256: string;
  /** The bytes from `start` to before `end`. */
  open(start: number, end: number): Readable;
}

function written(path: string, text: string): PushFile {
  const bytes = Buffer.from(text);
  return {
    path,
    size: bytes.byteLength,
    sha256: sha256Hex(bytes),
    open: (start, end) => Readable.from([bytes.subarray(start, end)]),
  };
}

/**
 * The files, with their hashes checked on disk.
 * @throws AppError `model_not_found`, `artifact_not_found`, `artifact_damaged`
 */
export async function filesOf(ctx: Ctx, actor: Actor, row: PushRow): Promise<PushFile[]> {
  const stored = await getArtifact(ctx, actor, row.artifactId);
  const problem = await artifactProblem(ctx, stored);
  if (problem)
    throw new AppError(
      "conflict",
      "artifact_damaged",
      `The files on this server are damaged (${problem}). Export again.`,
    );
  const directory = await localUnit(ctx, { folder: "artifacts", id: stored.id });
  const own: PushFile[] = stored.files
    .filter(({ path }) => path !== CARD && path !== PASSPORT && !RESUME_FILES.has(path))
    .map((file) => ({
      ...file,
      open: (start, end) => createReadStream(join(directory, file.path), { start, end: end - 1, highWaterMark: CHUNK }),
    }));
  const card = await cardOf(ctx, actor, row.model, row.format as Format | null);
  const passport = await passportOf(ctx, actor, row.model);
  return [...own, written(CARD, card), written(PASSPORT, `${JSON.stringify(passport, null, 2)}\n`)];
}

/** The bytes of a part, in memory: for small files and samples only. */
export async function bytesOf(file: PushFile, end = file.size): Promise<Buffer> {
  const pieces: Buffer[] = [];
  if (end > 0) for await (const piece of file.open(0, end)) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}

/** The hash by which git names a file. */
async function gitOid(file: PushFile): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha1");
  hasher.update(`blob ${file.size}\0`);
  if (file.size > 0) for await (const piece of file.open(0, file.size)) hasher.update(piece as Buffer);
  return hasher.digest("hex");
}

async function isSame(file: PushFile, remote: RemoteFile | undefined): Promise<boolean> {
  if (!remote || remote.size !== file.size) return false;
  return remote.oid === (remote.large ? file.sha256 : await gitOid(file));
}

/** The files that the hub lacks, or has with other content. */
export async function missingFiles(files: PushFile[], remote: Map<string, RemoteFile>): Promise<PushFile[]> {
  const missing: PushFile[] = [];
  for (const file of files) if (!(await isSame(file, remote.get(file.path)))) missing.push(file);
  return missing;
}
