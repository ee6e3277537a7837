/** JSON API of evaluations. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { readAnswers } from "../evaluation/answers.ts";
import { EvaluationCost, planEvaluation } from "../evaluation/cost.ts";
import {
  AnswerRowView,
  CreateEvaluation,
  DeletedEvaluation,
  EvaluationView,
  ListEvaluations,
  ListRows,
} from "../evaluation/model.ts";
import {
  createEvaluation,
  deleteEvaluation,
  evaluationJob,
  getEvaluation,
  listEvaluations,
} from "../evaluation/service.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, pageOf } from "../lib/page.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Evaluations"];

interface Request {
  actor: Actor;
  params: v.InferOutput<typeof Id>;
}

interface Create {
  actor: Actor;
  body: v.InferOutput<typeof CreateEvaluation>;
}

const requestOf = (body: Create["body"]) => ({
  name: body.name,
  maxRows: body.max_rows,
  grader: body.grader,
  ...("job" in body
    ? { trainJobId: body.job }
    : { model: body.model, versionId: body.dataset, rows: body.split, against: body.against }),
});

function routes(ctx: Ctx) {
  return {
    create: ({ actor, body }: Create) => createEvaluation(ctx, actor, requestOf(body)),
    plan: ({ actor, body }: Create) => planEvaluation(ctx, actor, requestOf(body)),
    list: async ({ actor, query }: { actor: Actor; query: v.InferOutput<typeof ListEvaluations> }) => {
      const { after, limit, job: trainJobId, created_by: createdBy } = query;
      return pageOf(await listEvaluations(ctx, actor, { after, limit, trainJobId, createdBy }), limit);
    },
    remove: async ({ actor, params }: Request): Promise<v.InferOutput<typeof DeletedEvaluation>> => {
      await deleteEvaluation(ctx, actor, params.id);
      return { object: "evaluation", id: params.id, deleted: true };
    },
    retrieve: ({ actor, params }: Request) => getEvaluation(ctx, actor, params.id),
    rows: async ({ actor, params, query }: Request & { query: v.InferOutput<typeof ListRows> }) =>
      pageOf(await readAnswers(ctx, await evaluationJob(ctx, actor, params.id), query), query.limit),
  };
}

export const evaluationsApi = (ctx: Ctx) => {
  const { create, list, plan, remove, retrieve, rows } = routes(ctx);
  return new Elysia({ name: "evaluations.api", prefix: "/v1/evaluations", seed: ctx.installation })
    .use(session(ctx))
    .post("", create, {
      body: CreateEvaluation,
      detail: {
        tags,
        summary: "Evaluate a model on rows of a dataset, next to its base model or another fine-tuned model",
        responses: answers(EvaluationView),
      },
    })
    .post("/plan", plan, {
      body: CreateEvaluation,
      detail: {
        tags,
        summary: "Plan an evaluation: its rows, time and cost; starts nothing",
        responses: answers(EvaluationCost),
      },
    })
    .get("", list, {
      query: ListEvaluations,
      detail: { tags, summary: "List evaluations, newest first", responses: answers(listOf(EvaluationView)) },
    })
    .get("/:id", retrieve, {
      params: Id,
      detail: {
        tags,
        summary: "Retrieve an evaluation with its scores and its verdict",
        responses: answers(EvaluationView),
      },
    })
    .delete("/:id", remove, {
      params: Id,
      detail: {
        tags,
        summary: "Delete an ended evaluation with its answers",
        responses: answers(DeletedEvaluation),
      },
    })
    .get("/:id/rows", rows, {
      params: Id,
      query: ListRows,
      detail: { tags, summary: "List the answers side by side", responses: answers(listOf(AnswerRowView)) },
    });
};
