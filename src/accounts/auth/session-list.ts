/** Browser sessions as their owner sees and ends them, and as administrators end them. */
import { and, desc, eq, ne } from "drizzle-orm";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { session, user } from "../../db/schema/auth.ts";
import { notFound } from "../../errors.ts";
import { audit } from "../audit/service.ts";
import { forgetSessions, openSessions } from "./sessions.ts";

/** A session of the actor. Times in milliseconds since 1970. */
export interface SessionRow {
  id: string;
  address: string | null;
  userAgent: string | null;
  createdAt: number;
  lastUsedAt: number;
  expiresAt: number;
  /** The session of the request that asks. */
  current: boolean;
}

function announce(ctx: Ctx, userId: string): void {
  forgetSessions(ctx);
  ctx.bus.emit("session.ended", { userId });
}

/**
 * Open sessions of the actor, the last used first.
 * @param token of the request's own session, null for a request with a key
 */
export async function listSessions(ctx: Ctx, actor: Actor, token: string | null): Promise<SessionRow[]> {
  const rows = await ctx.db
    .select()
    .from(session)
    .where(and(eq(session.userId, actor.userId), openSessions(ctx)))
    .orderBy(desc(session.updatedAt), desc(session.id))
    .limit(100);
  return rows.map((row) => ({
    id: row.id,
    address: row.ipAddress,
    userAgent: row.userAgent,
    createdAt: row.createdAt.getTime(),
    lastUsedAt: row.updatedAt.getTime(),
    expiresAt: row.expiresAt.getTime(),
    current: row.token === token,
  }));
}

/** Ends one session of the actor. @throws AppError `session_not_found` */
export async function endSession(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  await ctx.write(async (tx) => {
    const [row] = await tx
      .delete(session)
      .where(and(eq(session.id, id), eq(session.userId, actor.userId)))
      .returning({ address: session.ipAddress });
    if (!row) throw notFound("session", id);
    await audit(tx, ctx, actor, "session.revoke", actor.userId, { sessions: 1, address: row.address });
  });
  announce(ctx, actor.userId);
}

/**
 * Ends all sessions of the actor but the request's own.
 * @param token of the session that stays, null ends all
 * @returns how many were ended
 */
export async function endOtherSessions(ctx: Ctx, actor: Actor, token: string | null): Promise<number> {
  const mine = eq(session.userId, actor.userId);
  const ended = await ctx.write(async (tx) => {
    const rows = await tx
      .delete(session)
      .where(token === null ? mine : and(mine, ne(session.token, token)))
      .returning({ id: session.id });
    if (rows.length > 0) await audit(tx, ctx, actor, "session.revoke", actor.userId, { sessions: rows.length });
    return rows.length;
  });
  announce(ctx, actor.userId);
  return ended;
}

/** Ends all sessions of any user; keys stay valid. Administrators only. @returns how many were ended */
export async function endUserSessions(ctx: Ctx, actor: Actor, userId: string): Promise<number> {
  requireAdmin(actor);
  const ended = await ctx.write(async (tx) => {
    const [found] = await tx.select({ id: user.id }).from(user).where(eq(user.id, userId)).limit(1);
    if (!found) throw notFound("user", userId);
    const rows = await tx.delete(session).where(eq(session.userId, userId)).returning({ id: session.id });
    await audit(tx, ctx, actor, "session.revoke", userId, { sessions: rows.length });
    return rows.length;
  });
  announce(ctx, userId);
  return ended;
}
