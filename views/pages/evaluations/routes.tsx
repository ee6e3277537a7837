/** Pages of evaluations: the list, and one with its verdict and answers side by side. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Ctx } from "../../../src/ctx.ts";
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
