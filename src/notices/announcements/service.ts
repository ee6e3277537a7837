/** Announcements as administrators manage them: write, change, end, delete. */
import { count, desc, eq, inArray } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { olderThan } from "../../db/paging.ts";
import { announcement, bannerDismissal } from "../../db/schema/announcements.ts";
import { organization } from "../../db/schema/auth.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { notEnded } from "./current.ts";
import type { AnnouncementRow, ChangeAnnouncement, CreateAnnouncement } from "./model.ts";

/** Drops what was read, and lets what is due be sent. */
function changed(ctx: Ctx): void {
  notEnded.forget(ctx);
  ctx.bus.emit("announcement.changed", {});
}

/** @throws AppError `announcement_ends_first`, `organization_not_found` */
async function check(tx: Db, ctx: Ctx, row: Pick<AnnouncementRow, "startsAt" | "endsAt" | "orgs">): Promise<void> {
  if (row.endsAt !== null && (row.endsAt <= row.startsAt || row.endsAt <= ctx.clock.now()))
    throw new AppError("invalid", "announcement_ends_first", "It must end after it starts, and in the future.", {
      param: "ends_at",
    });
  if (row.orgs.length === 0) return;
  const known = await tx.select({ id: organization.id }).from(organization).where(inArray(organization.id, row.orgs));
  const missing = row.orgs.find((org) => !known.some(({ id }) => id === org));
  if (missing !== undefined) throw notFound("organization", missing).withParam("organizations", "invalid");
}

/** The values of a request: its times are seconds, and a null start is now. */
function valuesOf(ctx: Ctx, given: ChangeAnnouncement): Partial<AnnouncementRow> {
  const { organizations, starts_at, ends_at, ...rest } = given;
  return {
    ...rest,
    ...(organizations === undefined ? {} : { orgs: [...new Set(organizations)] }),
    ...(starts_at === undefined ? {} : { startsAt: starts_at === null ? ctx.clock.now() : starts_at * 1000 }),
    ...(ends_at === undefined ? {} : { endsAt: ends_at === null ? null : ends_at * 1000 }),
  };
}

const facts = ({ title, severity, orgs, roles, startsAt, endsAt, mail }: AnnouncementRow) => ({
  title,
  severity,
  organizations: orgs,
  roles,
  starts_at: new Date(startsAt).toISOString(),
  ends_at: endsAt === null ? null : new Date(endsAt).toISOString(),
  mail,
});

/** @throws AppError `announcement_ends_first`, `organization_not_found` */
export async function createAnnouncement(ctx: Ctx, actor: Actor, given: CreateAnnouncement): Promise<AnnouncementRow> {
  requireAdmin(actor);
  const { title, text, severity, organizations, roles, mail, starts_at, ends_at } = given;
  const now = ctx.clock.now();
  const row: AnnouncementRow = {
    id: newId("announcement"),
    title,
    text,
    severity,
    orgs: [...new Set(organizations)],
    roles: [...new Set(roles)],
    startsAt: starts_at === null ? now : starts_at * 1000,
    endsAt: ends_at === null ? null : ends_at * 1000,
    mail,
    mailedAt: null,
    createdAt: now,
    createdBy: actor.userId,
  };
  await ctx.write(async (tx) => {
    await check(tx, ctx, row);
    await tx.insert(announcement).values(row);
    await audit(tx, ctx, actor, "announcement.create", row.id, facts(row));
  });
  changed(ctx);
  return row;
}

async function rowIn(tx: Db, id: string): Promise<AnnouncementRow> {
  const [row] = await tx.select().from(announcement).where(eq(announcement.id, id)).limit(1);
  if (!row) throw notFound("announcement", id);
  return row;
}

/** Every announcement, newest first. */
export async function listAnnouncements(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string; limit: number },
): Promise<{ row: AnnouncementRow; dismissals: number }[]> {
  requireAdmin(actor);
  const from = page.after ? await rowIn(ctx.db, page.after) : undefined;
  const rows = await ctx.db
    .select()
    .from(announcement)
    .where(olderThan(announcement, from))
    .orderBy(desc(announcement.createdAt), desc(announcement.id))
    .limit(page.limit);
  const ids = rows.map(({ id }) => id);
  const counts = await ctx.db
    .select({ subject: bannerDismissal.subject, number: count() })
    .from(bannerDismissal)
    .where(inArray(bannerDismissal.subject, ids))
    .groupBy(bannerDismissal.subject);
  return rows.map((row) => ({ row, dismissals: counts.find(({ subject }) => subject === row.id)?.number ?? 0 }));
}

/** @throws AppError `announcement_not_found` */
export async function getAnnouncement(ctx: Ctx, actor: Actor, id: string): Promise<AnnouncementRow> {
  requireAdmin(actor);
  return rowIn(ctx.db, id);
}

/**
 * Changes an announcement. Readers who hid it see it again when it says something else. Mails are not sent again.
 * @throws AppError `announcement_not_found`, `announcement_ends_first`, `organization_not_found`
 */
export async function changeAnnouncement(
  ctx: Ctx,
  actor: Actor,
  id: string,
  given: ChangeAnnouncement,
): Promise<AnnouncementRow> {
  requireAdmin(actor);
  const row = await ctx.write(async (tx) => {
    const before = await rowIn(tx, id);
    const row = { ...before, ...valuesOf(ctx, given) };
    if (before.mailedAt !== null) row.mail = before.mail;
    await check(tx, ctx, row);
    await tx.update(announcement).set(row).where(eq(announcement.id, id));
    if (before.title !== row.title || before.text !== row.text || before.severity !== row.severity)
      await tx.delete(bannerDismissal).where(eq(bannerDismissal.subject, id));
    await audit(tx, ctx, actor, "announcement.change", id, facts(row));
    return row;
  });
  changed(ctx);
  return row;
}

/**
 * Ends an announcement now. One that has not started is never shown.
 * @throws AppError `announcement_not_found`, `announcement_ended`
 */
export async function endAnnouncement(ctx: Ctx, actor: Actor, id: string): Promise<AnnouncementRow> {
  requireAdmin(actor);
  const row = await ctx.write(async (tx) => {
    const before = await rowIn(tx, id);
    const now = ctx.clock.now();
    if (before.endsAt !== null && before.endsAt <= now)
      throw new AppError("conflict", "announcement_ended", "This announcement has ended.");
    const values = { endsAt: now, startsAt: Math.min(before.startsAt, now) };
    await tx.update(announcement).set(values).where(eq(announcement.id, id));
    await audit(tx, ctx, actor, "announcement.end", id, { title: before.title });
    return { ...before, ...values };
  });
  changed(ctx);
  return row;
}

/** @throws AppError `announcement_not_found` */
export async function deleteAnnouncement(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  requireAdmin(actor);
  await ctx.write(async (tx) => {
    const row = await rowIn(tx, id);
    await tx.delete(bannerDismissal).where(eq(bannerDismissal.subject, id));
    await tx.delete(announcement).where(eq(announcement.id, id));
    await audit(tx, ctx, actor, "announcement.delete", id, facts(row));
  });
  changed(ctx);
}
