/** What uses the disk: bytes by kind, and leftovers that can be deleted safely. */
import { readdirSync, rmSync, statSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { eq, isNull, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { environmentName } from "../../compute/environment/install.ts";
import { type Actor, type Ctx, perContext, requireAdmin } from "../../ctx.ts";
import { attempt } from "../../db/schema/jobs.ts";
import { artifact } from "../../db/schema/models.ts";
import { AppError } from "../../errors.ts";

const KNOWN_MS = 60_000;
/** Kinds of artifacts that exports make. */
const EXPORTS = ["merged", "gguf"];

/** Bytes of one kind of data. */
export interface SpaceRow {
  kind: string;
  bytes: number;
}
const knownOf = perContext((): { value: Promise<SpaceRow[]> | null; until: number } => ({ value: null, until: 0 }));

/** Bytes below a folder; files that vanish meanwhile do not count. */
async function sizeOf(folder: string): Promise<number> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  let bytes = 0;
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) bytes += await sizeOf(path);
    else if (entry.isFile())
      bytes += await stat(path).then(
        (found) => found.size,
        () => 0,
      );
  }
  return bytes;
}

const fileSize = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

async function measure(ctx: Ctx): Promise<SpaceRow[]> {
  const { files } = ctx;
  const stored = await ctx.db
    .select({ kind: artifact.kind, bytes: sql<number>`coalesce(sum(${artifact.bytes}), 0)` })
    .from(artifact)
    .where(eq(artifact.status, "complete"))
    .groupBy(artifact.kind);
  const of = (test: (kind: string) => boolean) =>
    stored.filter((row) => test(row.kind)).reduce((sum, row) => sum + Number(row.bytes), 0);
  const environments = ctx.config.environments_dir ?? files.path("environments");
  return [
    { kind: "Base models", bytes: await sizeOf(files.path("models")) },
    { kind: "Checkpoints", bytes: of((kind) => kind === "checkpoint") },
    { kind: "Fine-tuned models", bytes: of((kind) => kind !== "checkpoint" && !EXPORTS.includes(kind)) },
    { kind: "Exports", bytes: of((kind) => EXPORTS.includes(kind)) },
    { kind: "Uploaded files", bytes: (await sizeOf(files.path("files"))) + (await sizeOf(files.path("uploads"))) },
    { kind: "Datasets", bytes: await sizeOf(files.path("datasets")) },
    { kind: "Trainer environments", bytes: await sizeOf(environments) },
    { kind: "Backups", bytes: await sizeOf(files.path("backups")) },
    {
      kind: "Database",
      bytes: fileSize(join(files.root, "lab.db")) + fileSize(join(files.root, "lab.db-wal")),
    },
    {
      kind: "Temporary files and cache",
      bytes: (await sizeOf(files.path("tmp"))) + (await sizeOf(files.path("process"))),
    },
  ];
}

/** Bytes by kind of data. Walking the disk takes a while: the answer is kept for a minute. */
export function readSpace(ctx: Ctx, actor: Actor): Promise<SpaceRow[]> {
  requireAdmin(actor);
  const known = knownOf(ctx);
  const now = ctx.clock.monotonic();
  if (known.value && now < known.until) return known.value;
  known.until = now + KNOWN_MS;
  known.value = measure(ctx);
  return known.value;
}

/** Trainer environments of this data directory that the current version does not use. */
async function oldEnvironments(ctx: Ctx): Promise<string[]> {
  if (ctx.config.environments_dir || ctx.config.trainer_env) return [];
  // Without Python nothing is known about the current one.
  const current = await environmentName(ctx.config, ctx.files).catch(() => null);
  if (!current) return [];
  return readdirSync(ctx.files.path("environments"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && /^[0-9a-f]{16}$/.test(entry.name) && entry.name !== current)
    .map((entry) => entry.name);
}

/** What can be deleted without loss: environments of earlier versions, which are created again when needed. */
export async function readLeftovers(ctx: Ctx, actor: Actor): Promise<{ environments: number; bytes: number }> {
  requireAdmin(actor);
  const names = await oldEnvironments(ctx);
  let bytes = 0;
  for (const name of names) bytes += await sizeOf(ctx.files.path("environments", name));
  return { environments: names.length, bytes };
}

/**
 * Deletes the leftovers. Refused while work runs: it may use an environment of an earlier version.
 * @returns the bytes that are free again
 * @throws AppError `work_running`
 */
export async function removeLeftovers(ctx: Ctx, actor: Actor): Promise<number> {
  const { bytes } = await readLeftovers(ctx, actor);
  const [running] = await ctx.db.select({ id: attempt.id }).from(attempt).where(isNull(attempt.goneAt)).limit(1);
  if (running)
    throw new AppError(
      "conflict",
      "work_running",
      "Jobs or endpoints are running. Wait for their end, then try again.",
    );
  const names = await oldEnvironments(ctx);
  await ctx.write((tx) => audit(tx, ctx, actor, "disk.clean", "environments", { environments: names.length, bytes }));
  for (const name of names) rmSync(ctx.files.path("environments", name), { recursive: true, force: true });
  knownOf(ctx).value = null;
  return bytes;
}
