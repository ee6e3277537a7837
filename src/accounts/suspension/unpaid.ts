/**
 * Suspends an organization for an unpaid invoice: a hold of its own, beside a suspension by an administrator. Sessions
 * stay, because members pay here; keys, jobs and endpoints stop.
 */
import { and, eq, isNull } from "drizzle-orm";
import { type Ctx, systemActor } from "../../ctx.ts";
import { hold } from "../../db/schema/holds.ts";
import type { Db } from "../../db/types.ts";
import { newId } from "../../lib/ids.ts";
import { audit } from "../audit/service.ts";
import { activeHold } from "../holds/service.ts";

/**
 * Stores the hold, in the caller's transaction; one in force gets the new reason. Announce it after the commit with
 * `announceHold`.
 */
export async function holdUnpaid(tx: Db, ctx: Ctx, org: string, reason: string): Promise<void> {
  const known = await activeHold(tx, "unpaid", "organization", org);
  if (known) {
    await tx.update(hold).set({ reason }).where(eq(hold.id, known.id));
    return;
  }
  const by = { createdBy: "system", createdAt: ctx.clock.now(), until: null };
  await tx
    .insert(hold)
    .values({ id: newId("hold"), kind: "unpaid", subject: "organization", subjectId: org, reason, ...by });
  await audit(tx, ctx, systemActor(org), "organization.suspend", org, { reason });
}

/** Ends the hold, in the caller's transaction. @returns whether there was one, which has to be announced */
export async function endUnpaid(tx: Db, ctx: Ctx, org: string): Promise<boolean> {
  const ended = await tx
    .update(hold)
    .set({ endedAt: ctx.clock.now(), endedBy: "system" })
    .where(
      and(eq(hold.kind, "unpaid"), eq(hold.subject, "organization"), eq(hold.subjectId, org), isNull(hold.endedAt)),
    )
    .returning({ id: hold.id });
  if (ended.length > 0) await audit(tx, ctx, systemActor(org), "organization.lift", org);
  return ended.length > 0;
}
