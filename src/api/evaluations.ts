/** JSON API of evaluations. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Ctx } from "../ctx.ts";
import { readAnswers } from "../evaluation/answers.ts";
import { CreateEvaluation, ListEvaluations, ListRows } from "../evaluation/model.ts";
import { createEvaluation, evaluationJob, getEvaluation, listEvaluations } from "../evaluation/service.ts";
import { session } from "../http/session.ts";
import { pageOf } from "../lib/page.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Evaluations"];

export const evaluationsApi = (ctx: Ctx) =>
  new Elysia({ name: "evaluations.api", prefix: "/v1/evaluations", seed: ctx.installation })
    .use(session(ctx))
    .post(
      "",
      async ({ actor, body }) =>
        createEvaluation(ctx, actor, {
          name: body.name,
          maxRows: body.max_rows,
          ...("job" in body
            ? { trainJobId: body.job }
            : { model: body.model, versionId: body.dataset, allRows: body.split === "all" }),
        }),
      { body: CreateEvaluation, detail: { tags, summary: "Have a model answer held-out rows, beside its base model" } },
    )
    .get(
      "",
      async ({ actor, query }) =>
        pageOf(
          await listEvaluations(ctx, actor, { after: query.after, limit: query.limit, trainJobId: query.job }),
          query.limit,
        ),
      { query: ListEvaluations, detail: { tags, summary: "List evaluations, newest first" } },
    )
    .get("/:id", async ({ actor, params }) => getEvaluation(ctx, actor, params.id), {
      params: Id,
      detail: { tags, summary: "Retrieve an evaluation with its scores and its verdict" },
    })
    .get(
      "/:id/rows",
      async ({ actor, params, query }) =>
        pageOf(await readAnswers(ctx, await evaluationJob(ctx, actor, params.id), query), query.limit),
      { params: Id, query: ListRows, detail: { tags, summary: "Read the answers side by side" } },
    );
