/** Page routes of the choice of notifications. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { mailServer } from "../../../src/notices/mail/settings.ts";
import { changePreferences, getPreferences } from "../../../src/notices/preferences/service.ts";
import { NotificationsPage } from "./notifications.tsx";

/** A checked box; an empty one is not sent. */
const box = v.optional(v.pipe(v.string(), v.maxLength(10)), "");
const Form = v.object({
  jobs_page: box,
  jobs_mail: box,
  deployments_page: box,
  deployments_mail: box,
  datasets_page: box,
  datasets_mail: box,
  announcements_page: box,
  announcements_mail: box,
});
type Form = v.InferOutput<typeof Form>;

interface Visit {
  request: Request;
  actor: Actor;
}

async function show(ctx: Ctx, { request, actor }: Visit) {
  const preferences = await getPreferences(ctx, actor);
  const canMail = (await mailServer(ctx)) !== null;
  const page = <NotificationsPage preferences={preferences} email={actor.email ?? actor.userId} canMail={canMail} />;
  return html(pageOf(ctx, request, actor), page);
}

async function save(ctx: Ctx, { request, actor }: Visit, body: Form) {
  const on = (name: keyof Form) => body[name] !== "";
  await changePreferences(ctx, actor, {
    jobs: { page: on("jobs_page"), mail: on("jobs_mail") },
    deployments: { page: on("deployments_page"), mail: on("deployments_mail") },
    datasets: { page: on("datasets_page"), mail: on("datasets_mail") },
    announcements: { page: on("announcements_page"), mail: on("announcements_mail") },
  });
  return redirect(request, "/settings/notifications", "Saved.");
}

export const notificationPages = (ctx: Ctx) =>
  new Elysia({
    name: "notifications.pages",
    prefix: "/settings/notifications",
    seed: ctx.installation,
    detail: { hide: true },
  })
    .use(session(ctx))
    .get("", (visit) => show(ctx, visit))
    .post("", (visit) => save(ctx, visit, visit.body), { body: Form });
