/** Page routes of notices: the list, and marking all as read. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { listed } from "../../../src/lib/page.ts";
import { plural } from "../../../src/lib/text/format.ts";
import { listNotices, markRead, noticeView } from "../../../src/notices/inbox/service.ts";
import { NoticeList, NoticesPage } from "./list.tsx";

const PAGE = 30;
const Query = v.object({ after: v.optional(v.pipe(v.string(), v.maxLength(100)), "") });

interface Visit {
  request: Request;
  actor: Actor;
}

async function show(ctx: Ctx, { request, actor }: Visit, after: string) {
  const rows = await listNotices(ctx, actor, { limit: PAGE, after: after || undefined });
  const props = { notices: listed(rows.map(noticeView), PAGE) };
  return html(pageOf(ctx, request, actor), <NoticesPage {...props} />, {
    fragments: { notices: () => <NoticeList {...props} /> },
  });
}

async function readAll(ctx: Ctx, { request, actor }: Visit) {
  const read = await markRead(ctx, actor);
  return redirect(request, "/notices", `${plural(read, "notice")} marked as read.`);
}

export const noticesPages = (ctx: Ctx) =>
  new Elysia({ name: "notices.pages", prefix: "/notices", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("", (visit) => show(ctx, visit, visit.query.after), { query: Query })
    .post("/read", (visit) => readAll(ctx, visit));
