/** The list of notices that each user sees in the page: read it, count what is new, mark as read. */
import { and, desc, eq, inArray, isNull } from "drizzle-orm";
import * as v from "valibot";
import type { Actor, Ctx } from "../../ctx.ts";
import { olderThan } from "../../db/paging.ts";
import { notice } from "../../db/schema/notices.ts";
import { notFound } from "../../errors.ts";
import { id, seconds } from "../../lib/request-fields.ts";

type NoticeRow = typeof notice.$inferSelect;

/** A notice. Times in seconds since 1970. */
export const NoticeView = v.strictObject({
  object: v.literal("notice"),
  id: v.string(),
  type: v.string(),
  title: v.string(),
  body: v.string(),
  /** Page of this site. */
  path: v.string(),
  created_at: v.number(),
  /** Null = not read yet. */
  read_at: v.nullable(v.number()),
});
export type NoticeView = v.InferOutput<typeof NoticeView>;

export function noticeView(row: NoticeRow): NoticeView {
  const { id, type, title, body, path } = row;
  const readAt = row.readAt === null ? null : seconds(row.readAt);
  return { object: "notice", id, type, title, body, path, created_at: seconds(row.createdAt), read_at: readAt };
}

/** Which notices to mark as read; all without `ids`. */
export const MarkRead = v.strictObject({ ids: v.optional(v.pipe(v.array(id), v.maxLength(100))) });
export const MarkedView = v.strictObject({ object: v.literal("notices.read"), read: v.number() });

const mine = (actor: Actor) => eq(notice.userId, actor.userId);

/** Notices of the actor, newest first; at most `limit + 1`. */
export async function listNotices(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string; limit: number; unread?: boolean },
): Promise<NoticeRow[]> {
  const [from] = page.after
    ? await ctx.db
        .select()
        .from(notice)
        .where(and(mine(actor), eq(notice.id, page.after)))
    : [];
  if (page.after && !from) throw notFound("notice", page.after);
  return ctx.db
    .select()
    .from(notice)
    .where(and(mine(actor), page.unread ? isNull(notice.readAt) : undefined, olderThan(notice, from)))
    .orderBy(desc(notice.createdAt), desc(notice.id))
    .limit(page.limit + 1);
}

/** The most that is counted. */
const MAX_COUNT = 100;

/** How many notices the actor has not read; 100 means 100 or more. */
export async function countUnread(ctx: Ctx, actor: Actor): Promise<number> {
  const rows = await ctx.db
    .select({ id: notice.id })
    .from(notice)
    .where(and(mine(actor), isNull(notice.readAt)))
    .limit(MAX_COUNT);
  return rows.length;
}

/** Marks notices of the actor as read. @returns how many were new */
export async function markRead(ctx: Ctx, actor: Actor, ids?: string[]): Promise<number> {
  const rows = await ctx.write((tx) =>
    tx
      .update(notice)
      .set({ readAt: ctx.clock.now() })
      .where(and(mine(actor), isNull(notice.readAt), ids ? inArray(notice.id, ids) : undefined))
      .returning({ id: notice.id }),
  );
  return rows.length;
}
