/** Backups in the data directory and in the bucket: their list, a new one in its own process, and their removal. */
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { audit } from "../../accounts/audit/service.ts";
import type { Config } from "../../config.ts";
import { type Actor, type Ctx, perContext, requireAdmin } from "../../ctx.ts";
import { AppError, notFound } from "../../errors.ts";
import { cleanEnvironment } from "../../lib/child-environment.ts";
import { isSafeSegment } from "../../lib/disk/files.ts";
import { objectStoreSettings } from "../../lib/objects/settings.ts";
import { StoreProblem } from "../../lib/objects/store.ts";
import {
  type BackupBucket,
  backupProblem,
  FORMAT,
  folderOf,
  readBucketBackups,
  removeBucketBackup,
} from "./bucket-backups.ts";

/** Time until a page or an answer is made without the bucket. */
const WAIT_MS = 8_000;

/** The part of `backup.json` that is shown. */
const Manifest = v.object({
  version: v.string(),
  made_at: v.string(),
  files: v.array(v.object({ size: v.number() })),
});

/** A complete backup. Time in milliseconds since 1970. */
export interface BackupRow {
  store: "disk" | "s3";
  name: string;
  /** The directory, or `s3://BUCKET/KEY/`. */
  path: string;
  version: string;
  madeAt: number;
  files: number;
  bytes: number;
}

/** The backup that runs now, or the failure of the last one. */
export interface BackupState {
  startedAt: number | null;
  failure: string | null;
}
const stateOf = perContext((): BackupState => ({ startedAt: null, failure: null }));

const COMPILED = /\$bunfs|~BUN/.test(import.meta.url);
const COMMAND = COMPILED ? [process.execPath] : [process.execPath, join(import.meta.dir, "../../main.ts")];

function readBackup(folder: string, name: string): BackupRow[] {
  try {
    const parsed = v.parse(Manifest, JSON.parse(readFileSync(join(folder, name, "backup.json"), "utf8")));
    return [
      {
        store: "disk",
        name,
        path: join(folder, name),
        version: parsed.version,
        madeAt: Date.parse(parsed.made_at),
        files: parsed.files.length,
        bytes: parsed.files.reduce((sum, file) => sum + file.size, 0),
      },
    ];
  } catch {
    // Without a readable list of its files a backup is incomplete: it is running, or was interrupted.
    return [];
  }
}

/** The complete backups of a folder, newest first. */
export function readFolder(folder: string): BackupRow[] {
  const names = existsSync(folder) ? readdirSync(folder).filter(isSafeSegment) : [];
  return names.flatMap((name) => readBackup(folder, name)).sort((a, b) => b.madeAt - a.madeAt);
}

/** The bucket of backups; null without one. */
function bucketOf(ctx: Ctx): BackupBucket | null {
  const { s3_bucket, s3_prefix, backup_key: key } = ctx.config;
  if (!ctx.bucket) return null;
  return { store: ctx.bucket, address: `s3://${s3_bucket}/${s3_prefix}`, key, now: () => ctx.clock.now() };
}

/** Complete backups of this installation in the bucket. @throws AppError when the bucket does not answer */
async function readBucket(ctx: Ctx): Promise<BackupRow[]> {
  const bucket = bucketOf(ctx);
  if (!bucket) return [];
  const late = Bun.sleep(WAIT_MS).then(() => {
    throw new StoreProblem("unreachable", `The object store has not answered for ${WAIT_MS / 1000} s.`);
  });
  const found = await Promise.race([readBucketBackups(bucket, ctx.installation), late]).catch((error: unknown) => {
    throw backupProblem(error);
  });
  return found.flatMap(({ installation, name, summary }) =>
    summary?.format === FORMAT
      ? [
          {
            store: "s3" as const,
            name,
            path: bucket.address + folderOf({ installation, name }),
            version: summary.version,
            madeAt: Date.parse(summary.made_at),
            files: summary.files,
            bytes: summary.bytes,
          },
        ]
      : [],
  );
}

/** Names of backups that were made since a time: they still have what was there then. */
export async function backupsSince(ctx: Ctx, at: number): Promise<string[]> {
  const inBucket = await readBucket(ctx).catch((cause) => {
    ctx.log("warn", "the backups in the bucket could not be listed", { cause });
    return [];
  });
  return [...readFolder(ctx.files.path("backups")), ...inBucket]
    .filter(({ madeAt }) => madeAt >= at)
    .map(({ name }) => name);
}

