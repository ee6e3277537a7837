/** Erases an account: what it created is handed over to another owner of the team, then everything personal goes. */
import { and, asc, eq, inArray, ne, or, sql } from "drizzle-orm";
import { eraseAudit } from "../accounts/audit/erase.ts";
import { otherOwner } from "../accounts/organizations/members.ts";
import { handOver } from "../accounts/organizations/ownership.ts";
import { type Ctx, systemActor } from "../ctx.ts";
import { isPerson } from "../db/accounts.ts";
import { storedAnswer } from "../db/schema/answers.ts";
import { auditLog } from "../db/schema/audit.ts";
import { member, user } from "../db/schema/auth.ts";
import { piiScan } from "../db/schema/datasets.ts";
import { hold } from "../db/schema/holds.ts";
import { termsAcceptance } from "../db/schema/terms.ts";
import { deleteRows, removeOwnArchives } from "./rows.ts";
import { OF_USER } from "./tables.ts";

/** Who takes over: another owner; without one, the oldest administrator or member becomes the owner. */
async function heirOf(ctx: Ctx, org: string, userId: string): Promise<string | null> {
  const owner = await otherOwner(ctx.db, org, userId);
  if (owner !== null) return owner;
  const [next] = await ctx.db
    .select({ userId: member.userId })
    .from(member)
    .innerJoin(user, and(eq(user.id, member.userId), eq(user.banned, false), isPerson))
    .where(and(eq(member.organizationId, org), ne(member.userId, userId)))
    .orderBy(sql`${member.role} <> 'admin'`, asc(member.createdAt))
    .limit(1);
  if (!next) return null;
  await ctx.write((tx) =>
    tx
      .update(member)
      .set({ role: "owner" })
      .where(and(eq(member.userId, next.userId), eq(member.organizationId, org))),
  );
  return next.userId;
}

/**
 * Erases an account. May be interrupted at any place, and repeated.
 * @param except an organization that is erased itself: nothing is handed over there
 * @returns how many objects were handed over
 */
export async function eraseUser(ctx: Ctx, id: string, except = ""): Promise<number> {
  const [found] = await ctx.db.select({ email: user.email }).from(user).where(eq(user.id, id)).limit(1);
  // Without the row only the end is left to do.
  const email = found?.email ?? "";
  let handed = 0;
  const teams = await ctx.db
    .select({ org: member.organizationId })
    .from(member)
    .where(and(eq(member.userId, id), ne(member.organizationId, except)));
  for (const { org } of teams) {
    const heir = await heirOf(ctx, org, id);
    if (heir === null) continue;
    handed += await ctx.write((tx) => handOver(tx, org, id, heir));
    await ctx.write((tx) =>
      tx
        .update(storedAnswer)
        .set({ userId: heir })
        .where(and(eq(storedAnswer.org, org), eq(storedAnswer.userId, id))),
    );
  }
  const about = or(
    eq(auditLog.actor, id),
    eq(auditLog.target, id),
    eq(auditLog.target, email || id),
    // As a value of its own, or in a sentence: other addresses may end like this one.
    email ? sql`instr(lower(${auditLog.detail}), ${`"${email}"`}) > 0` : undefined,
    email ? sql`instr(lower(${auditLog.detail}), ${` ${email}`}) > 0` : undefined,
  );
  if (about) await eraseAudit(ctx, systemActor(), about);
  await ctx.write(async (tx) => {
    const nobody = { email: "", address: "", userAgent: "" };
    await tx.update(piiScan).set({ decidedByName: "a deleted account" }).where(eq(piiScan.decidedBy, id));
    await tx.update(termsAcceptance).set(nobody).where(eq(termsAcceptance.userId, id));
    await tx
      .update(hold)
      .set({ reason: "" })
      .where(and(eq(hold.subject, "user"), inArray(hold.subjectId, [id])));
  });
  const ownArchives = OF_USER.archive?.({ id, email });
  if (ownArchives) await removeOwnArchives(ctx, ownArchives);
  // The address is needed until the end: the row of the user goes last.
  if (found)
    for (const [table, where] of Object.entries(OF_USER)) {
      ctx.failPoint("erasure.account");
      await deleteRows(ctx, table, where({ id, email }));
    }
  await ctx.emptyLog();
  return handed;
}
