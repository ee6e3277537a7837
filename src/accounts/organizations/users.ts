/** Users as administrators manage them: list, role, disabling. Changes drop cached keys and sessions at once. */
import { and, asc, eq, gt, ne, type SQL } from "drizzle-orm";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { member, user } from "../../db/schema/auth.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { audit } from "../audit/service.ts";
import { endSessions, forgetSessions } from "../auth/sessions.ts";
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
    .select({ user, org: member.organizationId })
    .from(user)
    .leftJoin(member, eq(member.userId, user.id))
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
    createdAt: row.user.createdAt.getTime(),
  }));
}

/** All users of the installation by id; `after` is the last id of the previous page. */
export async function listUsers(ctx: Ctx, actor: Actor, page: { after?: string; limit: number }): Promise<UserRow[]> {
  requireAdmin(actor);
  return read(ctx, page.after ? gt(user.id, page.after) : undefined, page.limit);
}

/** @throws AppError `user_not_found` */
export async function getUser(ctx: Ctx, actor: Actor, id: string): Promise<UserRow> {
  requireAdmin(actor);
  const [row] = await read(ctx, eq(user.id, id), 1);
  if (!row) throw notFound("user", id);
  return row;
}

/**
 * Changes the role of an account, or disables it; the keys and sessions of a disabled user stop working at once.
 * @throws AppError `last_admin` when no administrator would be left
 */
export async function changeUser(
  ctx: Ctx,
  actor: Actor,
  id: string,
  change: { role?: "admin" | "member"; disabled?: boolean },
): Promise<void> {
  requireAdmin(actor);
  await ctx.write(async (tx) => {
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
    if (banned || role !== before.role) await endSessions(tx, id);
    await audit(tx, ctx, actor, "user.change", id, { role, disabled: banned });
  });
  forget(ctx, id);
}
