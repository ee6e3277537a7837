/** Page routes of maintenance windows for administrators: the list, the form, cancel, end. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { parseForm } from "../../../src/http/validation.ts";
import { listed } from "../../../src/lib/page.ts";
import { mailServer } from "../../../src/notices/mail/settings.ts";
import { type MaintenanceRow, maintenanceView, ScheduleMaintenance } from "../../../src/notices/maintenance/model.ts";
import {
  cancelMaintenance,
  changeMaintenance,
  endMaintenance,
  getMaintenance,
  listMaintenance,
  scheduleMaintenance,
} from "../../../src/notices/maintenance/service.ts";
import { localTime, momentOf } from "./announcement-routes.tsx";
import { type MaintenanceForm, MaintenanceFormPage, MaintenanceListPage } from "./maintenance.tsx";

const PAGE = 30;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Params = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const Query = v.object({ after: text(100) });
const Form = v.object({
  starts_at: text(30),
  ends_at: text(30),
  reason: text(300),
  message: text(5000),
  endpoints: text(20),
  trainings: text(20),
  lead_minutes: text(10),
  mail: text(10),
});

interface Visit {
  request: Request;
  actor: Actor;
}

const NEW: MaintenanceForm = {
  starts_at: "",
  ends_at: "",
  reason: "",
  message: "",
  endpoints: "stay",
  trainings: "wait",
  lead_minutes: "60",
  mail: "yes",
};

const formOf = (row: MaintenanceRow): MaintenanceForm => ({
  starts_at: localTime(row.startsAt),
  ends_at: localTime(row.endsAt),
  reason: row.reason,
  message: row.message,
  endpoints: row.endpoints,
  trainings: row.trainings,
  lead_minutes: String(Math.round(row.leadMs / 60_000)),
  mail: row.mail ? "yes" : "",
});

const WORDS = {
  starts_at: "The start",
  ends_at: { sentence: "Give the end: jobs resume then." },
  lead_seconds: "The lead time",
};

/** The request of a form. @throws AppError `invalid_value` */
function requestOf({ lead_minutes, ...form }: MaintenanceForm): ScheduleMaintenance {
  const given = {
    ...form,
    message: form.message.replaceAll("\r\n", "\n"),
    starts_at: momentOf(form.starts_at, "starts_at"),
    ends_at: momentOf(form.ends_at, "ends_at"),
    lead_seconds: Number(lead_minutes) * 60,
    mail: form.mail === "yes",
  };
  return parseForm(ScheduleMaintenance, given, WORDS);
}

async function list(ctx: Ctx, { request, actor }: Visit, after: string) {
  const rows = await listMaintenance(ctx, actor, { limit: PAGE + 1, after: after || undefined });
  const now = ctx.clock.now();
  const windows = listed(
    rows.map((row) => maintenanceView(row, now)),
    PAGE,
  );
  return html(pageOf(ctx, request, actor), <MaintenanceListPage windows={windows} />);
}

async function edit(
  ctx: Ctx,
  { request, actor }: Visit,
  id: string | null,
  more: { form?: MaintenanceForm; error?: AppError } = {},
) {
  const row = id === null ? null : await getMaintenance(ctx, actor, id);
  const { error } = more;
  const props = {
    window: row && maintenanceView(row, ctx.clock.now()),
    form: more.form ?? (row ? formOf(row) : NEW),
    canMail: (await mailServer(ctx)) !== null,
    error: error?.message,
  };
  const status = error ? ERROR_TABLE[error.kind].status : 200;
  return html(pageOf(ctx, request, actor), <MaintenanceFormPage {...props} />, { status });
}

/** Saves a new window, or a change of one. */
async function save(ctx: Ctx, visit: Visit, id: string | null, form: MaintenanceForm) {
  try {
    const given = requestOf(form);
    if (id === null) await scheduleMaintenance(ctx, visit.actor, given);
    else await changeMaintenance(ctx, visit.actor, id, given);
    return redirect(visit.request, "/admin/maintenance", id === null ? "The maintenance is scheduled." : "Saved.");
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return edit(ctx, visit, id, { form, error });
  }
}

async function cancel(ctx: Ctx, { request, actor }: Visit, id: string) {
  await cancelMaintenance(ctx, actor, id);
  return redirect(request, "/admin/maintenance", "The maintenance is canceled.");
}

async function end(ctx: Ctx, { request, actor }: Visit, id: string) {
  await endMaintenance(ctx, actor, id);
  return redirect(request, "/admin/maintenance", "The maintenance has ended. Jobs resume.");
}

export const maintenanceAdminPages = (ctx: Ctx) =>
  new Elysia({
    name: "admin.maintenance.pages",
    prefix: "/admin/maintenance",
    seed: ctx.installation,
    detail: { hide: true },
  })
    .use(session(ctx))
    .get("", (visit) => list(ctx, visit, visit.query.after), { query: Query })
    .get("/new", (visit) => edit(ctx, visit, null))
    .post("/new", (visit) => save(ctx, visit, null, visit.body), { body: Form })
    .get("/:id", (visit) => edit(ctx, visit, visit.params.id), { params: Params })
    .post("/:id", (visit) => save(ctx, visit, visit.params.id, visit.body), { params: Params, body: Form })
    .post("/:id/cancel", (visit) => cancel(ctx, visit, visit.params.id), { params: Params })
    .post("/:id/end", (visit) => end(ctx, visit, visit.params.id), { params: Params });
