/** Schedules the deletion of accounts and organizations, and cancels it during the grace period. */
import { and, desc, eq, isNull, lte } from "drizzle-orm";
import { audit } from "../accounts/audit/service.ts";
import { announceSecurity } from "../accounts/auth/events.ts";
import { endSessions } from "../accounts/auth/sessions.ts";
import { activeHold } from "../accounts/holds/service.ts";
import { otherOwner } from "../accounts/organizations/members.ts";
import {
  accountOf,
  announceHold,
  announceToOwners,
  ownersOf,
  requireOtherAdmin,
} from "../accounts/suspension/service.ts";
import { type Actor, type Ctx, type Hold, requireAdmin } from "../ctx.ts";
import { olderThan } from "../db/paging.ts";
import { member, organization, user } from "../db/schema/auth.ts";
import { hold } from "../db/schema/holds.ts";
import type { Db } from "../db/types.ts";
import { AppError, notFound } from "../errors.ts";
import { DAY_MS } from "../lib/clock.ts";
import { newId } from "../lib/ids.ts";
import { seconds } from "../lib/request-fields.ts";
import { formatDate } from "../lib/text/format.ts";
import { can, requirePermission } from "../roles.ts";
import { ERASED, KEPT } from "./kept.ts";
import type { DeletionRow, DeletionView } from "./model.ts";

/** @throws AppError `session_required`: a leaked key must not delete everything */
function requirePerson(actor: Actor): void {
  if (actor.via === "key")
    throw new AppError("forbidden", "session_required", "An API key cannot do that. Sign in, and delete it there.");
}

const conflict = (code: string, message: string) => new AppError("conflict", code, message);

/** @throws AppError `last_admin`, `last_owner` */
async function requireLeavable(db: Db, id: string): Promise<void> {
  const { role } = await accountOf(db, id);
  if (role === "admin") await requireOtherAdmin(db, id);
  const teams = await db
    .select({ org: member.organizationId, role: member.role, name: organization.name })
    .from(member)
    .innerJoin(organization, eq(organization.id, member.organizationId))
    .where(eq(member.userId, id));
  for (const { org, role, name } of teams) {
    if (role !== "owner" || (await otherOwner(db, org, id)) !== null) continue;
    if (await activeHold(db, "deletion", "organization", org)) continue;
    throw conflict(
      "last_owner",
      `This account is the only owner of the team ${name}. Make another member an owner, or delete the team first.`,
    );
  }
}

/** @throws AppError `administrators_inside`: nobody could administer the installation from nowhere */
async function requireNoAdministrators(db: Db, org: string): Promise<void> {
  const [admin] = await db
    .select({ email: user.email })
    .from(member)
    .innerJoin(user, eq(user.id, member.userId))
    .where(and(eq(member.organizationId, org), eq(user.role, "admin")))
    .limit(1);
  if (admin)
    throw conflict(
      "administrators_inside",
      "Administrators of the installation are in this team. Move them to another team, or take the role from them first.",
    );
}

async function insert(
  tx: Db,
  ctx: Ctx,
  actor: Actor,
  subject: Hold["subject"],
  subjectId: string,
  reason: string,
): Promise<number> {
  if (await activeHold(tx, "deletion", subject, subjectId))
    throw conflict("deletion_scheduled", "The deletion is scheduled already. Cancel it first to change it.");
  const createdAt = ctx.clock.now();
  const until = createdAt + ctx.config.deletion_grace_days * DAY_MS;
  const values = { id: newId("hold"), kind: "deletion" as const, subject, subjectId, reason };
  await tx.insert(hold).values({ ...values, createdBy: actor.userId, createdAt, until });
  return until;
}

/** Ends the hold. @throws AppError `no_deletion` */
async function end(tx: Db, ctx: Ctx, actor: Actor, subject: Hold["subject"], id: string): Promise<void> {
  const row = await activeHold(tx, "deletion", subject, id);
  if (!row) throw conflict("no_deletion", "No deletion is scheduled.");
  // Afterwards not everything would be there any more.
  if (row.erased !== null) throw conflict("erasure_begun", "The erasure has begun and cannot be canceled.");
  await tx.update(hold).set({ endedAt: ctx.clock.now(), endedBy: actor.userId }).where(eq(hold.id, row.id));
}

/**
 * Schedules the deletion of an account: the person's own, or any by an administrator of the installation. Its sessions
 * end and its keys are refused; whoever signs in again can cancel it.
 * @param given.confirm the e-mail address, typed again; only for the own account
 * @throws AppError `not_confirmed`, `last_admin`, `last_owner`, `deletion_scheduled`, `session_required`
 */
export async function scheduleUser(
  ctx: Ctx,
  actor: Actor,
  id: string,
  given: { confirm?: string; reason: string },
): Promise<void> {
  const own = id === actor.userId;
  if (own) requirePerson(actor);
  else requireAdmin(actor);
  if (own && given.confirm?.trim().toLowerCase() !== actor.email)
    throw new AppError("invalid", "not_confirmed", "Type the e-mail address of your account to confirm.", {
      param: "confirm",
    });
  const { org, until } = await ctx.write(async (tx) => {
    const { org } = await accountOf(tx, id);
    await requireLeavable(tx, id);
    const until = await insert(tx, ctx, actor, "user", id, given.reason);
    await endSessions(tx, id);
    await audit(tx, ctx, { ...actor, org }, "user.deletion_schedule", id, { until, reason: given.reason });
    return { org, until };
  });
  announceHold(ctx, "user", id, [id]);
  announceSecurity(ctx, { userId: id, org }, "account.deletion_scheduled", actor.source, formatDate(until));
}

