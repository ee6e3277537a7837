/** Pages of evaluations: the list, and one with its verdict and answers side by side. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { EvaluationList, EvaluationsPage } from "../../views/pages/evaluations/list.tsx";
import { EvaluationPage, EvaluationRows, EvaluationState } from "../../views/pages/evaluations/show.tsx";
import type { Ctx } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { html, pageOf, redirect } from "../http/html.ts";
import { session } from "../http/session.ts";
import { listed } from "../lib/page.ts";
import { resolveModel } from "../models/service.ts";
import { readAnswers } from "./answers.ts";
import { ROW_FILTERS } from "./model.ts";
import { createEvaluation, getEvaluation, listEvaluations } from "./service.ts";

const PAGE = 25;
const ROWS = 20;
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const q = v.optional(v.pipe(v.string(), v.maxLength(100)), "");
const after = v.optional(v.pipe(v.string(), v.maxLength(100)), "");
const RowsQuery = v.object({
  filter: v.optional(v.picklist(ROW_FILTERS), "all"),
  after: v.optional(v.pipe(v.string(), v.regex(/^\d{1,15}$/), v.transform(Number))),
});

export const evaluationsPages = (ctx: Ctx) =>
  new Elysia({ name: "evaluations.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get(
      "/evaluations",
      async ({ request, actor, query }) => {
        const of = listed(
          await listEvaluations(ctx, actor, { after: query.after, search: query.q, limit: PAGE }),
          PAGE,
        );
        return html(pageOf(ctx, request, actor), <EvaluationsPage {...of} />, {
          fragments: { evaluations: () => <EvaluationList {...of} /> },
        });
      },
      { query: v.object({ after, q }) },
    )
    .post(
      "/evaluations",
      async ({ request, actor, body }) => {
        const { jobId } = await resolveModel(ctx, actor, body.model);
        if (!jobId)
          throw new AppError("invalid", "not_tuned", "Only a tuned model has held-out rows of its own to answer.", {
            param: "model",
          });
        const made = await createEvaluation(ctx, actor, { trainJobId: jobId });
        return redirect(request, `/evaluations/${made.id}`, "The evaluation has begun.");
      },
      { body: v.object({ model: v.pipe(v.string(), v.maxLength(400)) }) },
    )
    .get(
      "/evaluations/:id",
      async ({ request, actor, params, query }) => {
        const evaluation = await getEvaluation(ctx, actor, params.id);
        const answers = await readAnswers(ctx, evaluation.job_id, { ...query, limit: ROWS });
        const of = { evaluation, rows: listed(answers, ROWS) };
        return html(pageOf(ctx, request, actor), <EvaluationPage {...of} />, {
          fragments: { state: () => <EvaluationState {...of} />, rows: () => <EvaluationRows {...of} /> },
        });
      },
      { params: Id, query: RowsQuery },
    );
