/** Page routes of incidents for administrators: open, update, delete, and the names of components. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { parseForm } from "../../../src/http/validation.ts";
import { changeComponent, listComponents } from "../../../src/insights/status/components.ts";
import { deleteIncident, listIncidents, openIncident, updateIncident } from "../../../src/insights/status/incidents.ts";
import { ChangeComponent, OpenIncident, UpdateIncident } from "../../../src/insights/status/model.ts";
import { listed } from "../../../src/lib/page.ts";
import { type IncidentForm, IncidentsPage } from "./incidents.tsx";

const PAGE = 20;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const many = v.optional(
  v.union([
    v.array(v.string()),
    v.pipe(
      v.string(),
      v.transform((one) => [one]),
    ),
  ]),
  [],
);
const Params = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const Query = v.object({ after: text(100) });
const OpenForm = v.object({
  title: text(1000),
  text: text(20_000),
  impact: text(20),
  status: text(20),
  components: many,
  notify: text(10),
});
const UpdateForm = v.object({ status: text(20), text: text(20_000), notify: text(10) });
const ComponentForm = v.object({ name: text(200), hidden: text(10) });

interface Visit {
  request: Request;
  actor: Actor;
}

async function show(
  ctx: Ctx,
  { request, actor }: Visit,
  after = "",
  refused?: { form: IncidentForm; error: AppError },
) {
  const props = {
    incidents: listed(await listIncidents(ctx, { after: after || undefined, limit: PAGE }), PAGE),
    components: await listComponents(ctx, actor),
    page: ctx.config.status_page,
    form: refused?.form,
    error: refused?.error.message,
  };
  const status = refused ? ERROR_TABLE[refused.error.kind].status : 200;
  return html(pageOf(ctx, request, actor), <IncidentsPage {...props} />, { status });
}

const lines = (typed: string) => typed.replaceAll("\r\n", "\n");

async function open(ctx: Ctx, visit: Visit, body: v.InferOutput<typeof OpenForm>) {
  const form = { ...body, text: lines(body.text), notify: body.notify === "yes" };
  try {
    await openIncident(ctx, visit.actor, parseForm(OpenIncident, form));
    return redirect(visit.request, "/admin/incidents", "The incident is posted.");
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return show(ctx, visit, "", { form, error });
  }
}

async function update(ctx: Ctx, { request, actor }: Visit, id: string, body: v.InferOutput<typeof UpdateForm>) {
  const given = { ...body, text: lines(body.text), notify: body.notify === "yes" };
  const { status } = await updateIncident(ctx, actor, id, parseForm(UpdateIncident, given));
  return redirect(request, "/admin/incidents", status === "resolved" ? "The incident is resolved." : "Posted.");
}

async function remove(ctx: Ctx, { request, actor }: Visit, id: string) {
  await deleteIncident(ctx, actor, id);
  return redirect(request, "/admin/incidents", "The incident is deleted.");
}

async function rename(ctx: Ctx, { request, actor }: Visit, id: string, body: v.InferOutput<typeof ComponentForm>) {
  const given = parseForm(ChangeComponent, { name: body.name.trim() || null, hidden: body.hidden === "yes" });
  const { name } = await changeComponent(ctx, actor, id, given);
  return redirect(request, "/admin/incidents", `Saved: ${name}.`);
}

export const incidentPages = (ctx: Ctx) =>
  new Elysia({ name: "incident.pages", prefix: "/admin/incidents", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("", (visit) => show(ctx, visit, visit.query.after), { query: Query })
    .post("", (visit) => open(ctx, visit, visit.body), { body: OpenForm })
    .post("/:id/updates", (visit) => update(ctx, visit, visit.params.id, visit.body), {
      params: Params,
      body: UpdateForm,
    })
    .post("/:id/delete", (visit) => remove(ctx, visit, visit.params.id), { params: Params })
    .post("/components/:id", (visit) => rename(ctx, visit, visit.params.id, visit.body), {
      params: Params,
      body: ComponentForm,
    });
