/** Pages of moderation: the queue and the cases of reviewers, decisions with their appeals, and reports. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { moderationSettings } from "../../../src/accounts/restrictions/requests.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { listed } from "../../../src/lib/page.ts";
import { appeal } from "../../../src/moderation/appeals.ts";
import { getCase, listCases, ownCase } from "../../../src/moderation/cases.ts";
import { decideCase } from "../../../src/moderation/decide.ts";
import {
  AppealCase,
  CreateReport,
  caseView,
  DecideCase,
  decisionView,
  type Finding,
} from "../../../src/moderation/model.ts";
import { nameOfReported, report } from "../../../src/moderation/reports.ts";
import { CasePage, type CaseProps } from "./case.tsx";
import { DecisionPage, type ReportForm, ReportPage } from "./decision.tsx";
import { QueuePage } from "./queue.tsx";

const PAGE = 25;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const QueueQuery = v.object({
  after: text(100),
  state: v.optional(v.picklist(["waiting", "appealed", "decided"]), "waiting"),
});
const DecideForm = v.object({ decision: text(50), reason: text(5000) });
const AppealForm = v.object({ text: text(5000) });
const ReportQuery = v.object({ type: v.picklist(["model", "deployment"]), id: v.pipe(v.string(), v.maxLength(400)) });
const ReportBody = v.object({ ...ReportQuery.entries, category: text(100), text: text(5000) });

interface Visit {
  request: Request;
  actor: Actor;
}
interface OnCase extends Visit {
  params: v.InferOutput<typeof Id>;
}

/** A form that is refused is shown again; everything else continues to the error page. */
function refusedBy(error: unknown): AppError {
  if (!(error instanceof AppError) || error.kind === "internal" || error.kind === "not_found") throw error;
  return error;
}

/** The fields of a form as a request. @throws AppError `invalid_value` */
function parsed<T extends v.GenericSchema>(schema: T, given: unknown): v.InferOutput<T> {
  const result = v.safeParse(schema, given);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const field = v.getDotPath(issue) ?? "The form";
  throw new AppError("unprocessable", "invalid_value", `${field}: ${issue.message}.`);
}

async function queue(ctx: Ctx, { request, actor }: Visit, { after, state }: v.InferOutput<typeof QueueQuery>) {
  const page = { limit: PAGE, after: after || undefined, state };
  const rows = listed((await listCases(ctx, actor, page)).map(caseView), PAGE);
  const { enabled } = await moderationSettings(ctx);
  return html(pageOf(ctx, request, actor), <QueuePage {...rows} enabled={enabled} state={state} />);
}

async function showCase(ctx: Ctx, { request, actor, params }: OnCase, more: Partial<CaseProps> = {}, status = 200) {
  const of = caseView(await getCase(ctx, actor, params.id));
  const { second_reviewer: second } = await moderationSettings(ctx);
  return html(pageOf(ctx, request, actor), <CasePage of={of} second={second} {...more} />, { status });
}

async function decide(ctx: Ctx, visit: OnCase, form: v.InferOutput<typeof DecideForm>) {
  try {
    const row = await decideCase(ctx, visit.actor, visit.params.id, parsed(DecideCase, form));
    const done =
      row.state === "decided" ? "Decided. The owner is notified." : "Proposed. Another reviewer has to confirm it.";
    return redirect(visit.request, row.state === "decided" ? "/review" : `/review/${row.id}`, done);
  } catch (error) {
    const { message, kind } = refusedBy(error);
    return showCase(ctx, visit, { form, error: message }, ERROR_TABLE[kind].status);
  }
}

async function decision(
  ctx: Ctx,
  { request, actor, params }: OnCase,
  more: { text?: string; error?: string } = {},
  status = 200,
) {
  const { row, entries } = await ownCase(ctx, actor, params.id);
  const props = { of: decisionView(row, entries), findings: row.findings as Finding[], ownerId: row.ownerId, ...more };
  return html(pageOf(ctx, request, actor), <DecisionPage {...props} />, { status });
}

async function sendAppeal(ctx: Ctx, visit: OnCase, form: v.InferOutput<typeof AppealForm>) {
  try {
    await appeal(ctx, visit.actor, visit.params.id, parsed(AppealCase, form));
    return redirect(visit.request, `/moderation/${visit.params.id}`, "The appeal is sent.");
  } catch (error) {
    const { message, kind } = refusedBy(error);
    return decision(ctx, visit, { text: form.text, error: message }, ERROR_TABLE[kind].status);
  }
}

async function reportPage(ctx: Ctx, { request, actor }: Visit, form: Omit<ReportForm, "name">, error?: AppError) {
  const name = await nameOfReported(ctx, actor, form);
  const status = error ? ERROR_TABLE[error.kind].status : 200;
  return html(pageOf(ctx, request, actor), <ReportPage form={{ ...form, name }} error={error?.message} />, { status });
}

async function sendReport(ctx: Ctx, visit: Visit, form: v.InferOutput<typeof ReportBody>) {
  try {
    await report(ctx, visit.actor, parsed(CreateReport, form));
    const back = `/${form.type === "model" ? "models" : "deployments"}/${encodeURIComponent(form.id)}`;
    return redirect(visit.request, back, "Thank you. A reviewer will read your report.");
  } catch (error) {
    return reportPage(ctx, visit, form, refusedBy(error));
  }
}

export const moderationPages = (ctx: Ctx) =>
  new Elysia({ name: "moderation.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/review", (visit) => queue(ctx, visit, visit.query), { query: QueueQuery })
    .get("/review/:id", (visit) => showCase(ctx, visit), { params: Id })
    .post("/review/:id", (visit) => decide(ctx, visit, visit.body), { params: Id, body: DecideForm })
    .get("/moderation/:id", (visit) => decision(ctx, visit), { params: Id })
    .post("/moderation/:id/appeal", (visit) => sendAppeal(ctx, visit, visit.body), { params: Id, body: AppealForm })
    .get("/report", (visit) => reportPage(ctx, visit, { ...visit.query, category: "other", text: "" }), {
      query: ReportQuery,
    })
    .post("/report", (visit) => sendReport(ctx, visit, visit.body), { body: ReportBody });