/** Cancels the deletion of an account. @throws AppError `no_deletion`, `erasure_begun` */
export async function cancelUser(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  if (id !== actor.userId) requireAdmin(actor);
  const org = await ctx.write(async (tx) => {
    const { org } = await accountOf(tx, id);
    const row = await activeHold(tx, "deletion", "user", id);
    // A termination is lifted by whoever may terminate.
    if (row && row.createdBy !== id) requireAdmin(actor);
    await end(tx, ctx, actor, "user", id);
    await audit(tx, ctx, { ...actor, org }, "user.deletion_cancel", id);
    return org;
  });
  announceHold(ctx, "user", id, []);
  announceSecurity(ctx, { userId: id, org }, "account.deletion_canceled", actor.source);
}

async function nameOf(tx: Db, org: string): Promise<string> {
  const [found] = await tx.select({ name: organization.name }).from(organization).where(eq(organization.id, org));
  if (!found) throw notFound("organization", org);
  return found.name;
}

/**
 * Schedules the deletion of an organization: by an owner, or by an administrator of the installation (a termination).
 * No new work starts; its data can be read and exported until the day.
 * @param given.confirm the name, typed again; only for the own organization
 * @throws AppError `not_confirmed`, `administrators_inside`, `deletion_scheduled`, `session_required`
 */
export async function scheduleOrganization(
  ctx: Ctx,
  actor: Actor,
  id: string,
  given: { confirm?: string; reason: string },
): Promise<void> {
  const own = given.confirm !== undefined;
  if (own) {
    requirePerson(actor);
    requirePermission(actor, "owners.manage");
  } else requireAdmin(actor);
  const until = await ctx.write(async (tx) => {
    const name = await nameOf(tx, id);
    if (own && given.confirm?.trim() !== name)
      throw new AppError("invalid", "not_confirmed", "Type the name of the team to confirm.", { param: "confirm" });
    await requireNoAdministrators(tx, id);
    const until = await insert(tx, ctx, actor, "organization", id, given.reason);
    await audit(tx, ctx, { ...actor, org: id }, "organization.deletion_schedule", id, { until, reason: given.reason });
    return until;
  });
  announceHold(ctx, "organization", id, []);
  await announceToOwners(ctx, id, "organization.deletion_scheduled", actor, formatDate(until));
}

/** Cancels the deletion of an organization: its owner their own, an administrator of the installation any. */
export async function cancelOrganization(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  if (id === actor.org) requirePermission(actor, "owners.manage");
  else requireAdmin(actor);
  await ctx.write(async (tx) => {
    const row = await activeHold(tx, "deletion", "organization", id);
    if (row && !(await ownersOf(tx, id)).includes(row.createdBy)) requireAdmin(actor);
    await end(tx, ctx, actor, "organization", id);
    await audit(tx, ctx, { ...actor, org: id }, "organization.deletion_cancel", id);
  });
  announceHold(ctx, "organization", id, []);
  await announceToOwners(ctx, id, "organization.deletion_canceled", actor);
}

/** What the actor's own account or organization has, and what a deletion would do. */
export async function readDeletion(ctx: Ctx, actor: Actor, subject: Hold["subject"]): Promise<DeletionView> {
  const id = subject === "user" ? actor.userId : actor.org;
  const row = await activeHold(ctx.db, "deletion", subject, id);
  const check = subject === "user" ? requireLeavable(ctx.db, id) : requireNoAdministrators(ctx.db, id);
  const blocked = await check.then(
    () => null,
    (cause) => {
      if (!(cause instanceof AppError)) throw cause;
      return cause.message;
    },
  );
  const deciders = subject === "user" ? [id] : await ownersOf(ctx.db, id);
  return {
    object: "deletion",
    subject,
    scheduled_at: seconds(row?.createdAt ?? null),
    erase_at: seconds(row?.until ?? null),
    reason: row?.reason ?? null,
    grace_days: ctx.config.deletion_grace_days,
    cancelable: row !== null && (deciders.includes(row.createdBy) || can(actor, "installation")),
    blocked: row ? null : blocked,
    erased: [...ERASED[subject]],
    kept: [...KEPT],
  };
}

/** Deletions of the installation, newest first: scheduled, canceled and carried out. */
export async function listDeletions(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string; limit: number; subjectId?: string },
): Promise<DeletionRow[]> {
  requireAdmin(actor);
  const [at] = page.after ? await ctx.db.select().from(hold).where(eq(hold.id, page.after)).limit(1) : [];
  if (page.after && !at) throw notFound("deletion", page.after);
  return ctx.db
    .select()
    .from(hold)
    .where(
      and(
        eq(hold.kind, "deletion"),
        olderThan(hold, at),
        page.subjectId ? eq(hold.subjectId, page.subjectId) : undefined,
      ),
    )
    .orderBy(desc(hold.createdAt), desc(hold.id))
    .limit(page.limit);
}

/** Deletions whose day has come. */
export function dueDeletions(ctx: Ctx): Promise<DeletionRow[]> {
  return ctx.db
    .select()
    .from(hold)
    .where(and(eq(hold.kind, "deletion"), isNull(hold.endedAt), lte(hold.until, ctx.clock.now())))
    .orderBy(desc(hold.subject), hold.until);
}
