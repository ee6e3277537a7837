/** JSON API of announcements: those of the caller, and for administrators writing, changing and ending them. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { answers, deletedOf } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, PageQuery, pageOf } from "../lib/page.ts";
import { id } from "../lib/request-fields.ts";
import { currentFor, dismissAnnouncement } from "../notices/announcements/current.ts";
import {
  AdminAnnouncementView,
  type AnnouncementRow,
  AnnouncementView,
  adminAnnouncementView,
  announcementView,
  ChangeAnnouncement,
  CreateAnnouncement,
} from "../notices/announcements/model.ts";
import {
  changeAnnouncement,
  createAnnouncement,
  deleteAnnouncement,
  endAnnouncement,
  listAnnouncements,
} from "../notices/announcements/service.ts";

const Id = v.strictObject({ id });
const tags = ["Announcements"];
const admin = ["Administration"];
const MAX_CURRENT = 1000;

async function currentRoute(ctx: Ctx, actor: Actor) {
  const current = await currentFor(ctx, actor);
  return pageOf(
    current.map(({ row, dismissed }) => announcementView(row, dismissed)),
    MAX_CURRENT,
  );
}

async function listRoute(ctx: Ctx, actor: Actor, query: PageQuery) {
  const rows = await listAnnouncements(ctx, actor, { ...query, limit: query.limit + 1 });
  const now = ctx.clock.now();
  return pageOf(
    rows.map(({ row, dismissals }) => adminAnnouncementView(row, now, dismissals)),
    query.limit,
  );
}

async function dismissRoute(ctx: Ctx, actor: Actor, one: string) {
  return announcementView(await dismissAnnouncement(ctx, actor, one), true);
}

const adminView = async (ctx: Ctx, row: Promise<AnnouncementRow>) =>
  adminAnnouncementView(await row, ctx.clock.now(), 0);

async function deleteRoute(ctx: Ctx, actor: Actor, one: string) {
  await deleteAnnouncement(ctx, actor, one);
  return { object: "announcement" as const, id: one, deleted: true as const };
}

export const announcementsApi = (ctx: Ctx) =>
  new Elysia({ name: "announcements.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/announcements", ({ actor }) => currentRoute(ctx, actor), {
      detail: {
        tags,
        summary: "List the current announcements for you, the most severe first",
        responses: answers(listOf(AnnouncementView)),
      },
    })
    .post("/announcements/:id/dismiss", ({ actor, params }) => dismissRoute(ctx, actor, params.id), {
      params: Id,
      detail: {
        tags,
        summary: "Hide the banner of an announcement from you; critical ones stay",
        responses: answers(AnnouncementView),
      },
    })
    .get("/admin/announcements", ({ actor, query }) => listRoute(ctx, actor, query), {
      query: PageQuery,
      detail: {
        tags: admin,
        summary: "List every announcement, newest first",
        responses: answers(listOf(AdminAnnouncementView)),
      },
    })
    .post("/admin/announcements", ({ actor, body }) => adminView(ctx, createAnnouncement(ctx, actor, body)), {
      body: CreateAnnouncement,
      detail: {
        tags: admin,
        summary: "Announce something to everybody, to organizations or to roles",
        description:
          "The text is Markdown. Without organizations and roles everybody gets it. With `mail` it is also sent as a notice and by mail when it starts, once to each account.",
        responses: answers(AdminAnnouncementView),
      },
    })
    .post(
      "/admin/announcements/:id",
      ({ actor, params, body }) => adminView(ctx, changeAnnouncement(ctx, actor, params.id, body)),
      {
        params: Id,
        body: ChangeAnnouncement,
        detail: {
          tags: admin,
          summary: "Change an announcement; fields that are not given stay",
          description: "Who hid it sees it again when its title, text or severity changed. Mails are not sent again.",
          responses: answers(AdminAnnouncementView),
        },
      },
    )
    .post(
      "/admin/announcements/:id/end",
      ({ actor, params }) => adminView(ctx, endAnnouncement(ctx, actor, params.id)),
      {
        params: Id,
        detail: { tags: admin, summary: "End an announcement now", responses: answers(AdminAnnouncementView) },
      },
    )
    .delete("/admin/announcements/:id", ({ actor, params }) => deleteRoute(ctx, actor, params.id), {
      params: Id,
      detail: { tags: admin, summary: "Delete an announcement", responses: answers(deletedOf("announcement")) },
    });
