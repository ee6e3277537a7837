/** Users as administrators manage them: list, role, team. Changes drop cached keys and sessions at once. */
import { and, asc, eq, gt, type SQL, sql } from "drizzle-orm";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { isPerson } from "../../db/accounts.ts";
import { apiKey, member, organization, session, user } from "../../db/schema/auth.ts";
import type { Db } from "../../db/types.ts";
import { notFound } from "../../errors.ts";
import { type InstallationRole, powersOf, ROLE_NAMES, requirePermission, type TeamRole } from "../../roles.ts";
import { audit } from "../audit/service.ts";
import { announceSecurity } from "../auth/events.ts";
import { insertMember } from "../auth/service.ts";
import { endSessions, openSessions } from "../auth/sessions.ts";
import { holdsOf } from "../holds/service.ts";
import { liftUser, requireOtherAdmin, suspendUser } from "../suspension/service.ts";
import { forgetAccount, membershipOf, otherOwner, requireOtherOwner, setMemberRole } from "./members.ts";
import type { UserRow } from "./model.ts";

async function find(db: Db, id: string): Promise<typeof user.$inferSelect> {
  const [row] = await db
    .select()
    .from(user)
    .where(and(eq(user.id, id), isPerson))
    .limit(1);
  if (!row) throw notFound("user", id);
  return row;
}

async function read(ctx: Ctx, condition: SQL | undefined, limit: number): Promise<UserRow[]> {
  const rows = await ctx.db
    .select({
      user,
      org: member.organizationId,
      orgName: organization.name,
      teamRole: member.role,
      keyUsedAt: sql<
        number | null
      >`(select max(${apiKey.lastUsedAt}) from ${apiKey} where ${apiKey.userId} = ${user.id})`,
      sessions: sql<number>`(select count(*) from ${session} where ${session.userId} = ${user.id} and ${openSessions(ctx)})`,
    })
    .from(user)
    .leftJoin(member, eq(member.userId, user.id))
    .leftJoin(organization, eq(organization.id, member.organizationId))
    .where(and(condition, isPerson))
    .groupBy(user.id)
    .orderBy(asc(user.id))
    .limit(limit);
  const holds = await holdsOf(
    ctx.db,
    "user",
    rows.map((row) => row.user.id),
  );
  return rows.map((row) => ({
    id: row.user.id,
    email: row.user.email,
    name: row.user.name,
    role: row.user.role,
    disabled: row.user.banned,
    org: row.org,
    orgName: row.orgName,
    teamRole: row.teamRole === null ? null : powersOf(row.user.role, row.teamRole).teamRole,
    createdAt: row.user.createdAt.getTime(),
    lastSeenAt: Math.max(row.user.lastSeenAt ?? 0, row.keyUsedAt ?? 0) || null,
    sessions: row.sessions,
    twoFactor: row.user.twoFactorEnabled,
    holds: holds.get(row.user.id) ?? [],
  }));
}

/** All users of the installation, or of one team, by id; `after` is the last id of the previous page. */
export async function listUsers(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string; limit: number; org?: string; search?: string },
): Promise<UserRow[]> {
  if (page.org === undefined || page.org !== actor.org) requireAdmin(actor);
  else requirePermission(actor, "team.read");
  const word = page.search?.trim().toLowerCase();
  const conditions = [
    page.after ? gt(user.id, page.after) : undefined,
    page.org ? eq(member.organizationId, page.org) : undefined,
    word ? sql`instr(lower(${user.email} || ' ' || ${user.name}), ${word}) > 0` : undefined,
  ];
  return read(ctx, and(...conditions), page.limit);
}

/** @throws AppError `user_not_found` */
export async function getUser(ctx: Ctx, actor: Actor, id: string): Promise<UserRow> {
  requireAdmin(actor);
  const [row] = await read(ctx, eq(user.id, id), 1);
  if (!row) throw notFound("user", id);
  return row;
}

/** A member of the actor's team. @throws AppError `member_not_found` */
export async function getMember(ctx: Ctx, actor: Actor, id: string): Promise<UserRow> {
  requirePermission(actor, "team.read");
  const [row] = await read(ctx, and(eq(user.id, id), eq(member.organizationId, actor.org)), 1);
  if (!row) throw notFound("member", id);
  return row;
}

