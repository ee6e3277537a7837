/** Page routes of the choice of notifications. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { TOPICS, type Topic } from "../../../src/notices/events/types.ts";
import { mailServer } from "../../../src/notices/mail/settings.ts";
import { type ChangePreferences, changePreferences, getPreferences } from "../../../src/notices/preferences/service.ts";
import { can } from "../../../src/roles.ts";
import { NotificationsPage } from "./notifications.tsx";

/** `TOPIC_CHANNEL` for each checked box; an empty one is not sent. */
const Form = v.record(v.pipe(v.string(), v.maxLength(50)), v.pipe(v.string(), v.maxLength(10)));
type Form = v.InferOutput<typeof Form>;

/** The topics that concern the viewer. */
const topicsOf = (actor: Actor) => TOPICS.filter((topic) => topic !== "reviews" || can(actor, "review"));

interface Visit {
  request: Request;
  actor: Actor;
}

async function show(ctx: Ctx, { request, actor }: Visit) {
  const preferences = await getPreferences(ctx, actor);
  const canMail = (await mailServer(ctx)) !== null;
  const email = actor.email ?? actor.userId;
  const page = <NotificationsPage preferences={preferences} email={email} canMail={canMail} topics={topicsOf(actor)} />;
  return html(pageOf(ctx, request, actor), page);
}

async function save(ctx: Ctx, { request, actor }: Visit, body: Form) {
  const on = (topic: Topic, channel: string) => Boolean(body[`${topic}_${channel}`]);
  const change: ChangePreferences = {};
  for (const topic of topicsOf(actor))
    if (topic !== "security") change[topic] = { page: on(topic, "page"), mail: on(topic, "mail") };
  await changePreferences(ctx, actor, change);
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
