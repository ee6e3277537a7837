/** JSON API of deployments. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { CreatedPageQuery, listOf, pageOf } from "../lib/page.ts";
import { readEngineLog } from "../serving/deployments/engine-log.ts";
import { CreateDeployment, DeploymentLogs, DeploymentView, UpdateDeployment } from "../serving/deployments/model.ts";
import { DeploymentPlan, PlanDeployment, planDeployment } from "../serving/deployments/plan.ts";
import {
  createDeployment,
  deleteDeployment,
  getDeployment,
  listDeployments,
  sleepDeployment,
  startDeployment,
  stopDeployment,
  updateDeployment,
} from "../serving/deployments/service.ts";
import { LogQuerySchema, logView, searchText } from "../training/metrics/model.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const DeletedDeployment = v.strictObject({
  object: v.literal("deployment"),
  id: v.string(),
  deleted: v.literal(true),
});
const tags = ["Deployments"];
const responses = answers(DeploymentView);

/** A request as a handler sees it. */
interface Call {
  actor: Actor;
  params: v.InferOutput<typeof Id>;
}

async function engineLog(
  ctx: Ctx,
  { actor, params, request }: Call & { request: Request },
  query: v.InferOutput<typeof LogQuerySchema>,
): Promise<DeploymentLogs> {
  const given = { ...query, search: searchText(request.url) };
  const { jobId, log, output } = await readEngineLog(ctx, actor, params.id, given);
  return { ...logView(log), job_id: jobId, output };
}

const handlers = (ctx: Ctx) => ({
  create: ({ actor, body }: { actor: Actor; body: v.InferOutput<typeof CreateDeployment> }) =>
    createDeployment(ctx, actor, { model: body.model, name: body.name, idleAfterS: body.idle_after_s }),
  plan: ({ actor, body }: { actor: Actor; body: v.InferOutput<typeof PlanDeployment> }) =>
    planDeployment(ctx, actor, body.model),
  async list({ actor, query }: { actor: Actor; query: CreatedPageQuery }) {
    const { created_by: createdBy, ...page } = query;
    return pageOf(await listDeployments(ctx, actor, { ...page, createdBy }), query.limit);
  },
  get: ({ actor, params }: Call) => getDeployment(ctx, actor, params.id),
  update: ({ actor, params, body }: Call & { body: v.InferOutput<typeof UpdateDeployment> }) =>
    updateDeployment(ctx, actor, params.id, { name: body.name, idleAfterS: body.idle_after_s }),
  start: ({ actor, params }: Call) => startDeployment(ctx, actor, params.id),
  stop: ({ actor, params }: Call) => stopDeployment(ctx, actor, params.id),
  sleep: ({ actor, params }: Call) => sleepDeployment(ctx, actor, params.id),
  delete: async ({ actor, params }: Call): Promise<v.InferOutput<typeof DeletedDeployment>> => {
    await deleteDeployment(ctx, actor, params.id);
    return { id: params.id, object: "deployment", deleted: true };
  },
});

export const deploymentsApi = (ctx: Ctx) => {
  const route = handlers(ctx);
  return new Elysia({ name: "deployments.api", prefix: "/v1/deployments", seed: ctx.installation })
    .use(session(ctx))
    .post("", route.create, { body: CreateDeployment, detail: { tags, summary: "Deploy a model", responses } })
    .post("/plan", route.plan, {
      body: PlanDeployment,
      detail: {
        tags,
        summary: "Plan an endpoint: what it costs by the hour and by million tokens; starts nothing",
        responses: answers(DeploymentPlan),
      },
    })
    .get("", route.list, {
      query: CreatedPageQuery,
      detail: { tags, summary: "List deployments, newest first", responses: answers(listOf(DeploymentView)) },
    })
    .get("/:id", route.get, { params: Id, detail: { tags, summary: "Retrieve a deployment", responses } })
    .get("/:id/logs", (call) => engineLog(ctx, call, call.query), {
      params: Id,
      query: LogQuerySchema,
      detail: {
        tags,
        summary: "Log of a deployment's engine, with search",
        description:
          "Returns the newest lines of the current engine, or of the last one when none runs. `output` has the last lines that the process of an engine that ended wrote.",
        responses: answers(DeploymentLogs),
      },
    })
    .post("/:id", route.update, {
      params: Id,
      body: UpdateDeployment,
      detail: { tags, summary: "Rename a deployment or change when it sleeps", responses },
    })
    .post("/:id/start", route.start, {
      params: Id,
      detail: { tags, summary: "Start or wake a deployment", responses },
    })
    .post("/:id/stop", route.stop, {
      params: Id,
      detail: { tags, summary: "Stop a deployment until it is started again", responses },
    })
    .post("/:id/sleep", route.sleep, {
      params: Id,
      detail: { tags, summary: "Put a deployment to sleep; the next request wakes it", responses },
    })
    .delete("/:id", route.delete, {
      params: Id,
      detail: { tags, summary: "Delete a deployment", responses: answers(DeletedDeployment) },
    });
};
