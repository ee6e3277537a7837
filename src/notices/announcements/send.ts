/** Sends announcements as notices and mails when they start: once, and to the accounts of their audience only. */
import { and, eq, gt, isNull, lte, or } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { announcement } from "../../db/schema/announcements.ts";
import { recordForAll } from "../events/store.ts";

/** Those to send now or later. */
const unsent = (now: number) =>
  and(
    eq(announcement.mail, true),
    isNull(announcement.mailedAt),
    or(isNull(announcement.endsAt), gt(announcement.endsAt, now)),
  );

/** Those to send at a time. */
const due = (now: number) => and(unsent(now), lte(announcement.startsAt, now));

/** Stores the notices of announcements that have started: the same transaction marks the announcement. */
export async function sendAnnouncements(ctx: Ctx): Promise<void> {
  const rows = await ctx.db.select({ id: announcement.id }).from(announcement).where(due(ctx.clock.now()));
  for (const { id } of rows)
    await ctx.write(async (tx) => {
      const now = ctx.clock.now();
      const [row] = await tx
        .update(announcement)
        .set({ mailedAt: now })
        .where(and(eq(announcement.id, id), due(now)))
        .returning();
      if (!row) return;
      await recordForAll(
        tx,
        ctx,
        { kind: "some", orgs: row.orgs, roles: row.roles },
        {
          type: row.severity === "critical" ? "announcement.critical" : "announcement.published",
          subject: id,
          title: row.title,
          body: row.text,
          path: "/announcements",
        },
      );
    });
}

/** When the next announcement is to be sent, which may have passed since the last look; null = none waits. */
export async function nextAnnouncement(ctx: Ctx): Promise<number | null> {
  const [row] = await ctx.db
    .select({ at: announcement.startsAt })
    .from(announcement)
    .where(unsent(ctx.clock.now()))
    .orderBy(announcement.startsAt)
    .limit(1);
  return row?.at ?? null;
}
