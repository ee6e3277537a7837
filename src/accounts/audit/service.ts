/**
 * The audit log: every change writes an entry in its own transaction. Entries are chained by hashes, which reveals
 * changed and missing entries.
 */
import { and, asc, desc, eq, gt, isNull, lt, or, type SQL, sql } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";
import { auditLog } from "../../db/schema/audit.ts";
import { user } from "../../db/schema/auth.ts";
import type { Db } from "../../db/types.ts";
import { notFound } from "../../errors.ts";
import { newId, sha256Hex } from "../../lib/ids.ts";
import { storable } from "../../lib/text/well-formed.ts";
import { ofTeam } from "./team.ts";

export type AuditRow = typeof auditLog.$inferSelect;
const GENESIS = "0".repeat(64);
/** The entry that records removed earlier entries, with the hash of the last one. */
export const PRUNE_ACTION = "audit.prune";
/** The entry that names earlier ones whose content was erased. */
export const ERASE_ACTION = "audit.erase";

type Hashed = Pick<AuditRow, "id" | "org" | "at" | "actor" | "action" | "target" | "detail">;

function hashOf(previousHash: string, row: Hashed): string {
  return sha256Hex(
    JSON.stringify([previousHash, row.id, row.org, row.at, row.actor, row.action, row.target, row.detail]),
  );
}

/**
 * Writes one entry in the caller's transaction, which commits both or neither.
 * @param action noun and verb, `job.create`
 * @param target id of the changed object
 * @param detail facts for people; never a secret
 */
export async function audit(
  tx: Db,
  ctx: Ctx,
  actor: Actor,
  action: string,
  target: string,
  detail: Record<string, unknown> = {},
): Promise<void> {
  const [last] = await tx.select({ hash: auditLog.hash }).from(auditLog).orderBy(desc(auditLog.seq)).limit(1);
  const previousHash = last?.hash ?? GENESIS;
  const row: Hashed = {
    id: newId("audit"),
    org: actor.org || null,
    at: ctx.clock.now(),
    actor: actor.via === "cli" ? "cli" : actor.userId,
    action,
    // The hashed value must equal the stored one: no undefined, no dates, no text that cannot be stored.
    target: storable(target),
    detail: JSON.parse(sqlJson(actor.keyId ? { ...detail, key: actor.keyId } : detail)),
  };
  await tx.insert(auditLog).values({ ...row, previousHash, hash: hashOf(previousHash, row) });
}

/** Which entries to list; an absent field means all. Times in milliseconds since 1970. */
export interface AuditFilter {
  target?: string;
  /** User id, e-mail address, `system`, `cli` or `anonymous`. */
  actor?: string;
  /** An action such as `job.create`, or its noun with a point: `job.` */
  action?: string;
  from?: number;
  /** Entries before this time. */
  until?: number;
  /** Only entries of the organization itself, without those of the installation. */
  team?: boolean;
}

/** The user id of an address, or the text itself. */
async function actorId(ctx: Pick<Ctx, "db">, text: string): Promise<string> {
  if (!text.includes("@")) return text;
  const [row] = await ctx.db
    .select({ id: user.id })
    .from(user)
    .where(eq(user.email, text.trim().toLowerCase()))
    .limit(1);
  return row?.id ?? text;
}

/** The first number of an entry at or after `at`; entries are numbered in order of time. */
async function numberAt(ctx: Pick<Ctx, "db">, at: number): Promise<number> {
  const [row] = await ctx.db
    .select({ seq: auditLog.seq })
    .from(auditLog)
    .where(sql`${auditLog.at} >= ${at}`)
    .orderBy(asc(auditLog.at), asc(auditLog.seq))
    .limit(1);
  return row?.seq ?? Number.MAX_SAFE_INTEGER;
}

async function conditionsOf(ctx: Pick<Ctx, "db">, filter: AuditFilter): Promise<(SQL | undefined)[]> {
  const { target, actor, action, from, until } = filter;
  return [
    target ? eq(auditLog.target, target) : undefined,
    actor ? eq(auditLog.actor, await actorId(ctx, actor)) : undefined,
    // `job.` matches from "job." to "job/", the next character.
    action?.endsWith(".")
      ? sql`${auditLog.action} >= ${action} and ${auditLog.action} < ${`${action.slice(0, -1)}/`}`
      : action
        ? eq(auditLog.action, action)
        : undefined,
    from === undefined ? undefined : sql`${auditLog.seq} >= ${await numberAt(ctx, from)}`,
    until === undefined ? undefined : lt(auditLog.seq, await numberAt(ctx, until)),
  ];
}

