/** Page routes of announcements and maintenance for their readers: the list, and hiding a banner. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { cameFrom, html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { currentFor, dismissAnnouncement } from "../../../src/notices/announcements/current.ts";
import { announcementView } from "../../../src/notices/announcements/model.ts";
import { hideMaintenance } from "../../../src/notices/maintenance/current.ts";
import { AnnouncementsPage } from "./list.tsx";

const Params = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });

interface Visit {
  request: Request;
  actor: Actor;
}

async function show(ctx: Ctx, { request, actor }: Visit) {
  const current = await currentFor(ctx, actor);
  const announcements = current.map(({ row, dismissed }) => announcementView(row, dismissed));
  return html(pageOf(ctx, request, actor), <AnnouncementsPage announcements={announcements} />);
}

async function dismiss(ctx: Ctx, { request, actor }: Visit, id: string) {
  await dismissAnnouncement(ctx, actor, id);
  return redirect(request, cameFrom(request) ?? "/announcements");
}

async function hide(ctx: Ctx, { request, actor }: Visit, id: string) {
  await hideMaintenance(ctx, actor, id);
  return redirect(request, cameFrom(request) ?? "/queue");
}

export const announcementPages = (ctx: Ctx) =>
  new Elysia({ name: "announcements.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/announcements", (visit) => show(ctx, visit))
    .post("/announcements/:id/dismiss", (visit) => dismiss(ctx, visit, visit.params.id), { params: Params })
    .post("/maintenance/:id/hide", (visit) => hide(ctx, visit, visit.params.id), { params: Params });
