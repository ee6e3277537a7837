/** Removes audit entries that are older than the setting says, with an entry that keeps the chain verifiable. */
import { and, asc, count, desc, gte, lt, lte, max, min, sql } from "drizzle-orm";
import { type Ctx, systemActor } from "../../ctx.ts";
import { auditForward, auditLog } from "../../db/schema/audit.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { audit, PRUNE_ACTION } from "./service.ts";

const EVERY_MS = 3_600_000;
/** Entries that one write removes, so that others wait little. */
const PIECE = 5000;

/** Removes one piece; returns how many entries it had. */
function prunePiece(ctx: Ctx, before: number): Promise<number> {
  return ctx.write(async (tx) => {
    // Entries are numbered in order of time, but a clock can be set back: an entry after a younger one stays.
    const [young] = await tx
      .select({ seq: auditLog.seq })
      .from(auditLog)
      .where(gte(auditLog.at, before))
      .orderBy(asc(auditLog.seq))
      .limit(1);
    // What is still to be forwarded stays, however old it is.
    const [sent] = await tx.select({ position: min(auditForward.position) }).from(auditForward);
    const old = and(
      young ? lt(auditLog.seq, young.seq) : undefined,
      sent?.position == null ? undefined : lte(auditLog.seq, sent.position),
    );
    const [end] = await tx
      .select({ seq: max(auditLog.seq) })
      .from(
        tx.select({ seq: auditLog.seq }).from(auditLog).where(old).orderBy(asc(auditLog.seq)).limit(PIECE).as("some"),
      );
    if (!end?.seq) return 0;
    const removed = lte(auditLog.seq, end.seq);
    const [last] = await tx.select().from(auditLog).where(removed).orderBy(desc(auditLog.seq)).limit(1);
    const [number] = await tx
      .select({
        n: count(),
        // What removed entries say of earlier removals.
        before: sql<number>`coalesce(sum(iif(${auditLog.action} = ${PRUNE_ACTION}, ${auditLog.detail} ->> '$.entries', 0)), 0)`,
      })
      .from(auditLog)
      .where(removed);
    if (!last || !number) return 0;
    // First: with an empty log, the next entry would not follow from the removed ones.
    await audit(tx, ctx, systemActor(), PRUNE_ACTION, last.id, {
      entries: number.n + number.before,
      last_at: Math.floor(last.at / 1000),
      last_hash: last.hash,
    });
    await tx.delete(auditLog).where(removed);
    return number.n;
  });
}

/** Removes entries older than `audit_retention_days`; 0 keeps all. @returns how many were removed */
export async function pruneAudit(ctx: Ctx): Promise<number> {
  const days = ctx.config.audit_retention_days;
  if (days === 0) return 0;
  let removed = 0;
  for (let n = PIECE; n >= PIECE; removed += n) n = await prunePiece(ctx, ctx.clock.now() - days * DAY_MS);
  if (removed > 0) await ctx.emptyLog();
  return removed;
}

/** Removes old entries now and every hour. @returns the function that stops it */
export function startAuditRetention(ctx: Ctx): () => void {
  const prune = () =>
    void pruneAudit(ctx).catch((cause) => {
      if (!ctx.signal.aborted) ctx.log("error", "old audit entries could not be removed", { cause });
    });
  prune();
  const timer = setInterval(prune, EVERY_MS);
  return () => clearInterval(timer);
}
