/**
 * Deactivates users for their identity provider (SCIM): a hold of its own, which neither lifts nor is lifted by a
 * suspension. Access ends as with a suspension.
 */
import { eq } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { user } from "../../db/schema/auth.ts";
import { hold } from "../../db/schema/holds.ts";
import { notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { audit } from "../audit/service.ts";
import { announceSecurity } from "../auth/events.ts";
import { endSessions } from "../auth/sessions.ts";
import { activeHold } from "../holds/service.ts";
import { announceHold, requireOtherAdmin } from "./service.ts";

/**
 * Deactivates a user: sessions end, keys answer 403, and work stops until they are active again. Does nothing to
 * somebody who is deactivated. The caller has checked that the provider manages the account.
 * @param actor the organization of the account is its `org`
 * @param reason shown to the people concerned
 * @throws AppError `last_admin`, `user_not_found`
 */
export async function deactivateUser(ctx: Ctx, actor: Actor, id: string, reason: string): Promise<void> {
  const done = await ctx.write(async (tx) => {
    const [before] = await tx.select().from(user).where(eq(user.id, id)).limit(1);
    if (!before) throw notFound("user", id);
    if (await activeHold(tx, "deactivated", "user", id)) return false;
    if (before.role === "admin" && !before.banned) await requireOtherAdmin(tx, id);
    const now = ctx.clock.now();
    const by = { createdBy: actor.userId, createdAt: now, until: null };
    await tx
      .insert(hold)
      .values({ id: newId("hold"), kind: "deactivated", subject: "user", subjectId: id, reason, ...by });
    await tx
      .update(user)
      .set({ banned: true, updatedAt: new Date(now) })
      .where(eq(user.id, id));
    await endSessions(tx, id);
    await audit(tx, ctx, actor, "user.deactivate", id, { reason });
    return true;
  });
  if (!done) return;
  announceHold(ctx, "user", id, [id]);
  announceSecurity(ctx, { userId: id, org: actor.org }, "account.suspended", actor.source, reason);
}

/** Ends the deactivation of a user; does nothing without one. A suspension by an administrator stays. */
export async function reactivateUser(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  const done = await ctx.write(async (tx) => {
    const now = await activeHold(tx, "deactivated", "user", id);
    if (!now) return false;
    await tx.update(hold).set({ endedAt: ctx.clock.now(), endedBy: actor.userId }).where(eq(hold.id, now.id));
    const suspended = await activeHold(tx, "suspended", "user", id);
    await tx
      .update(user)
      .set({ banned: suspended !== null, updatedAt: new Date(ctx.clock.now()) })
      .where(eq(user.id, id));
    await audit(tx, ctx, actor, "user.activate", id);
    return true;
  });
  if (!done) return;
  announceHold(ctx, "user", id, []);
  announceSecurity(ctx, { userId: id, org: actor.org }, "account.restored", actor.source);
}
