/** Keys that were refused, for the audit log: whose key it was, and why. */
import { and, eq, or } from "drizzle-orm";
import type { Ctx, Source } from "../../ctx.ts";
import { apiKey, member, user } from "../../db/schema/auth.ts";
import { sha256Hex } from "../../lib/ids.ts";
import { noteRefusal } from "../audit/refusals.ts";
import { holdOn } from "../holds/service.ts";

/**
 * Records the use of a key that was refused. Call it only after `actorOfKey` has refused it.
 * @param secret as sent; it is not stored
 */
export async function noteRefusedKey(ctx: Ctx, secret: string, source: Source): Promise<void> {
  const hash = sha256Hex(secret);
  const [row] = await ctx.db
    .select({ key: apiKey, member: member.id })
    .from(apiKey)
    .innerJoin(user, eq(user.id, apiKey.userId))
    .leftJoin(member, and(eq(member.userId, apiKey.userId), eq(member.organizationId, apiKey.org)))
    .where(or(eq(apiKey.hash, hash), eq(apiKey.previousHash, hash)))
    .limit(1);
  if (!row) {
    await noteRefusal(ctx, { action: "key.refused", account: null, target: "none", source, reason: "unknown" });
    return;
  }
  const { id, userId, org, revokedAt, name } = row.key;
  const held = (await holdOn(ctx.db, row.key))?.kind;
  const ended = row.key.hash === hash ? "expired" : "rotated";
  const reason = revokedAt !== null ? "revoked" : (held ?? (row.member ? ended : "moved"));
  await noteRefusal(ctx, {
    action: "key.refused",
    account: { userId, org },
    target: id,
    source,
    reason,
    detail: { name },
  });
}
