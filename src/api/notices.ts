/** /v1/notices: what a user should know, what is new, and what reaches them where. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, PageQuery, pageOf } from "../lib/page.ts";
import {
  countUnread,
  listNotices,
  MarkedView,
  MarkRead,
  markRead,
  NoticeView,
  noticeView,
} from "../notices/inbox/service.ts";
import { ChangePreferences, changePreferences, getPreferences, Preferences } from "../notices/preferences/service.ts";

const tags = ["Notices"];
const Query = v.strictObject({
  ...PageQuery.entries,
  unread: v.optional(
    v.pipe(
      v.picklist(["true", "false"]),
      v.transform((text) => text === "true"),
    ),
    "false",
  ),
});
const UnreadView = v.strictObject({ object: v.literal("notices.unread"), unread: v.number() });

async function readRoute(ctx: Ctx, actor: Actor, ids: string[] | undefined) {
  return { object: "notices.read" as const, read: await markRead(ctx, actor, ids) };
}

async function unreadRoute(ctx: Ctx, actor: Actor) {
  return { object: "notices.unread" as const, unread: await countUnread(ctx, actor) };
}

export const noticesApi = (ctx: Ctx) =>
  new Elysia({ name: "notices.api", prefix: "/v1/notices", seed: ctx.installation })
    .use(session(ctx))
    .get("", async ({ actor, query }) => pageOf((await listNotices(ctx, actor, query)).map(noticeView), query.limit), {
      query: Query,
      detail: { tags, summary: "List your notices, newest first", responses: answers(listOf(NoticeView)) },
    })
    .get("/unread", ({ actor }) => unreadRoute(ctx, actor), {
      detail: {
        tags,
        summary: "Count your unread notices; 100 means 100 or more",
        responses: answers(UnreadView),
      },
    })
    .post("/read", ({ actor, body }) => readRoute(ctx, actor, body.ids), {
      body: MarkRead,
      detail: { tags, summary: "Mark notices as read; all of yours without ids", responses: answers(MarkedView) },
    })
    .get("/preferences", ({ actor }) => getPreferences(ctx, actor), {
      detail: { tags, summary: "Retrieve what reaches you where", responses: answers(Preferences) },
    })
    .post("/preferences", ({ actor, body }) => changePreferences(ctx, actor, body), {
      body: ChangePreferences,
      detail: {
        tags,
        summary: "Choose what reaches you where; notices about security stay on",
        responses: answers(Preferences),
      },
    });
