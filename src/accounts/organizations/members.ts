/** Members of a team as its owners and administrators manage them: roles, and leaving. */
import { and, eq, isNull, ne } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { isPerson } from "../../db/accounts.ts";
import { apiKey, member, user } from "../../db/schema/auth.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { can, type InstallationRole, ROLE_NAMES, requirePermission, type TeamRole, teamRoleOf } from "../../roles.ts";
import { audit } from "../audit/service.ts";
import { announceSecurity } from "../auth/events.ts";
import { endSessions, forgetSessions } from "../auth/sessions.ts";
import { forgetKeys } from "../keys/cache.ts";
import { handOver } from "./ownership.ts";

interface Membership {
  org: string;
  role: TeamRole;
}

/** Drops what is cached of an account, and ends its requests that no longer have access. Call it after the commit. */
export function forgetAccount(ctx: Ctx, userId: string): void {
  forgetKeys(ctx);
  forgetSessions(ctx);
  ctx.bus.emit("session.ended", { userId });
}

/** The team of an account and its role there; null without one. */
export async function membershipOf(db: Db, userId: string): Promise<Membership | null> {
  const [row] = await db
    .select({ org: member.organizationId, role: member.role })
    .from(member)
    .where(eq(member.userId, userId))
    .limit(1);
  return row ? { org: row.org, role: teamRoleOf(row.role) } : null;
}

/** The oldest owner of a team other than `except`; null when there is none. */
export async function otherOwner(db: Db, org: string, except: string): Promise<string | null> {
  const [row] = await db
    .select({ userId: member.userId })
    .from(member)
    .innerJoin(user, and(eq(user.id, member.userId), eq(user.banned, false)))
    .where(and(eq(member.organizationId, org), eq(member.role, "owner"), ne(member.userId, except)))
    .orderBy(member.createdAt)
    .limit(1);
  return row?.userId ?? null;
}

/** @throws AppError `last_owner` when a team would keep members and no owner */
export async function requireOtherOwner(db: Db, org: string, except: string): Promise<void> {
  if ((await otherOwner(db, org, except)) !== null) return;
  const others = await db
    .select({ id: member.id })
    .from(member)
    .where(and(eq(member.organizationId, org), ne(member.userId, except)))
    .limit(1);
  if (others.length === 0) return;
  throw new AppError(
    "conflict",
    "last_owner",
    "This is the only owner of the team. Make another member an owner first.",
  );
}

/** Sets the role of a member. The caller has checked the permission. */
export async function setMemberRole(tx: Db, userId: string, role: TeamRole): Promise<void> {
  await tx.update(member).set({ role }).where(eq(member.userId, userId));
}

/** Throws unless the actor may give or take a role: only owners make and unmake owners. */
export function requireGrant(actor: Actor, role: TeamRole): void {
  requirePermission(actor, "members.manage");
  if (role === "owner") requirePermission(actor, "owners.manage");
}

/** A member of the actor's team. @throws AppError `member_not_found` */
async function find(tx: Db, actor: Actor, id: string) {
  const [row] = await tx
    .select({ email: user.email, installation: user.role, role: member.role })
    .from(member)
    .innerJoin(user, eq(user.id, member.userId))
    .where(and(eq(member.userId, id), eq(member.organizationId, actor.org), isPerson))
    .limit(1);
  if (!row) throw notFound("member", id);
  return { ...row, role: teamRoleOf(row.role) };
}

/** Refuses changes to a person with a role in the installation by somebody who does not administer it. */
function requireRank(actor: Actor, target: { installation: InstallationRole }): void {
  if (target.installation !== "member" && !can(actor, "installation"))
    throw new AppError(
      "forbidden",
      "admin_only",
      "This member has a role in the installation. Only an administrator of this installation can do that.",
    );
}

/**
 * Changes the role of a member of the actor's team, and signs them out.
 * @throws AppError `member_not_found`, `last_owner`, `permission_denied`
 */
export async function changeMember(ctx: Ctx, actor: Actor, id: string, role: TeamRole): Promise<void> {
  requireGrant(actor, role);
  const changed = await ctx.write(async (tx) => {
    const before = await find(tx, actor, id);
    if (before.role === role) return false;
    requireGrant(actor, before.role);
    requireRank(actor, before);
    if (before.role === "owner") await requireOtherOwner(tx, actor.org, id);
    await setMemberRole(tx, id, role);
    await endSessions(tx, id);
    await audit(tx, ctx, actor, "member.role", id, { email: before.email, role, before: before.role });
    return true;
  });
  if (!changed) return;
  forgetAccount(ctx, id);
  const name = `${ROLE_NAMES[role].toLowerCase()} of the team`;
  announceSecurity(ctx, { userId: id, org: actor.org }, "role.changed", actor.source, name);
}

/**
 * Removes a member from the actor's team, or lets the actor leave it. Their keys are revoked, and what they own goes to
 * whoever removes them, or to an owner. The account stays without a team.
 * @throws AppError `member_not_found`, `last_owner`, `permission_denied`
 */
export async function removeMember(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  const leaves = id === actor.userId;
  await ctx.write(async (tx) => {
    const before = await find(tx, actor, id);
    if (!leaves) {
      requireGrant(actor, before.role);
      requireRank(actor, before);
    }
    const heir = leaves ? await otherOwner(tx, actor.org, id) : actor.userId;
    if (before.role === "owner") await requireOtherOwner(tx, actor.org, id);
    if (heir === null)
      throw new AppError(
        "conflict",
        "no_owner",
        "The team has no owner who could take over what you own. Ask an administrator of this installation.",
      );
    const moved = await handOver(tx, actor.org, id, heir);
    await tx.delete(member).where(and(eq(member.userId, id), eq(member.organizationId, actor.org)));
    await tx
      .update(apiKey)
      .set({ revokedAt: ctx.clock.now() })
      .where(and(eq(apiKey.userId, id), eq(apiKey.org, actor.org), isNull(apiKey.revokedAt)));
    await endSessions(tx, id);
    await audit(tx, ctx, actor, "member.remove", id, { email: before.email, role: before.role, heir, objects: moved });
  });
  forgetAccount(ctx, id);
}
