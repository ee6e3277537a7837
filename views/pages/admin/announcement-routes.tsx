/** Page routes of announcements for administrators: the list, the form with its preview, end, delete. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { listOrganizations } from "../../../src/accounts/organizations/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { parseForm } from "../../../src/http/validation.ts";
import { listed } from "../../../src/lib/page.ts";
import {
  type AnnouncementRow,
  adminAnnouncementView,
  CreateAnnouncement,
} from "../../../src/notices/announcements/model.ts";
import {
  changeAnnouncement,
  createAnnouncement,
  deleteAnnouncement,
  endAnnouncement,
  getAnnouncement,
  listAnnouncements,
} from "../../../src/notices/announcements/service.ts";
import { mailServer } from "../../../src/notices/mail/settings.ts";
import { type AnnouncementForm, AnnouncementFormPage, AnnouncementListPage } from "./announcements.tsx";

const PAGE = 30;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
/** One checked box sends a string, several send a list. */
const some = v.optional(
  v.pipe(
    v.union([
      v.pipe(v.string(), v.maxLength(100)),
      v.pipe(v.array(v.pipe(v.string(), v.maxLength(100))), v.maxLength(1000)),
    ]),
    v.transform((given) => [given].flat()),
  ),
  [],
);
const Params = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const Query = v.object({ after: text(100) });
const Form = v.object({
  title: text(300),
  text: text(5000),
  severity: text(20),
  organizations: some,
  roles: some,
  starts_at: text(30),
  ends_at: text(30),
  mail: text(10),
});

interface Visit {
  request: Request;
  actor: Actor;
}

const NEW: AnnouncementForm = {
  title: "",
  text: "",
  severity: "info",
  organizations: [],
  roles: [],
  starts_at: "",
  ends_at: "",
  mail: "",
};
/** A time in milliseconds as the value of a datetime-local field, in UTC. */
export const localTime = (at: number | null) => (at === null ? "" : new Date(at).toISOString().slice(0, 16));

const formOf = (row: AnnouncementRow): AnnouncementForm => ({
  title: row.title,
  text: row.text,
  severity: row.severity,
  organizations: row.orgs,
  roles: row.roles,
  starts_at: localTime(row.startsAt),
  ends_at: localTime(row.endsAt),
  mail: row.mail ? "yes" : "",
});

const typed = (body: v.InferOutput<typeof Form>): AnnouncementForm => ({
  ...body,
  text: body.text.replaceAll("\r\n", "\n"),
});

/** A typed time in seconds since 1970; null when the field is empty. @throws AppError `invalid_value` */
export function momentOf(value: string, param: string): number | null {
  if (value === "") return null;
  const at = Date.parse(`${value}Z`);
  if (Number.isNaN(at))
    throw new AppError("unprocessable", "invalid_value", "Give a date and a time, such as 2026-11-30 20:00.", {
      param,
    });
  return Math.floor(at / 1000);
}

const WORDS = { starts_at: "The start", ends_at: "The end", orgs: "Each team", roles: "Each role" };

/** The request of a form. @throws AppError `invalid_value` */
function requestOf(form: AnnouncementForm): CreateAnnouncement {
  const given = {
    ...form,
    starts_at: momentOf(form.starts_at, "starts_at"),
    ends_at: momentOf(form.ends_at, "ends_at"),
    mail: form.mail === "yes",
  };
  return parseForm(CreateAnnouncement, given, WORDS);
}

async function list(ctx: Ctx, { request, actor }: Visit, after: string) {
  const rows = await listAnnouncements(ctx, actor, { limit: PAGE + 1, after: after || undefined });
  const now = ctx.clock.now();
  const views = rows.map(({ row, dismissals }) => adminAnnouncementView(row, now, dismissals));
  return html(pageOf(ctx, request, actor), <AnnouncementListPage announcements={listed(views, PAGE)} />);
}

async function edit(
  ctx: Ctx,
  { request, actor }: Visit,
  id: string | null,
  more: { form?: AnnouncementForm; preview?: boolean; error?: AppError } = {},
) {
  const row = id === null ? null : await getAnnouncement(ctx, actor, id);
  const { error, preview = false } = more;
  const props = {
    id,
    form: more.form ?? (row ? formOf(row) : NEW),
    mailed: row !== null && row.mailedAt !== null,
    organizations: (await listOrganizations(ctx, actor, { limit: 1000 })).map(({ id, name }) => ({ id, name })),
    canMail: (await mailServer(ctx)) !== null,
    preview,
    error: error?.message,
  };
  const status = error ? ERROR_TABLE[error.kind].status : 200;
  return html(pageOf(ctx, request, actor), <AnnouncementFormPage {...props} />, { status });
}

/** Saves a new announcement, or a change of one. */
async function save(ctx: Ctx, visit: Visit, id: string | null, form: AnnouncementForm) {
  try {
    const given = requestOf(form);
    if (id === null) await createAnnouncement(ctx, visit.actor, given);
    else await changeAnnouncement(ctx, visit.actor, id, given);
    return redirect(visit.request, "/admin/announcements", id === null ? "It is announced." : "Saved.");
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return edit(ctx, visit, id, { form, error });
  }
}

async function end(ctx: Ctx, { request, actor }: Visit, id: string) {
  await endAnnouncement(ctx, actor, id);
  return redirect(request, "/admin/announcements", "The announcement has ended.");
}

async function remove(ctx: Ctx, { request, actor }: Visit, id: string) {
  await deleteAnnouncement(ctx, actor, id);
  return redirect(request, "/admin/announcements", "The announcement is deleted.");
}

export const announcementAdminPages = (ctx: Ctx) =>
  new Elysia({
    name: "admin.announcements.pages",
    prefix: "/admin/announcements",
    seed: ctx.installation,
    detail: { hide: true },
  })
    .use(session(ctx))
    .get("", (visit) => list(ctx, visit, visit.query.after), { query: Query })
    .get("/new", (visit) => edit(ctx, visit, null))
    .post("/new", (visit) => save(ctx, visit, null, typed(visit.body)), { body: Form })
    .post("/new/preview", (visit) => edit(ctx, visit, null, { form: typed(visit.body), preview: true }), { body: Form })
    .get("/:id", (visit) => edit(ctx, visit, visit.params.id), { params: Params })
    .post("/:id", (visit) => save(ctx, visit, visit.params.id, typed(visit.body)), { params: Params, body: Form })
    .post("/:id/preview", (visit) => edit(ctx, visit, visit.params.id, { form: typed(visit.body), preview: true }), {
      params: Params,
      body: Form,
    })
    .post("/:id/end", (visit) => end(ctx, visit, visit.params.id), { params: Params })
    .post("/:id/delete", (visit) => remove(ctx, visit, visit.params.id), { params: Params });
