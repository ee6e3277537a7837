/** Users as administrators manage them: list, role, team, disabling. Changes drop cached keys and sessions at once. */
import { and, asc, eq, gt, ne, type SQL, sql } from "drizzle-orm";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { apiKey, member, organization, session, user } from "../../db/schema/auth.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { randomChars } from "../../lib/ids.ts";
import { audit } from "../audit/service.ts";
import { announceSecurity } from "../auth/events.ts";
import { endSessions, forgetSessions, openSessions } from "../auth/sessions.ts";
import { forgetKeys } from "../keys/cache.ts";
import type { UserRow } from "./model.ts";

function forget(ctx: Ctx, userId: string): void {
  forgetKeys(ctx);
  forgetSessions(ctx);
  ctx.bus.emit("session.ended", { userId });
}

async function find(db: Db, id: string): Promise<typeof user.$inferSelect> {
  const [row] = await db.select().from(user).where(eq(user.id, id)).limit(1);
  if (!row) throw notFound("user", id);
  return row;
}

async function read(ctx: Ctx, condition: SQL | undefined, limit: number): Promise<UserRow[]> {
  const rows = await ctx.db
    .select({
      user,
      org: member.organizationId,
      orgName: organization.name,
      keyUsedAt: sql<
        number | null
      >`(select max(${apiKey.lastUsedAt}) from ${apiKey} where ${apiKey.userId} = ${user.id})`,
      sessions: sql<number>`(select count(*) from ${session} where ${session.userId} = ${user.id} and ${openSessions(ctx)})`,
    })
    .from(user)
    .leftJoin(member, eq(member.userId, user.id))
    .leftJoin(organization, eq(organization.id, member.organizationId))
    .where(condition)
    .groupBy(user.id)
    .orderBy(asc(user.id))
    .limit(limit);
  return rows.map((row) => ({
    id: row.user.id,
    email: row.user.email,
    name: row.user.name,
    role: row.user.role,
    disabled: row.user.banned,
    org: row.org,
    orgName: row.orgName,
    createdAt: row.user.createdAt.getTime(),
    lastSeenAt: Math.max(row.user.lastSeenAt ?? 0, row.keyUsedAt ?? 0) || null,
    sessions: row.sessions,
    twoFactor: row.user.twoFactorEnabled,
  }));
}

/** All users of the installation, or of one organization, by id; `after` is the last id of the previous page. */
export async function listUsers(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string; limit: number; org?: string; search?: string },
): Promise<UserRow[]> {
  requireAdmin(actor);
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

/**
 * Moves a user to another organization. Keys belong to the organization they were made in, and stop working.
 * @throws AppError `organization_not_found`
 */
async function move(tx: Db, ctx: Ctx, id: string, org: string, role: "admin" | "member"): Promise<void> {
  const [found] = await tx.select({ id: organization.id }).from(organization).where(eq(organization.id, org)).limit(1);
  if (!found) throw notFound("organization", org);
  await tx.delete(member).where(eq(member.userId, id));
  await tx.insert(member).values({
    id: randomChars(32),
    organizationId: org,
    userId: id,
    role: role === "admin" ? "owner" : "member",
    createdAt: new Date(ctx.clock.now()),
  });
}

/**
 * Changes the role or organization of an account, or disables it; the keys and sessions of a disabled user stop working
 * at once.
 * @throws AppError `last_admin` when no administrator would be left
 */
export async function changeUser(
  ctx: Ctx,
  actor: Actor,
  id: string,
  change: { role?: "admin" | "member"; disabled?: boolean; organization?: string },
): Promise<void> {
  requireAdmin(actor);
  const { org, roleChanged, suspended, role } = await ctx.write(async (tx) => {
    const before = await find(tx, id);
    const role = change.role ?? before.role;
    const banned = change.disabled ?? before.banned;
    if (before.role === "admin" && !before.banned && (role !== "admin" || banned)) {
      const others = await tx
        .select({ id: user.id })
        .from(user)
        .where(and(eq(user.role, "admin"), eq(user.banned, false), ne(user.id, id)))
        .limit(1);
      if (others.length === 0)
        throw new AppError(
          "conflict",
          "last_admin",
          "This is the only administrator left. Make someone else an administrator first.",
        );
    }
    await tx
      .update(user)
      .set({ role, banned, updatedAt: new Date(ctx.clock.now()) })
      .where(eq(user.id, id));
    const [now] = await tx.select({ org: member.organizationId }).from(member).where(eq(member.userId, id)).limit(1);
    const moves = change.organization !== undefined && change.organization !== now?.org;
    if (moves) await move(tx, ctx, id, change.organization ?? "", role);
    if (banned || moves || role !== before.role) await endSessions(tx, id);
    await audit(tx, ctx, actor, "user.change", id, {
      role,
      disabled: banned,
      ...(moves ? { organization: change.organization } : {}),
    });
    const org = (moves ? change.organization : now?.org) ?? "";
    return { org, role, roleChanged: role !== before.role, suspended: banned && !before.banned };
  });
  forget(ctx, id);
  const name = role === "admin" ? "administrator" : "member";
  if (roleChanged) announceSecurity(ctx, { userId: id, org }, "role.changed", actor.source, name);
  if (suspended) announceSecurity(ctx, { userId: id, org }, "account.suspended", actor.source);
}
