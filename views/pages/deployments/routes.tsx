/** Pages of deployments: the list with the one-click form, and one endpoint with its numbers. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { deploymentStats } from "../../../src/insights/analytics/service.ts";
import { listed } from "../../../src/lib/page.ts";
import { listModels } from "../../../src/models/tuned/service.ts";
import {
  createDeployment,
  deleteDeployment,
  getDeployment,
  listDeployments,
  startDeployment,
  stopDeployment,
  updateDeployment,
} from "../../../src/serving/deployments/service.ts";
import { DeploymentList, DeploymentsPage } from "./list.tsx";
import { DeploymentPage, DeploymentState } from "./show.tsx";

const PAGE = 25;
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const text = v.optional(v.pipe(v.string(), v.maxLength(100)), "");
const ListQuery = v.object({ after: text, q: text });
const DeployForm = v.object({ model: v.pipe(v.string(), v.maxLength(400)) });
const SleepForm = v.object({
  idle_minutes: v.pipe(v.string(), v.regex(/^\d{1,6}$/, "must be a whole number of minutes"), v.transform(Number)),
});

export const deploymentsPages = (ctx: Ctx) => {
  const props = async (actor: Actor, { after, q }: v.InferOutput<typeof ListQuery>) => ({
    ...listed(await listDeployments(ctx, actor, { after, search: q, limit: PAGE }), PAGE),
    models: (await listModels(ctx, actor)).map((row) => row.id),
  });

  return new Elysia({ name: "deployments.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get(
      "/deployments",
      async ({ request, actor, query }) => {
        const of = await props(actor, query);
        return html(pageOf(ctx, request, actor), <DeploymentsPage {...of} />, {
          fragments: { deployments: () => <DeploymentList {...of} /> },
        });
      },
      { query: ListQuery },
    )
    .post(
      "/deployments",
      async ({ request, actor, body }) => {
        try {
          const made = await createDeployment(ctx, actor, { model: body.model });
          return redirect(request, `/deployments/${made.id}`, "Deployed. The engine is starting.");
        } catch (error) {
          if (!(error instanceof AppError) || error.kind === "internal") throw error;
          const of = await props(actor, { after: "", q: "" });
          return html(pageOf(ctx, request, actor), <DeploymentsPage {...of} error={error.message} />, {
            status: ERROR_TABLE[error.kind].status,
          });
        }
      },
      { body: DeployForm },
    )
    .get(
      "/deployments/:id",
      async ({ request, actor, params }) => {
        const page = pageOf(ctx, request, actor);
        const of = {
          deployment: await getDeployment(ctx, actor, params.id),
          stats: await deploymentStats(ctx, actor, params.id),
          baseUrl: ctx.config.public_url?.replace(/\/$/, "") ?? page.info.url.origin,
        };
        return html(page, <DeploymentPage {...of} />, { fragments: { state: () => <DeploymentState {...of} /> } });
      },
      { params: Id },
    )
    .post(
      "/deployments/:id",
      async ({ request, actor, params, body }) => {
        await updateDeployment(ctx, actor, params.id, { idleAfterS: body.idle_minutes * 60 });
        return redirect(request, `/deployments/${params.id}`, "Saved.");
      },
      { params: Id, body: SleepForm },
    )
    .post(
      "/deployments/:id/start",
      async ({ request, actor, params }) => {
        await startDeployment(ctx, actor, params.id);
        return redirect(request, `/deployments/${params.id}`);
      },
      { params: Id },
    )
    .post(
      "/deployments/:id/stop",
      async ({ request, actor, params }) => {
        await stopDeployment(ctx, actor, params.id);
        return redirect(request, `/deployments/${params.id}`);
      },
      { params: Id },
    )
    .post(
      "/deployments/:id/delete",
      async ({ request, actor, params }) => {
        await deleteDeployment(ctx, actor, params.id);
        return redirect(request, "/deployments", "The deployment is deleted.");
      },
      { params: Id },
    );
};
