/** Page routes of the terms for administrators: versions, preview, publish, withdraw. */
import { Elysia } from "elysia";
import * as v from "valibot";
import {
  acceptanceView,
  DocumentField,
  type DocumentName,
  PublishVersion,
  versionView,
} from "../../../src/accounts/terms/model.ts";
import { listAcceptances } from "../../../src/accounts/terms/records.ts";
import { earliestDate, listVersions, publishVersion, withdrawVersion } from "../../../src/accounts/terms/versions.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE, notFound } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { parseForm } from "../../../src/http/validation.ts";
import { lineDiff } from "../../../src/lib/text/line-diff.ts";
import { TermsEditPage, type TermsForm, TermsPage } from "./terms.tsx";

const ACCEPTANCES = 50;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Params = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const Form = v.object({ text: text(250_000), summary: text(1000), date: text(20), minor: text(10) });
type Form = v.InferOutput<typeof Form>;

interface Visit {
  request: Request;
  actor: Actor;
}

/** @throws AppError `document_not_found` */
function documentOf(id: string): DocumentName {
  if (!v.is(DocumentField, id)) throw notFound("document", id);
  return id;
}

async function list(ctx: Ctx, { request, actor }: Visit) {
  const versions = (await listVersions(ctx, actor)).map(versionView);
  const acceptances = (await listAcceptances(ctx, actor, { limit: ACCEPTANCES })).map(acceptanceView);
  const byUse = ctx.config.terms_acceptance === "continued_use";
  return html(pageOf(ctx, request, actor), <TermsPage versions={versions} acceptances={acceptances} byUse={byUse} />);
}

async function edit(
  ctx: Ctx,
  { request, actor }: Visit,
  document: DocumentName,
  more: { form?: TermsForm; preview?: boolean; error?: AppError } = {},
) {
  const rows = await listVersions(ctx, actor, document);
  const before = rows.find((row) => row.withdrawnAt === null) ?? null;
  const form = more.form ?? { text: before?.text ?? "", summary: "", date: "", material: true };
  const props = {
    document,
    form,
    before: before && versionView(before),
    earliest: earliestDate(ctx.clock.now()),
    preview: more.preview ? { diff: before && lineDiff(before.text, form.text) } : undefined,
    error: more.error?.message,
  };
  const status = more.error ? ERROR_TABLE[more.error.kind].status : 200;
  return html(pageOf(ctx, request, actor), <TermsEditPage {...props} />, { status });
}

const typed = (body: Form): TermsForm => ({
  text: body.text.replaceAll("\r\n", "\n"),
  summary: body.summary,
  date: body.date,
  material: body.minor !== "yes",
});

/** The request of a form. @throws AppError `invalid_value` */
function requestOf(document: DocumentName, form: TermsForm): v.InferOutput<typeof PublishVersion> {
  const at = form.date ? Date.parse(form.date) : null;
  if (Number.isNaN(at))
    throw new AppError("unprocessable", "invalid_value", "The date must be one such as 2026-11-30.", { param: "date" });
  const { text, summary, material } = form;
  return parseForm(
    PublishVersion,
    {
      document,
      text,
      summary,
      material,
      effective_at: at === null ? null : at / 1000,
    },
    { effective_at: "The date" },
  );
}

async function publish(ctx: Ctx, visit: Visit, document: DocumentName, body: Form) {
  const form = typed(body);
  try {
    const row = await publishVersion(ctx, visit.actor, requestOf(document, form));
    return redirect(visit.request, "/admin/terms", `Version ${row.number} is published.`);
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return edit(ctx, visit, document, { form, error });
  }
}

async function withdraw(ctx: Ctx, { request, actor }: Visit, id: string) {
  const row = await withdrawVersion(ctx, actor, id);
  return redirect(request, "/admin/terms", `Version ${row.number} is withdrawn.`);
}

export const adminTermsPages = (ctx: Ctx) =>
  new Elysia({ name: "admin.terms.pages", prefix: "/admin/terms", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("", (visit) => list(ctx, visit))
    .get("/:id", (visit) => edit(ctx, visit, documentOf(visit.params.id)), { params: Params })
    .post("/:id", (visit) => publish(ctx, visit, documentOf(visit.params.id), visit.body), {
      params: Params,
      body: Form,
    })
    .post(
      "/:id/preview",
      (visit) => edit(ctx, visit, documentOf(visit.params.id), { form: typed(visit.body), preview: true }),
      { params: Params, body: Form },
    )
    .post("/:id/withdraw", (visit) => withdraw(ctx, visit, visit.params.id), { params: Params });
