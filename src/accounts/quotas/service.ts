/**
 * Quotas of organizations: counted from the rows themselves, in the transaction that adds one, so that concurrent
 * requests cannot exceed a quota together.
 */
import { and, eq, type SQL, sql } from "drizzle-orm";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { organization, organizationLimit, teamLimit } from "../../db/schema/auth.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { requirePermission } from "../../roles.ts";
import { audit } from "../audit/service.ts";
import { LIMITS, type LimitChange, type LimitName, type LimitsView, type TeamLimitsView } from "./model.ts";

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

/** What the installation allows an organization: its own limit where it has one, else the setting; 0 = no limit. */
async function ceilingsOf(db: Db, ctx: Ctx, org: string): Promise<Record<LimitName, number>> {
  const own = await db.select().from(organizationLimit).where(eq(organizationLimit.org, org));
  const found = new Map(own.map((row) => [row.name, row.value]));
  const of = (name: LimitName) => found.get(name) ?? ctx.config[QUOTAS[name].setting];
  return Object.fromEntries(LIMITS.map((name) => [name, of(name)])) as Record<LimitName, number>;
}

/** What a team allows itself; a limit it did not set is absent. */
async function teamLimitsOf(db: Db, org: string): Promise<Map<string, number>> {
  const rows = await db.select().from(teamLimit).where(eq(teamLimit.org, org));
  return new Map(rows.map((row) => [row.name, row.value]));
}

/** The limits in effect: the lower one of the installation's and the team's; 0 = no limit. */
async function limitsOf(db: Db, ctx: Ctx, org: string): Promise<Record<LimitName, number>> {
  const limits = await ceilingsOf(db, ctx, org);
  for (const [name, value] of await teamLimitsOf(db, org)) {
    const key = LIMITS.find((each) => each === name);
    if (key) limits[key] = Math.min(value, limits[key] || value);
  }
  return limits;
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
  if (actor.via === "system") return;
  const limits = await limitsOf(tx, ctx, actor.org);
  const limited = names.filter((name) => limits[name] > 0);
  if (limited.length === 0) return;
  const used = await usedOf(tx, ctx, actor.org, limited);
  for (const [index, name] of limited.entries()) {
    const limit = limits[name];
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
  const { bytes: limit } = await limitsOf(ctx.db, ctx, org);
  if (limit === 0) return;
  const [used = 0] = await usedOf(ctx.db, ctx, org, ["bytes"]);
  if (used + bytes > limit)
    throw exceeded("bytes", limit, `${number(used)} are used; this request would add ${number(bytes)}`);
}

async function read(ctx: Ctx, org: string): Promise<LimitsView> {
  const used = await usedOf(ctx.db, ctx, org, LIMITS);
  const limits = await limitsOf(ctx.db, ctx, org);
  const view = { object: "limits" } as LimitsView;
  for (const [index, name] of LIMITS.entries()) view[name] = { limit: limits[name] || null, used: used[index] ?? 0 };
  return view;
}

/** Every limit of the actor's organization with its use. */
export function readLimits(ctx: Ctx, actor: Actor): Promise<LimitsView> {
  return read(ctx, actor.org);
}

/** The limits of any organization with their use, and which of them are its own. Administrators only. */
export async function limitsOfOrganization(
  ctx: Ctx,
  actor: Actor,
  org: string,
): Promise<{ limits: LimitsView; own: LimitName[] }> {
  requireAdmin(actor);
  const rows = await ctx.db.select().from(organizationLimit).where(eq(organizationLimit.org, org));
  const limits = await read(ctx, org);
  return { limits, own: LIMITS.filter((name) => rows.some((row) => row.name === name)) };
}

/** The limits that the actor's team set for itself, and what the installation allows; null = none. */
export async function readTeamLimits(ctx: Ctx, actor: Actor): Promise<TeamLimitsView> {
  requirePermission(actor, "team.manage");
  const own = await teamLimitsOf(ctx.db, actor.org);
  const ceilings = await ceilingsOf(ctx.db, ctx, actor.org);
  const used = await usedOf(ctx.db, ctx, actor.org, LIMITS);
  const view = { object: "team_limits" } as TeamLimitsView;
  for (const [index, name] of LIMITS.entries())
    view[name] = { limit: own.get(name) ?? null, installation: ceilings[name] || null, used: used[index] ?? 0 };
  return view;
}

/**
 * Sets limits of the actor's team below those of the installation; null or 0 removes one. Audited.
 * @throws AppError `limit_above_installation`
 */
export async function setTeamLimits(ctx: Ctx, actor: Actor, change: LimitChange): Promise<void> {
  requirePermission(actor, "team.manage");
  await ctx.write(async (tx) => {
    const ceilings = await ceilingsOf(tx, ctx, actor.org);
    for (const name of LIMITS) {
      const value = change[name];
      if (value === undefined) continue;
      const ceiling = ceilings[name];
      if (value !== null && ceiling > 0 && value > ceiling)
        throw new AppError(
          "invalid",
          "limit_above_installation",
          `The installation allows this team ${number(ceiling)} ${QUOTAS[name].noun}. Choose at most that, or ask its administrator.`,
          { param: name },
        );
      await tx.delete(teamLimit).where(and(eq(teamLimit.org, actor.org), eq(teamLimit.name, name)));
      if (value) await tx.insert(teamLimit).values({ org: actor.org, name, value });
    }
    await audit(tx, ctx, actor, "team.limits", actor.org, { ...change });
  });
}

/**
 * Sets limits of an organization; null returns one to the setting, 0 removes the limit. Administrators only; audited.
 * @throws AppError `organization_not_found`
 */
export async function setLimits(ctx: Ctx, actor: Actor, org: string, change: LimitChange): Promise<void> {
  requireAdmin(actor);
  await ctx.write(async (tx) => {
    const [found] = await tx.select({ id: organization.id }).from(organization).where(eq(organization.id, org));
    if (!found) throw notFound("organization", org);
    for (const name of LIMITS) {
      const value = change[name];
      if (value === undefined) continue;
      const row = and(eq(organizationLimit.org, org), eq(organizationLimit.name, name));
      await tx.delete(organizationLimit).where(row);
      if (value !== null) await tx.insert(organizationLimit).values({ org, name, value });
    }
    await audit(tx, ctx, { ...actor, org }, "organization.limits", org, { ...change });
  });
}
