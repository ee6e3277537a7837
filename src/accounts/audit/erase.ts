/** Erases what entries of the audit log say about somebody. Their hashes stay, so the log can still be verified. */
import { and, asc, inArray, isNull, ne, type SQL, sql } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { auditLog } from "../../db/schema/audit.ts";
import { audit, ERASE_ACTION, PRUNE_ACTION } from "./service.ts";

/** Entries that one write erases: one later entry names all of them. */
const PIECE = 500;
/** Ids of ours end with twenty random characters; other targets (names of models, paths) hold words of people. */
const ID = `*[-_]${"[0-9a-z]".repeat(20)}`;

/**
 * Erases details, and targets that are not ids, of the entries that `where` selects. May be interrupted and repeated.
 * @returns how many entries it erased
 */
export async function eraseAudit(ctx: Ctx, actor: Actor, where: SQL): Promise<number> {
  let count = 0;
  for (;;) {
    const n = await ctx.write(async (tx) => {
      const rows = await tx
        .select({ id: auditLog.id })
        .from(auditLog)
        .where(
          and(where, isNull(auditLog.erasedAt), ne(auditLog.action, ERASE_ACTION), ne(auditLog.action, PRUNE_ACTION)),
        )
        .orderBy(asc(auditLog.seq))
        .limit(PIECE);
      const ids = rows.map(({ id }) => id);
      if (ids.length === 0) return 0;
      await tx
        .update(auditLog)
        .set({
          detail: {},
          target: sql`iif(${auditLog.target} glob ${ID}, ${auditLog.target}, 'erased')`,
          erasedAt: ctx.clock.now(),
        })
        .where(inArray(auditLog.id, ids));
      await audit(tx, ctx, actor, ERASE_ACTION, ids[0] ?? "", { entries: ids });
      return ids.length;
    });
    count += n;
    if (n < PIECE) return count;
  }
}
