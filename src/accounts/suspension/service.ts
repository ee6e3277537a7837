/**
 * Suspends users and organizations, and lifts it. Sessions end and keys are refused at once; queue and endpoints stop
 * their work because of the hold, and resume it without one. Nothing is deleted.
 */
import { and, asc, eq, isNotNull, isNull, lte, ne } from "drizzle-orm";
import { type Actor, type Ctx, type Hold, requireAdmin, systemActor } from "../../ctx.ts";
import { member, organization, session, user } from "../../db/schema/auth.ts";
import { hold } from "../../db/schema/holds.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import type { SecurityKind } from "../../lib/bus.ts";
import { newId } from "../../lib/ids.ts";
import { audit } from "../audit/service.ts";
import { announceSecurity } from "../auth/events.ts";
import { endSessions, forgetSessions } from "../auth/sessions.ts";
import { activeHold } from "../holds/service.ts";
import { forgetKeys } from "../keys/cache.ts";

/** Why somebody is suspended, and until when. */
interface Suspension {
  /** For the people concerned, who read it at the next sign-in. */
  reason: string;
  /** When it ends by itself, in milliseconds since 1970; null = when it is lifted. */
  until?: number | null;
}

const EVERY_MS = 30_000;

/** Ends the access that a hold takes away or gives back. Call it after the commit. */
export function announceHold(ctx: Ctx, subject: Hold["subject"], id: string, users: string[]): void {
  forgetKeys(ctx);
  forgetSessions(ctx);
  ctx.bus.emit("hold.changed", { subject, id });
  for (const userId of users) ctx.bus.emit("session.ended", { userId });
}

/** Ends the sessions of all members of an organization. @returns their ids */
async function endSessionsOfMembers(tx: Db, org: string): Promise<string[]> {
  const members = await tx.select({ id: member.userId }).from(member).where(eq(member.organizationId, org));
  for (const { id } of members) await tx.delete(session).where(eq(session.userId, id));
  return members.map(({ id }) => id);
}

/** The owners of an organization. */
export async function ownersOf(db: Db, org: string): Promise<string[]> {
  const rows = await db
    .select({ id: member.userId })
    .from(member)
    .where(and(eq(member.organizationId, org), eq(member.role, "owner")));
  return rows.map(({ id }) => id);
}

/** Notifies the owners of an organization after the commit. */
export async function announceToOwners(
  ctx: Ctx,
  org: string,
  kind: SecurityKind,
  actor: Actor,
  detail?: string,
): Promise<void> {
  for (const userId of await ownersOf(ctx.db, org)) announceSecurity(ctx, { userId, org }, kind, actor.source, detail);
}

/** A user with the first organization. @throws AppError `user_not_found` */
export async function accountOf(db: Db, id: string) {
  const [row] = await db
    .select({ role: user.role, banned: user.banned, org: member.organizationId })
    .from(user)
    .leftJoin(member, eq(member.userId, user.id))
    .where(eq(user.id, id))
    .orderBy(asc(member.createdAt))
    .limit(1);
  if (!row) throw notFound("user", id);
  return { ...row, org: row.org ?? "" };
}

/** @throws AppError `last_admin` when nobody else could administer the installation */
export async function requireOtherAdmin(db: Db, except: string): Promise<void> {
  const others = await db
    .select({ id: user.id })
    .from(user)
    .where(and(eq(user.role, "admin"), eq(user.banned, false), ne(user.id, except)))
    .limit(1);
  if (others.length === 0)
    throw new AppError(
      "conflict",
      "last_admin",
      "This is the only administrator left. Make someone else an administrator first.",
    );
}

function requireFuture(ctx: Ctx, until: number | null): void {
  if (until !== null && until <= ctx.clock.now())
    throw new AppError("invalid", "end_in_the_past", "The suspension would have ended already. Choose a later end.", {
      param: "until",
    });
}

async function insertHold(
  tx: Db,
  ctx: Ctx,
  actor: Actor,
  values: Pick<Hold, "subject" | "reason" | "until"> & { subjectId: string },
): Promise<void> {
  const id = newId("hold");
  const by = { createdBy: actor.userId, createdAt: ctx.clock.now() };
  await tx.insert(hold).values({ id, kind: "suspended", ...values, ...by });
}

const ending = (ctx: Ctx, actor: Actor) => ({ endedAt: ctx.clock.now(), endedBy: actor.userId });

/**
 * Suspends a user: sessions end, keys answer 403, and jobs and endpoints that they created stop until it is lifted. A
 * suspension that is in force gets the new reason and end.
 * @throws AppError `own_account`, `last_admin`, `end_in_the_past`, `user_not_found`
 */
