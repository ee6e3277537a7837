/** Pages of evaluations: the list, and an evaluation with its verdict and its answers. */

import { Elysia } from "elysia";
import * as v from "valibot";
import { creatorName, withCreators } from "../../../src/accounts/organizations/creators.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError } from "../../../src/errors.ts";
import { readAnswers } from "../../../src/evaluation/answers.ts";
import { ROW_FILTERS } from "../../../src/evaluation/model.ts";
import { createEvaluation, deleteEvaluation, getEvaluation, listEvaluations } from "../../../src/evaluation/service.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { listed } from "../../../src/lib/page.ts";
import { resolveModel } from "../../../src/models/tuned/service.ts";
import { evaluationRequest, FORM_FIELDS, newEvaluationProps } from "./form.ts";
import { EvaluationList, EvaluationsPage } from "./list.tsx";
import { EvaluationFormView, NewEvaluationPage } from "./new.tsx";
import { EvaluationPage, EvaluationRows, EvaluationState } from "./show.tsx";

const PAGE = 25;
const ROWS = 20;
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const text = v.optional(v.pipe(v.string(), v.maxLength(100)), "");
const ListQuery = v.object({ after: text, q: text, created_by: text });
const RowsQuery = v.object({
  filter: v.optional(v.picklist(ROW_FILTERS), "all"),
  after: v.optional(v.pipe(v.string(), v.regex(/^\d{1,15}$/), v.transform(Number))),
});

const Form = v.object(FORM_FIELDS);
const NewQuery = v.object({ ...FORM_FIELDS, from: text, start: text });

interface Visit {
  request: Request;
  actor: Actor;
}

function handlers(ctx: Ctx) {
  const list = async ({ request, actor, query }: Visit & { query: v.InferOutput<typeof ListQuery> }) => {
    const { after, q: search, created_by: createdBy } = query;
    const found = await listEvaluations(ctx, actor, { after, search, createdBy, limit: PAGE });
    const rows = listed(await withCreators(ctx, found, (row) => row.created_by), PAGE);
    return html(pageOf(ctx, request, actor), <EvaluationsPage {...rows} />, {
      fragments: { evaluations: () => <EvaluationList {...rows} /> },
    });
  };
  const fresh = async ({ request, actor, query }: Visit & { query: v.InferOutput<typeof NewQuery> }) => {
    const props = await newEvaluationProps(ctx, actor, query);
    return html(pageOf(ctx, request, actor), <NewEvaluationPage {...props} />, {
      fragments: { "evaluation-form": () => <EvaluationFormView {...props} /> },
    });
  };
  /** A model alone is evaluated on the validation rows of its own training. */
  const start = async (actor: Actor, form: v.InferOutput<typeof Form>) => {
    if (form.dataset) return createEvaluation(ctx, actor, evaluationRequest(form));
    const { jobId } = await resolveModel(ctx, actor, form.model);
    if (jobId) return createEvaluation(ctx, actor, { trainJobId: jobId });
    throw new AppError("invalid", "not_tuned", "Choose a dataset: a base model has no validation rows of its own.", {
      param: "dataset",
    });
  };
  const create = async ({ request, actor, body }: Visit & { body: v.InferOutput<typeof Form> }) => {
    try {
      const { id } = await start(actor, body);
      return redirect(request, `/evaluations/${id}`, "The evaluation has started.");
    } catch (error) {
      if (!(error instanceof AppError) || error.kind !== "invalid" || !body.dataset) throw error;
      const field = (error.param ?? "").split(".")[0] ?? "";
      const props = await newEvaluationProps(ctx, actor, body, { [field in body ? field : ""]: error.message });
      return html(pageOf(ctx, request, actor), <NewEvaluationPage {...props} />, { status: 422 });
    }
  };
  const show = async (visit: Visit & { params: v.InferOutput<typeof Id>; query: v.InferOutput<typeof RowsQuery> }) => {
    const { request, actor, params, query } = visit;
    const evaluation = await getEvaluation(ctx, actor, params.id);
    const answers = await readAnswers(ctx, evaluation.job_id, { ...query, limit: ROWS });
    const creator = await creatorName(ctx, evaluation.created_by);
    const props = { evaluation, rows: listed(answers, ROWS), creator };
    return html(pageOf(ctx, request, actor), <EvaluationPage {...props} />, {
      fragments: { state: () => <EvaluationState {...props} />, rows: () => <EvaluationRows {...props} /> },
    });
  };
  const remove = async ({ request, actor, params }: Visit & { params: v.InferOutput<typeof Id> }) => {
    const { name } = await getEvaluation(ctx, actor, params.id);
    await deleteEvaluation(ctx, actor, params.id);
    return redirect(request, "/evaluations", `“${name}” was deleted.`);
  };
  return { list, fresh, create, remove, show };
}

export const evaluationsPages = (ctx: Ctx) => {
  const { list, fresh, create, remove, show } = handlers(ctx);
  return new Elysia({ name: "evaluations.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/evaluations", list, { query: ListQuery })
    .get("/evaluations/new", fresh, { query: NewQuery })
    .post("/evaluations", create, { body: Form })
    .get("/evaluations/:id", show, { params: Id, query: RowsQuery })
    .post("/evaluations/:id/delete", remove, { params: Id });
};
