/**
 * Quotas of organizations: counted from the rows themselves, in the transaction that adds one, so that concurrent
 * requests cannot exceed a quota together.
 */
import { type SQL, sql } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { LIMITS, type LimitName, type LimitsView } from "./model.ts";

interface Quota {
  setting: "quota_bytes" | "quota_files" | "quota_datasets" | "quota_pending_uploads" | "quota_waiting_jobs";
  /** The current use. Each part reads one small index that contains nothing else; see migrations/0001_quotas.sql. */
  count(org: string, now: number): SQL;
  /** Parts of the message: what is limited, and what to do. */
  noun: string;
  advice: string;
}

const pending = (org: string, now: number) => sql`org = ${org} and status = 'pending' and expires_at > ${now}`;

const QUOTAS: Record<LimitName, Quota> = {
  bytes: {
    setting: "quota_bytes",
    count: (org, now) => sql`
      (select coalesce(sum(bytes), 0) from file where org = ${org} and deleted_at is null)
      + (select coalesce(sum(bytes), 0) from upload where ${pending(org, now)})
      + (select coalesce(sum(bytes), 0) from dataset_version where org = ${org} and bytes > 0)
      + (select coalesce(sum(bytes), 0) from stored_answer where org = ${org})
      + (select coalesce(sum(bytes), 0) from artifact where org = ${org} and status in ('uploading', 'complete'))`,
    noun: "bytes stored",
    advice: "Delete files, datasets, models, checkpoints or stored answers that are no longer needed",
  },
  files: {
    setting: "quota_files",
    count: (org) => sql`(select count(*) from file where org = ${org} and deleted_at is null)`,
    noun: "files",
    advice: "Delete files that are no longer needed",
  },
  datasets: {
    setting: "quota_datasets",
    count: (org) => sql`(select count(*) from dataset where org = ${org} and deleted_at is null)`,
    noun: "datasets",
    advice: "Delete datasets that are no longer needed",
  },
  pending_uploads: {
    setting: "quota_pending_uploads",
    count: (org, now) => sql`(select count(*) from upload where ${pending(org, now)})`,
    noun: "uploads in progress",
    advice: "Complete or cancel one, or wait: an upload expires an hour after its creation",
  },
  waiting_jobs: {
    setting: "quota_waiting_jobs",
    count: (org) => sql`
      (select count(*) from job where org = ${org} and state in ('validating', 'queued'))
      + (select count(*) from sweep s join trial t on t.sweep_id = s.id
         where s.state = 'running' and s.org = ${org} and t.state = 'waiting')`,
    noun: "jobs waiting to start (trials of sweeps included)",
    advice: "Wait until some have started, or cancel some",
  },
};

async function usedOf(db: Db, ctx: Ctx, org: string, names: readonly LimitName[]): Promise<number[]> {
  const counts = names.map((name) => sql`select ${QUOTAS[name].count(org, ctx.clock.now())} as used`);
  const rows = await db.all<{ used: number }>(sql.join(counts, sql` union all `));
  return rows.map((row) => Number(row.used));
}

const number = (value: number) => value.toLocaleString("en-US");

function exceeded(name: LimitName, limit: number, message: string): AppError {
  const { setting, noun, advice } = QUOTAS[name];
  return new AppError(
    "forbidden",
    "quota_exceeded",
    `Your organization may have ${number(limit)} ${noun}, and ${message}. ${advice}, or ask the administrator to raise ${setting}.`,
  );
}

/**
 * Refuses a transaction that exceeds a quota: the error rolls it back. Call it last in the transaction.
 * Rows that the server adds by itself are counted but not refused: they follow from an accepted request (the trials of
 * a sweep, the results of a run, the evaluation after it).
 * @throws AppError `quota_exceeded` (403)
 */
export async function requireQuota(tx: Db, ctx: Ctx, actor: Actor, ...names: LimitName[]): Promise<void> {
  const limited = names.filter((name) => ctx.config[QUOTAS[name].setting] > 0);
  if (actor.via === "system" || limited.length === 0) return;
  const used = await usedOf(tx, ctx, actor.org, limited);
  for (const [index, name] of limited.entries()) {
    const limit = ctx.config[QUOTAS[name].setting];
    const now = used[index] ?? 0;
    if (now > limit) throw exceeded(name, limit, `this request would make it ${number(now)}`);
  }
}

/**
 * Refuses a body by its declared length, before it is read. The transaction that stores it checks again.
 * @param bytes as declared; 0 when unknown
 * @throws AppError `quota_exceeded` (403)
 */
export async function requireRoom(ctx: Ctx, org: string, bytes: number): Promise<void> {
  const limit = ctx.config.quota_bytes;
  if (limit === 0) return;
  const [used = 0] = await usedOf(ctx.db, ctx, org, ["bytes"]);
  if (used + bytes > limit)
    throw exceeded("bytes", limit, `${number(used)} are used; this request would add ${number(bytes)}`);
}

/** Every limit of the actor's organization with its use. */
export async function readLimits(ctx: Ctx, actor: Actor): Promise<LimitsView> {
  const used = await usedOf(ctx.db, ctx, actor.org, LIMITS);
  const view = { object: "limits" } as LimitsView;
  for (const [index, name] of LIMITS.entries())
    view[name] = { limit: ctx.config[QUOTAS[name].setting] || null, used: used[index] ?? 0 };
  return view;
}
