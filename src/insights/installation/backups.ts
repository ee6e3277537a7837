/** Backups in the data directory: the list, a new one in a process of its own, and their removal. */
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, perContext, requireAdmin } from "../../ctx.ts";
import { AppError, notFound } from "../../errors.ts";
import { cleanEnvironment } from "../../lib/child-environment.ts";
import { isSafeSegment } from "../../lib/disk/files.ts";

/** The part of `backup.json` that is shown. */
const Manifest = v.object({
  version: v.string(),
  made_at: v.string(),
  files: v.array(v.object({ size: v.number() })),
});

/** A complete backup. Time in milliseconds since 1970. */
export interface BackupRow {
  name: string;
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

/** Names of backups in the data directory that were made since a time: they still have what was there then. */
export function backupsSince(ctx: Ctx, at: number): string[] {
  return readFolder(ctx.files.path("backups"))
    .filter(({ madeAt }) => madeAt >= at)
    .map(({ name }) => name);
}

/** Complete backups in the data directory, newest first, and what runs now. Those elsewhere are not known here. */
export function listBackups(ctx: Ctx, actor: Actor): { backups: BackupRow[]; state: BackupState } {
  requireAdmin(actor);
  return { backups: readFolder(ctx.files.path("backups")), state: { ...stateOf(ctx) } };
}

/**
 * Starts a backup in the data directory. It runs in a process of its own, so that the server keeps answering; `done`
 * resolves at its end.
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
  const { disk_reserve_bytes, database_url: url, database_token: token } = ctx.config;
  const database = { ...(url && { FTL_DATABASE_URL: url }), ...(token && { FTL_DATABASE_TOKEN: token }) };
  const child = Bun.spawn([...COMMAND, "backup", ctx.files.path("backups", name), "--data", ctx.files.root], {
    env: cleanEnvironment({ FTL_DISK_RESERVE_BYTES: String(disk_reserve_bytes), ...database }),
    stdio: ["ignore", "ignore", "pipe"],
  });
  const stop = () => child.kill("SIGTERM");
  ctx.signal.addEventListener("abort", stop);
  const finish = async () => {
    const [code, words] = await Promise.all([child.exited, new Response(child.stderr).text()]);
    ctx.signal.removeEventListener("abort", stop);
    state.startedAt = null;
    if (code === 0) return;
    state.failure = words.trim().split("\n").at(-1) || `the backup exited with code ${code}`;
    ctx.log("error", "a backup failed", { name, reason: state.failure });
  };
  const done = finish().catch((cause) => {
    state.startedAt = null;
    ctx.log("error", "the end of a backup was not seen", { name, cause });
  });
  return { name, done };
}

/** Deletes a backup of the data directory. @throws AppError `backup_not_found` */
export async function deleteBackup(ctx: Ctx, actor: Actor, name: string): Promise<void> {
  requireAdmin(actor);
  const found = isSafeSegment(name) && listBackups(ctx, actor).backups.some((one) => one.name === name);
  if (!found) throw notFound("backup", name);
  await ctx.write((tx) => audit(tx, ctx, actor, "backup.delete", name));
  rmSync(ctx.files.path("backups", name), { recursive: true, force: true });
}
