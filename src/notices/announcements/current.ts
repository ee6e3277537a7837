/** The announcements of one reader: those that are current, for its organization and role, and whether it hid them. */
import { and, eq, gt, inArray, isNull, or } from "drizzle-orm";
import { type Actor, type Ctx, keptRead } from "../../ctx.ts";
import { announcement, bannerDismissal } from "../../db/schema/announcements.ts";
import { AppError, notFound } from "../../errors.ts";
import { type AnnouncementRow, isDismissible } from "./model.ts";

/** Announcements that have not ended, the oldest first; read once and after each change. */
export const notEnded = keptRead(
  async (ctx): Promise<readonly AnnouncementRow[]> =>
    ctx.db
      .select()
      .from(announcement)
      .where(or(isNull(announcement.endsAt), gt(announcement.endsAt, ctx.clock.now())))
      .orderBy(announcement.startsAt, announcement.id),
);

function isFor(row: AnnouncementRow, actor: Actor): boolean {
  if (row.orgs.length > 0 && !row.orgs.includes(actor.org)) return false;
  if (row.roles.length === 0) return true;
  // The role of the account, whatever the scope of the key that asks.
  return row.roles.includes(actor.teamRole) || (row.roles.includes("installation") && actor.role === "admin");
}

/** Which of some banners a user has hidden. */
async function dismissedOf(ctx: Ctx, userId: string, subjects: string[]): Promise<ReadonlySet<string>> {
  if (subjects.length === 0) return new Set();
  const rows = await ctx.db
    .select({ subject: bannerDismissal.subject })
    .from(bannerDismissal)
    .where(and(eq(bannerDismissal.userId, userId), inArray(bannerDismissal.subject, subjects)));
  return new Set(rows.map(({ subject }) => subject));
}

const URGENCY = { critical: 0, warning: 1, info: 2 } as const;

/** Current announcements for a reader, the most severe first. */
export async function currentFor(ctx: Ctx, actor: Actor): Promise<{ row: AnnouncementRow; dismissed: boolean }[]> {
  const now = ctx.clock.now();
  const rows = (await notEnded.get(ctx))
    .filter((row) => row.startsAt <= now && (row.endsAt === null || row.endsAt > now) && isFor(row, actor))
    .sort((a, b) => URGENCY[a.severity] - URGENCY[b.severity]);
  const hidden = await dismissedOf(
    ctx,
    actor.userId,
    rows.filter(isDismissible).map(({ id }) => id),
  );
  return rows.map((row) => ({ row, dismissed: hidden.has(row.id) }));
}

/**
 * Hides the banner of an announcement from the actor.
 * @throws AppError `announcement_not_found`, also when it is not for the actor; `announcement_stays` for a critical one
 */
export async function dismissAnnouncement(ctx: Ctx, actor: Actor, id: string): Promise<AnnouncementRow> {
  const found = (await currentFor(ctx, actor)).find(({ row }) => row.id === id);
  if (!found) throw notFound("announcement", id);
  if (!isDismissible(found.row))
    throw new AppError("conflict", "announcement_stays", "A critical announcement stays until it ends.");
  const values = { userId: actor.userId, subject: id, createdAt: ctx.clock.now() };
  await ctx.write((tx) => tx.insert(bannerDismissal).values(values).onConflictDoNothing());
  return found.row;
}