export async function suspendUser(
  ctx: Ctx,
  actor: Actor,
  id: string,
  { reason, until = null }: Suspension,
): Promise<void> {
  requireAdmin(actor);
  requireFuture(ctx, until);
  const { org, isNew } = await ctx.write(async (tx) => {
    const before = await accountOf(tx, id);
    if (before.role === "admin" && !before.banned) await requireOtherAdmin(tx, id);
    if (id === actor.userId)
      throw new AppError("conflict", "own_account", "You cannot suspend your own account. Ask another administrator.");
    const now = await activeHold(tx, "suspended", "user", id);
    if (now) await tx.update(hold).set({ reason, until }).where(eq(hold.id, now.id));
    else await insertHold(tx, ctx, actor, { subject: "user", subjectId: id, reason, until });
    await tx
      .update(user)
      .set({ banned: true, updatedAt: new Date(ctx.clock.now()) })
      .where(eq(user.id, id));
    await endSessions(tx, id);
    await audit(tx, ctx, { ...actor, org: before.org }, "user.suspend", id, { reason, until });
    return { org: before.org, isNew: !now };
  });
  announceHold(ctx, "user", id, [id]);
  if (isNew) announceSecurity(ctx, { userId: id, org }, "account.suspended", actor.source, reason);
}

/**
 * Lifts the suspension of a user, or else the deactivation by the identity provider; does nothing without one. Sessions
 * do not come back, keys work again.
 */
export async function liftUser(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  requireAdmin(actor);
  const org = await ctx.write(async (tx) => {
    const before = await accountOf(tx, id);
    const deactivated = await activeHold(tx, "deactivated", "user", id);
    const suspended = await activeHold(tx, "suspended", "user", id);
    const now = suspended ?? deactivated;
    if (!now && !before.banned) return null;
    if (now) await tx.update(hold).set(ending(ctx, actor)).where(eq(hold.id, now.id));
    await tx
      .update(user)
      .set({ banned: suspended !== null && deactivated !== null, updatedAt: new Date(ctx.clock.now()) })
      .where(eq(user.id, id));
    await audit(tx, ctx, { ...actor, org: before.org }, "user.lift", id);
    return before.org;
  });
  if (org === null) return;
  announceHold(ctx, "user", id, []);
  announceSecurity(ctx, { userId: id, org }, "account.restored", actor.source);
}

async function requireOrganization(tx: Db, id: string): Promise<void> {
  const [found] = await tx.select({ id: organization.id }).from(organization).where(eq(organization.id, id)).limit(1);
  if (!found) throw notFound("organization", id);
}

/**
 * Suspends an organization: sessions of its members end, its keys answer 403, and all its jobs and endpoints stop until
 * it is lifted. Members who sign in see why.
 * @throws AppError `own_organization`, `end_in_the_past`, `organization_not_found`
 */
export async function suspendOrganization(
  ctx: Ctx,
  actor: Actor,
  id: string,
  { reason, until = null }: Suspension,
): Promise<void> {
  requireAdmin(actor);
  requireFuture(ctx, until);
  if (id === actor.org)
    throw new AppError(
      "conflict",
      "own_organization",
      "You cannot suspend your own organization. Ask an administrator of another one.",
    );
  const { isNew, members } = await ctx.write(async (tx) => {
    await requireOrganization(tx, id);
    const now = await activeHold(tx, "suspended", "organization", id);
    if (now) await tx.update(hold).set({ reason, until }).where(eq(hold.id, now.id));
    else await insertHold(tx, ctx, actor, { subject: "organization", subjectId: id, reason, until });
    const members = now ? [] : await endSessionsOfMembers(tx, id);
    await audit(tx, ctx, { ...actor, org: id }, "organization.suspend", id, { reason, until });
    return { isNew: !now, members };
  });
  announceHold(ctx, "organization", id, members);
  if (isNew) await announceToOwners(ctx, id, "organization.suspended", actor, reason);
}

/**
 * Lifts the suspension of an organization, also one for an unpaid invoice; does nothing without one. That invoice does
 * not suspend it again.
 */
export async function liftOrganization(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  requireAdmin(actor);
  const lifted = await ctx.write(async (tx) => {
    await requireOrganization(tx, id);
    const now =
      (await activeHold(tx, "suspended", "organization", id)) ?? (await activeHold(tx, "unpaid", "organization", id));
    if (!now) return false;
    await tx.update(hold).set(ending(ctx, actor)).where(eq(hold.id, now.id));
    await audit(tx, ctx, { ...actor, org: id }, "organization.lift", id);
    return true;
  });
  if (!lifted) return;
  announceHold(ctx, "organization", id, []);
  await announceToOwners(ctx, id, "organization.restored", actor);
}

/** Lifts the suspensions whose end has come. */
export async function liftEnded(ctx: Ctx): Promise<void> {
  const rows = await ctx.db
    .select()
    .from(hold)
    .where(
      and(isNull(hold.endedAt), eq(hold.kind, "suspended"), isNotNull(hold.until), lte(hold.until, ctx.clock.now())),
    );
  for (const { subject, subjectId } of rows)
    await (subject === "user" ? liftUser : liftOrganization)(ctx, systemActor(), subjectId);
}

/** Lifts suspensions at their end, now and twice a minute. @returns the function that stops it */
export function startSuspensions(ctx: Ctx): () => void {
  const lift = () =>
    void liftEnded(ctx).catch((cause) => {
      if (!ctx.signal.aborted) ctx.log("error", "suspensions that ended could not be lifted", { cause });
    });
  lift();
  const timer = setInterval(lift, EVERY_MS);
  return () => clearInterval(timer);
}