/**
 * Complete backups of this installation, newest first, and what runs now. Those in other directories are not known.
 * @returns `problem`: why those in the bucket are not among them; null when they are
 */
export async function listBackups(
  ctx: Ctx,
  actor: Actor,
): Promise<{ backups: BackupRow[]; state: BackupState; problem: AppError | null }> {
  requireAdmin(actor);
  let problem: AppError | null = null;
  const inBucket = await readBucket(ctx).catch((error: unknown) => {
    if (!(error instanceof AppError)) throw error;
    problem = error;
    return [];
  });
  const backups = [...readFolder(ctx.files.path("backups")), ...inBucket].sort((a, b) => b.madeAt - a.madeAt);
  return { backups, state: { ...stateOf(ctx) }, problem };
}

/** Settings that the process of a backup needs, as variables; secrets that are in files stay there. */
function variablesOf({ config }: Ctx): Record<string, string> {
  const found: Record<string, string> = {};
  const names = ["database_url", "database_token", "database_token_file", ...Object.keys(objectStoreSettings)];
  for (const name of ["disk_reserve_bytes", ...names] as (keyof Config)[]) {
    const value = config[`${name}_file` as keyof Config] ? null : config[name];
    if (value !== null && value !== undefined && value !== "") found[`FTL_${name.toUpperCase()}`] = String(value);
  }
  return found;
}

/**
 * Starts a backup in the data directory, or in the bucket (`backup_store`). It runs in a process of its own, so that
 * the server keeps answering; `done` resolves at its end.
 * @throws AppError `backup_running`
 */
export async function startBackup(ctx: Ctx, actor: Actor): Promise<{ name: string; done: Promise<void> }> {
  requireAdmin(actor);
  const state = stateOf(ctx);
  if (state.startedAt !== null) throw new AppError("conflict", "backup_running", "A backup is already running.");
  const now = ctx.clock.now();
  const name = new Date(now).toISOString().replace(/[:.]/g, "-");
  state.startedAt = now;
  state.failure = null;
  await ctx.write((tx) => audit(tx, ctx, actor, "backup.create", name));
  const target = ctx.config.backup_store === "s3" ? ["--to", "s3", "--name", name] : [ctx.files.path("backups", name)];
  const child = Bun.spawn([...COMMAND, "backup", ...target, "--data", ctx.files.root], {
    env: cleanEnvironment(variablesOf(ctx)),
    stdio: ["ignore", "ignore", "pipe"],
  });
  const stop = () => child.kill("SIGTERM");
  ctx.signal.addEventListener("abort", stop);
  const finish = async () => {
    const [code, words] = await Promise.all([child.exited, new Response(child.stderr).text()]);
    ctx.signal.removeEventListener("abort", stop);
    state.startedAt = null;
    if (code === 0) return;
    state.failure =
      words
        .trim()
        .split(/[\r\n]/)
        .at(-1) || `the backup exited with code ${code}`;
    ctx.log("error", "a backup failed", { name, reason: state.failure });
  };
  const done = finish().catch((cause) => {
    state.startedAt = null;
    ctx.log("error", "the end of a backup was not seen", { name, cause });
  });
  return { name, done };
}

/** Deletes a backup of this installation. @throws AppError `backup_not_found`, `object_store_unavailable` */
export async function deleteBackup(ctx: Ctx, actor: Actor, name: string): Promise<void> {
  requireAdmin(actor);
  const { backups, problem } = await listBackups(ctx, actor);
  const found = isSafeSegment(name) ? backups.find((one) => one.name === name) : undefined;
  if (!found) throw problem ?? notFound("backup", name);
  await ctx.write((tx) => audit(tx, ctx, actor, "backup.delete", name, { store: found.store }));
  if (found.store === "disk") rmSync(ctx.files.path("backups", name), { recursive: true, force: true });
  const bucket = bucketOf(ctx);
  if (found.store === "s3" && bucket)
    await removeBucketBackup(bucket, { installation: ctx.installation, name }).catch((error: unknown) => {
      throw backupProblem(error);
    });
}
