/** Pages of evaluations: the list, and an evaluation with its verdict and its answers. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError } from "../../../src/errors.ts";
import { readAnswers } from "../../../src/evaluation/answers.ts";
import { ROW_FILTERS } from "../../../src/evaluation/model.ts";
import { createEvaluation, getEvaluation, listEvaluations } from "../../../src/evaluation/service.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { listed } from "../../../src/lib/page.ts";
import { resolveModel } from "../../../src/models/tuned/service.ts";
import { EvaluationList, EvaluationsPage } from "./list.tsx";
import { EvaluationPage, EvaluationRows, EvaluationState } from "./show.tsx";

const PAGE = 25;
const ROWS = 20;
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const text = v.optional(v.pipe(v.string(), v.maxLength(100)), "");
const ListQuery = v.object({ after: text, q: text });
const RowsQuery = v.object({
  filter: v.optional(v.picklist(ROW_FILTERS), "all"),
  after: v.optional(v.pipe(v.string(), v.regex(/^\d{1,15}$/), v.transform(Number))),
});

const Create = v.object({ model: v.pipe(v.string(), v.maxLength(400)) });

interface Visit {
  request: Request;
  actor: Actor;
}

function handlers(ctx: Ctx) {
  const list = async ({ request, actor, query }: Visit & { query: v.InferOutput<typeof ListQuery> }) => {
    const { after, q: search } = query;
    const rows = listed(await listEvaluations(ctx, actor, { after, search, limit: PAGE }), PAGE);
    return html(pageOf(ctx, request, actor), <EvaluationsPage {...rows} />, {
      fragments: { evaluations: () => <EvaluationList {...rows} /> },
    });
  };
  const create = async ({ request, actor, body }: Visit & { body: v.InferOutput<typeof Create> }) => {
    const { jobId } = await resolveModel(ctx, actor, body.model);
    if (!jobId)
      throw new AppError("invalid", "not_tuned", "Only a fine-tuned model has validation rows of its own.", {
        param: "model",
      });
    const { id } = await createEvaluation(ctx, actor, { trainJobId: jobId });
    return redirect(request, `/evaluations/${id}`, "The evaluation has started.");
  };
  const show = async (visit: Visit & { params: v.InferOutput<typeof Id>; query: v.InferOutput<typeof RowsQuery> }) => {
    const { request, actor, params, query } = visit;
    const evaluation = await getEvaluation(ctx, actor, params.id);
    const answers = await readAnswers(ctx, evaluation.job_id, { ...query, limit: ROWS });
    const props = { evaluation, rows: listed(answers, ROWS) };
    return html(pageOf(ctx, request, actor), <EvaluationPage {...props} />, {
      fragments: { state: () => <EvaluationState {...props} />, rows: () => <EvaluationRows {...props} /> },
    });
  };
  return { list, create, show };
}

export const evaluationsPages = (ctx: Ctx) => {
  const { list, create, show } = handlers(ctx);
  return new Elysia({ name: "evaluations.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/evaluations", list, { query: ListQuery })
    .post("/evaluations", create, { body: Create })
    .get("/evaluations/:id", show, { params: Id, query: RowsQuery });
};