/**
 * Entries of the organization and of the installation (sign-ins to no account, commands on the server), newest first;
 * with `team` those of the organization alone. `after` is the last id of the previous page.
 */
export async function listAudit(
  ctx: Pick<Ctx, "db">,
  actor: Pick<Actor, "org">,
  page: { after?: string; limit: number } & AuditFilter,
): Promise<AuditRow[]> {
  const conditions = await conditionsOf(ctx, page);
  const visible = page.team ? ofTeam(actor.org) : eq(auditLog.org, actor.org);
  if (page.after) {
    const [at] = await ctx.db
      .select({ seq: auditLog.seq })
      .from(auditLog)
      .where(and(eq(auditLog.id, page.after), page.team ? visible : or(visible, isNull(auditLog.org))));
    if (!at) throw notFound("audit_row", page.after);
    conditions.push(lt(auditLog.seq, at.seq));
  }
  const read = (org: SQL) =>
    ctx.db
      .select()
      .from(auditLog)
      .where(and(org, ...conditions))
      .orderBy(desc(auditLog.seq))
      .limit(page.limit);
  if (page.team) return read(visible);
  // Two indexed reads instead of one with OR, which would sort the whole log.
  const [own, common] = await Promise.all([read(visible), read(isNull(auditLog.org))]);
  return [...own, ...common].sort((a, b) => b.seq - a.seq).slice(0, page.limit);
}

/** The actions that the entries of `listAudit` have, in alphabetical order. */
export async function auditActions(
  ctx: Pick<Ctx, "db">,
  actor: Pick<Actor, "org">,
  { team }: Pick<AuditFilter, "team"> = {},
): Promise<string[]> {
  const rows = await ctx.db
    .selectDistinct({ action: auditLog.action })
    .from(auditLog)
    .where(team ? ofTeam(actor.org) : or(eq(auditLog.org, actor.org), isNull(auditLog.org)))
    .orderBy(asc(auditLog.action))
    .limit(200);
  return rows.map((row) => row.action);
}

/** The highest sequence number ever assigned: a log with missing last entries ends before it. */
async function lastNumber(ctx: Pick<Ctx, "db">): Promise<number> {
  const rows = await ctx.db.all<{ seq: number }>(sql`SELECT seq FROM sqlite_sequence WHERE name = 'audit_log'`);
  return rows[0]?.seq ?? 0;
}

/** The result of a verification. */
export interface AuditCheck {
  rows: number;
  brokenAt: string | null;
  removed: number;
}

/**
 * Verifies the whole log, 1,000 entries at a time.
 * @returns `brokenAt`: the first entry that does not follow from the previous one, or `end` when the last entries are
 *   missing. `removed`: how many entries retention removed, as far as the kept entries say
 */
export async function verifyAudit(ctx: Pick<Ctx, "db">): Promise<AuditCheck> {
  const expected = await lastNumber(ctx);
  let previous: string | null = null;
  /** The first entry, when it follows from removed ones: an entry must say so. */
  let unexplained: AuditRow | null = null;
  let removed = 0;
  /** Entries without content: a later entry must name them. */
  const erased = new Set<string>();
  let seq = 0;
  let rows = 0;
  for (;;) {
    const batch = await ctx.db
      .select()
      .from(auditLog)
      .where(gt(auditLog.seq, seq))
      .orderBy(asc(auditLog.seq))
      .limit(1000);
    for (const row of batch) {
      if (previous === null && row.previousHash !== GENESIS) unexplained = row;
      previous ??= row.previousHash;
      // What an erased entry said is not known any more: its hash still links it to its neighbors.
      const follows = row.erasedAt !== null || row.hash === hashOf(previous, row);
      if (row.previousHash !== previous || !follows) return { rows, brokenAt: row.id, removed };
      if (row.erasedAt !== null) erased.add(row.id);
      if (row.action === ERASE_ACTION) for (const id of row.detail.entries as string[]) erased.delete(id);
      if (row.action === PRUNE_ACTION) {
        removed += Number(row.detail.entries);
        if (row.detail.last_hash === unexplained?.previousHash) unexplained = null;
      }
      previous = row.hash;
      seq = row.seq;
      rows++;
    }
    if (batch.length < 1000)
      return { rows, brokenAt: unexplained?.id ?? [...erased][0] ?? (seq < expected ? "end" : null), removed };
  }
}
