/** JSON API of deployments. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Ctx } from "../ctx.ts";
import { session } from "../http/session.ts";
import { PageQuery, pageOf } from "../lib/page.ts";
import { CreateDeployment, UpdateDeployment } from "../serving/deployments/model.ts";
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

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Deployments"];

export const deploymentsApi = (ctx: Ctx) =>
  new Elysia({ name: "deployments.api", prefix: "/v1/deployments", seed: ctx.installation })
    .use(session(ctx))
    .post(
      "",
      async ({ actor, body }) =>
        createDeployment(ctx, actor, { model: body.model, name: body.name, idleAfterS: body.idle_after_s }),
      { body: CreateDeployment, detail: { tags, summary: "Deploy a model" } },
    )
    .get("", async ({ actor, query }) => pageOf(await listDeployments(ctx, actor, query), query.limit), {
      query: PageQuery,
      detail: { tags, summary: "List deployments, newest first" },
    })
    .get("/:id", async ({ actor, params }) => getDeployment(ctx, actor, params.id), {
      params: Id,
      detail: { tags, summary: "Retrieve a deployment" },
    })
    .post(
      "/:id",
      async ({ actor, params, body }) =>
        updateDeployment(ctx, actor, params.id, { name: body.name, idleAfterS: body.idle_after_s }),
      { params: Id, body: UpdateDeployment, detail: { tags, summary: "Rename a deployment or change when it sleeps" } },
    )
    .post("/:id/start", async ({ actor, params }) => startDeployment(ctx, actor, params.id), {
      params: Id,
      detail: { tags, summary: "Start or wake a deployment" },
    })
    .post("/:id/stop", async ({ actor, params }) => stopDeployment(ctx, actor, params.id), {
      params: Id,
      detail: { tags, summary: "Stop a deployment until it is started again" },
    })
    .post("/:id/sleep", async ({ actor, params }) => sleepDeployment(ctx, actor, params.id), {
      params: Id,
      detail: { tags, summary: "Put a deployment to sleep; the next request wakes it" },
    })
    .delete(
      "/:id",
      async ({ actor, params }) => {
        await deleteDeployment(ctx, actor, params.id);
        return { id: params.id, object: "deployment", deleted: true };
      },
      { params: Id, detail: { tags, summary: "Delete a deployment" } },
    );