/**
 * Moves a user to another organization. Keys belong to the organization they were made in, and stop working.
 * @throws AppError `organization_not_found`
 */
async function move(tx: Db, ctx: Ctx, id: string, org: string, role: TeamRole): Promise<void> {
  const [found] = await tx.select({ id: organization.id }).from(organization).where(eq(organization.id, org)).limit(1);
  if (!found) throw notFound("organization", org);
  await tx.delete(member).where(eq(member.userId, id));
  await insertMember(tx, ctx, { org, userId: id, role });
}

/** The role in the team after a change of an account. Who no longer administers the installation is a member. */
async function newTeamRole(
  tx: Db,
  id: string,
  change: {
    before: InstallationRole;
    role: InstallationRole;
    now: { org: string; role: TeamRole } | null;
    moves: boolean;
    wanted?: TeamRole;
  },
): Promise<TeamRole> {
  const { before, role, now, moves, wanted } = change;
  if (wanted) return wanted;
  if (moves) return role === "admin" ? "owner" : "member";
  const demoted = before === "admin" && role !== "admin";
  if (!now || !demoted) return now?.role ?? "member";
  return now.role === "owner" && !(await otherOwner(tx, now.org, id)) ? "owner" : "member";
}

/** A role as the notice about it names it. */
const nameOfRoles = (role: InstallationRole, teamRole: TeamRole) =>
  role === "member"
    ? `${ROLE_NAMES[teamRole].toLowerCase()} of the team`
    : `${role === "admin" ? "administrator" : "reviewer"} of the installation`;

/**
 * Changes the role or organization of an account, or suspends it without a reason; the keys and sessions of a suspended
 * user stop working at once.
 * @throws AppError `last_admin` when no administrator would be left
 */
export async function changeUser(
  ctx: Ctx,
  actor: Actor,
  id: string,
  change: { role?: InstallationRole; teamRole?: TeamRole; disabled?: boolean; organization?: string },
): Promise<void> {
  requireAdmin(actor);
  const { disabled, ...rest } = change;
  if (Object.values(rest).some((value) => value !== undefined)) await changePlace(ctx, actor, id, rest);
  if (disabled === undefined) return;
  const { banned } = await find(ctx.db, id);
  if (disabled && !banned) await suspendUser(ctx, actor, id, { reason: "" });
  if (!disabled) await liftUser(ctx, actor, id);
}

async function changePlace(
  ctx: Ctx,
  actor: Actor,
  id: string,
  change: { role?: InstallationRole; teamRole?: TeamRole; organization?: string },
): Promise<void> {
  const { org, roleChanged, name } = await ctx.write(async (tx) => {
    const before = await find(tx, id);
    const role = change.role ?? before.role;
    if (before.role === "admin" && !before.banned && role !== "admin") await requireOtherAdmin(tx, id);
    await tx
      .update(user)
      .set({ role, updatedAt: new Date(ctx.clock.now()) })
      .where(eq(user.id, id));
    const now = await membershipOf(tx, id);
    const moves = change.organization !== undefined && change.organization !== now?.org;
    const teamRole = await newTeamRole(tx, id, { before: before.role, role, now, moves, wanted: change.teamRole });
    if (now && now.role === "owner" && (moves || teamRole !== "owner")) await requireOtherOwner(tx, now.org, id);
    if (moves) await move(tx, ctx, id, change.organization ?? "", teamRole);
    else if (now && teamRole !== now.role) await setMemberRole(tx, id, teamRole);
    const roleChanged = role !== before.role || (!!now && teamRole !== now.role);
    if (moves || roleChanged) await endSessions(tx, id);
    await audit(tx, ctx, actor, "user.change", id, {
      role,
      team_role: teamRole,
      ...(moves ? { organization: change.organization } : {}),
    });
    const org = (moves ? change.organization : now?.org) ?? "";
    return { org, name: nameOfRoles(role, teamRole), roleChanged };
  });
  forgetAccount(ctx, id);
  if (roleChanged) announceSecurity(ctx, { userId: id, org }, "role.changed", actor.source, name);
}
