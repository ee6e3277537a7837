/**
 * The audit log: every change writes an entry in its own transaction. Entries are chained by hashes, which reveals
 * changed and missing entries.
 */
import { and, asc, desc, eq, gt, lt, sql } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";
import { auditLog } from "../../db/schema/audit.ts";
import type { Db } from "../../db/types.ts";
import { notFound } from "../../errors.ts";
import { newId, sha256Hex } from "../../lib/ids.ts";
import { storable } from "../../lib/text/well-formed.ts";

export type AuditRow = typeof auditLog.$inferSelect;
const GENESIS = "0".repeat(64);

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

/** Entries of the organization, newest first. `after` is the last id of the previous page. */
export async function listAudit(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string; limit: number; target?: string },
): Promise<AuditRow[]> {
  const conditions = [eq(auditLog.org, actor.org)];
  if (page.target) conditions.push(eq(auditLog.target, page.target));
  if (page.after) {
    const [at] = await ctx.db
      .select({ seq: auditLog.seq })
      .from(auditLog)
      .where(and(eq(auditLog.id, page.after), eq(auditLog.org, actor.org)));
    if (!at) throw notFound("audit_row", page.after);
    conditions.push(lt(auditLog.seq, at.seq));
  }
  return ctx.db
    .select()
    .from(auditLog)
    .where(and(...conditions))
    .orderBy(desc(auditLog.seq))
    .limit(page.limit);
}

/** The highest sequence number ever assigned: a log with missing last entries ends before it. */
async function lastNumber(ctx: Pick<Ctx, "db">): Promise<number> {
  const rows = await ctx.db.all<{ seq: number }>(sql`SELECT seq FROM sqlite_sequence WHERE name = 'audit_log'`);
  return rows[0]?.seq ?? 0;
}

/**
 * Verifies the whole log, 1,000 entries at a time.
 * @returns `brokenAt`: the first entry that does not follow from the previous one, or `end` when the last entries are
 *   missing
 */
export async function verifyAudit(ctx: Pick<Ctx, "db">): Promise<{ rows: number; brokenAt: string | null }> {
  const expected = await lastNumber(ctx);
  let previous = GENESIS;
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
      if (row.previousHash !== previous || row.hash !== hashOf(previous, row)) return { rows, brokenAt: row.id };
      previous = row.hash;
      seq = row.seq;
      rows++;
    }
    if (batch.length < 1000) return { rows, brokenAt: seq < expected ? "end" : null };
  }
}
