/** Page routes of searches for a person: the list with its form, a report, its download, erasure and deletion. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { CreateSubjectRequest, HitsQuery, hitList } from "../../../src/custody/subjects/model.ts";
import {
  createSubject,
  deleteSubject,
  eraseSubject,
  exportSubject,
  getSubject,
  listHits,
  listSubjects,
} from "../../../src/custody/subjects/service.ts";
import { parseWith } from "../../../src/data/files/forms.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { generated } from "../../../src/http/stored-file.ts";
import { listed } from "../../../src/lib/page.ts";
import { SubjectList, SubjectListPage } from "./subject-list.tsx";
import { Hits, SubjectPage, SubjectReport } from "./subject-report.tsx";

const LIMIT = 25;
const HITS = "50";
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const Query = v.object({ after: text(100) });
const Form = v.object({ terms: text(5000), match: text(10), reference: text(300) });
const EraseForm = v.object({ old_versions: text(3), stored: text(3) });
const ExportQuery = v.object({ format: v.optional(v.picklist(["json", "csv"]), "json") });

interface Visit {
  request: Request;
  actor: Actor;
}
interface OnOne extends Visit {
  params: v.InferOutput<typeof Id>;
}

async function list(
  ctx: Ctx,
  { request, actor }: Visit,
  after = "",
  refused?: { typed: v.InferOutput<typeof Form>; error: AppError },
) {
  const searches = listed(await listSubjects(ctx, actor, { after: after || undefined, limit: LIMIT }), LIMIT);
  const props = {
    searches,
    days: ctx.config.subject_request_days,
    typed: refused?.typed,
    error: refused?.error.message,
  };
  return html(pageOf(ctx, request, actor), <SubjectListPage {...props} />, {
    status: refused ? ERROR_TABLE[refused.error.kind].status : 200,
    fragments: { searches: () => <SubjectList {...props} /> },
  });
}

async function create(ctx: Ctx, visit: Visit, body: v.InferOutput<typeof Form>) {
  try {
    const terms = body.terms.split(/\r?\n/).filter((line) => line.trim());
    const given = parseWith(CreateSubjectRequest, { terms, match: body.match || "any", reference: body.reference });
    const made = await createSubject(ctx, visit.actor, given);
    return redirect(visit.request, `/team/people/${made.id}`);
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    return list(ctx, visit, "", { typed: body, error });
  }
}

async function show(ctx: Ctx, { request, actor, params }: OnOne, after: string) {
  const subject = await getSubject(ctx, actor, params.id);
  const page = parseWith(HitsQuery, { limit: HITS, ...(after ? { after } : {}) });
  const props = { subject, hits: hitList(await listHits(ctx, actor, params.id, page)) };
  return html(pageOf(ctx, request, actor), <SubjectPage {...props} />, {
    fragments: { report: () => <SubjectReport {...props} />, hits: () => <Hits {...props} /> },
  });
}

async function exported(ctx: Ctx, { actor, params }: OnOne, format: "json" | "csv") {
  return generated(ctx, await exportSubject(ctx, actor, params.id, format), params.id, format);
}

/** Runs a change; a refusal is shown on the page. */
async function attempt({ request, params }: OnOne, done: string, words: string, change: () => Promise<unknown>) {
  try {
    await change();
    return redirect(request, done, words);
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal" || error.kind === "not_found") throw error;
    return redirect(request, `/team/people/${params.id}`, { kind: "bad", text: error.message });
  }
}

const erase = (ctx: Ctx, visit: OnOne, body: v.InferOutput<typeof EraseForm>) =>
  attempt(visit, `/team/people/${visit.params.id}`, "The erasure has begun.", () =>
    eraseSubject(ctx, visit.actor, visit.params.id, {
      old_versions: body.old_versions === "yes",
      stored: body.stored === "yes",
    }),
  );

const remove = (ctx: Ctx, visit: OnOne) =>
  attempt(visit, "/team/people", "The search and its report are deleted.", () =>
    deleteSubject(ctx, visit.actor, visit.params.id),
  );

export const subjectPages = (ctx: Ctx) =>
  new Elysia({ name: "subjects.pages", prefix: "/team/people", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("", (visit) => list(ctx, visit, visit.query.after), { query: Query })
    .post("", (visit) => create(ctx, visit, visit.body), { body: Form })
    .get("/:id", (visit) => show(ctx, visit, visit.query.after), { params: Id, query: Query })
    .get("/:id/export", (visit) => exported(ctx, visit, visit.query.format), { params: Id, query: ExportQuery })
    .post("/:id/erase", (visit) => erase(ctx, visit, visit.body), { params: Id, body: EraseForm })
    .post("/:id/delete", (visit) => remove(ctx, visit), { params: Id });
