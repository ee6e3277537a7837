/** JSON API of sweeps. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, PageQuery, pageOf } from "../lib/page.ts";
import { CreateSweep, DeletedSweep, SweepPlan, SweepView } from "../training/sweeps/model.ts";
import { planSweep } from "../training/sweeps/plan.ts";
import { cancelSweep, createSweep, deleteSweep, getSweep, listSweeps } from "../training/sweeps/service.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Sweeps"];

async function planRoute(ctx: Ctx, actor: Actor, body: CreateSweep): Promise<SweepPlan> {
  const { request: _request, ...plan } = await planSweep(ctx, actor, body);
  return plan;
}

async function listRoute(ctx: Ctx, actor: Actor, { after, limit }: v.InferOutput<typeof PageQuery>) {
  return pageOf(await listSweeps(ctx, actor, { after, limit }), limit);
}

async function deleteRoute(ctx: Ctx, actor: Actor, id: string): Promise<v.InferOutput<typeof DeletedSweep>> {
  return { object: "sweep", id, deleted: true, kept_jobs: await deleteSweep(ctx, actor, id) };
}

export const sweepsApi = (ctx: Ctx) =>
  new Elysia({ name: "sweeps.api", prefix: "/v1/sweeps", seed: ctx.installation })
    .use(session(ctx))
    .post("", ({ actor, body }) => createSweep(ctx, actor, body), {
      body: CreateSweep,
      detail: {
        tags,
        summary: "Create a sweep",
        description:
          "`training` takes the body of POST /v1/jobs. Every trial is a training job of its own. At most `parallel` trials are queued or running at a time. The strategy `halving` stops the worse trials early.",
        responses: answers(SweepView),
      },
    })
    .post("/plan", ({ actor, body }) => planRoute(ctx, actor, body), {
      body: CreateSweep,
      detail: {
        tags,
        summary: "Plan a sweep: its trials, their time and cost, and refusals; starts nothing",
        responses: answers(SweepPlan),
      },
    })
    .get("", ({ actor, query }) => listRoute(ctx, actor, query), {
      query: PageQuery,
      detail: { tags, summary: "List sweeps, newest first", responses: answers(listOf(SweepView)) },
    })
    .get("/:id", ({ actor, params }) => getSweep(ctx, actor, params.id), {
      params: Id,
      detail: {
        tags,
        summary: "Retrieve a sweep with its trials and the decisions about them",
        responses: answers(SweepView),
      },
    })
    .delete("/:id", ({ actor, params }) => deleteRoute(ctx, actor, params.id), {
      params: Id,
      detail: {
        tags,
        summary: "Delete an ended sweep with the jobs of its trials; those whose model exists stay",
        responses: answers(DeletedSweep),
      },
    })
    .post("/:id/cancel", ({ actor, params }) => cancelSweep(ctx, actor, params.id), {
      params: Id,
      detail: { tags, summary: "Cancel a sweep and its unfinished trials", responses: answers(SweepView) },
    });
