/** Pages of deployments: the list with the deploy form, and one deployment with its statistics. */

import { Elysia } from "elysia";
import * as v from "valibot";
import { listKeys } from "../../../src/accounts/api-keys/service.ts";
import { creatorName, withCreators } from "../../../src/accounts/organizations/creators.ts";
import { knownOfModel } from "../../../src/accounts/restrictions/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { RequestsQuery } from "../../../src/insights/analytics/model.ts";
import { listRequests } from "../../../src/insights/analytics/requests.ts";
import { deploymentStats } from "../../../src/insights/analytics/service.ts";
import { listed } from "../../../src/lib/page.ts";
import { listModels } from "../../../src/models/tuned/service.ts";
import { can } from "../../../src/roles.ts";
import { readEngineLog } from "../../../src/serving/deployments/engine-log.ts";
import { endpointPrice } from "../../../src/serving/deployments/plan.ts";
import {
  createDeployment,
  deleteDeployment,
  getDeployment,
  listDeployments,
  startDeployment,
  stopDeployment,
  updateDeployment,
} from "../../../src/serving/deployments/service.ts";
import { EngineLogPanel } from "./engine-log.tsx";
import { DeploymentList, DeploymentsPage } from "./list.tsx";
import { RequestList, type RequestsProps } from "./requests.tsx";
import { DeploymentPage, DeploymentState } from "./show.tsx";

const PAGE = 25;
/** Requests on the page of a deployment. */
const REQUESTS = 10;
const LOG_LINES = 100;
const MAX_KEYS = 100;
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const text = v.optional(v.pipe(v.string(), v.maxLength(100)), "");
const ListQuery = v.object({ after: text, q: text, created_by: text });
const ShowQuery = v.object({ after: text, status: text, key: text });
const DeployForm = v.object({ model: v.pipe(v.string(), v.maxLength(400)) });
const SleepForm = v.object({
  idle_minutes: v.pipe(v.string(), v.regex(/^\d{1,6}$/, "must be a whole number of minutes"), v.transform(Number)),
});

/** A request as a handler sees it. */
interface Visit {
  request: Request;
  actor: Actor;
}
type VisitOf = Visit & { params: v.InferOutput<typeof Id> };

async function listProps(ctx: Ctx, actor: Actor, query: v.InferOutput<typeof ListQuery>) {
  const { after, q: search, created_by: createdBy } = query;
  const found = await listDeployments(ctx, actor, { after, search, createdBy, limit: PAGE });
  const page = listed(await withCreators(ctx, found, (row) => row.created_by), PAGE);
  return { ...page, models: (await listModels(ctx, actor)).map((row) => row.id) };
}

async function requestsProps(ctx: Ctx, actor: Actor, id: string, query: v.InferOutput<typeof ShowQuery>) {
  // Anything else than a filter of the form, such as a shortened address, shows all.
  const parsed = v.safeParse(
    RequestsQuery,
    Object.fromEntries(Object.entries(query).filter(([, value]) => value !== "")),
  );
  const { after, status, key } = parsed.success ? parsed.output : {};
  const rows = await listRequests(ctx, actor, id, { after, status, key, limit: REQUESTS });
  const keys = (await listKeys(ctx, actor, { limit: MAX_KEYS })).map((one): [string, string] => [one.id, one.name]);
  return {
    requests: listed(rows, REQUESTS),
    keys,
    filtered: !!(status || key),
    own: !can(actor, "usage.team"),
  } satisfies RequestsProps;
}

const handlers = (ctx: Ctx) => ({
  async list({ request, actor, query }: Visit & { query: v.InferOutput<typeof ListQuery> }) {
    const props = await listProps(ctx, actor, query);
    return html(pageOf(ctx, request, actor), <DeploymentsPage {...props} />, {
      fragments: { deployments: () => <DeploymentList {...props} /> },
    });
  },

  async create({ request, actor, body }: Visit & { body: v.InferOutput<typeof DeployForm> }) {
    try {
      const created = await createDeployment(ctx, actor, { model: body.model });
      return redirect(request, `/deployments/${created.id}`, "Deployment created. The engine is starting.");
    } catch (error) {
      if (!(error instanceof AppError) || error.kind === "internal") throw error;
      const props = await listProps(ctx, actor, { after: "", q: "", created_by: "" });
      return html(pageOf(ctx, request, actor), <DeploymentsPage {...props} error={error.message} />, {
        status: ERROR_TABLE[error.kind].status,
      });
    }
  },

  async show({ request, actor, params, query }: VisitOf & { query: v.InferOutput<typeof ShowQuery> }) {
    const page = pageOf(ctx, request, actor);
    const deployment = await getDeployment(ctx, actor, params.id);
    const props = {
      deployment,
      creator: await creatorName(ctx, deployment.created_by),
      price: await endpointPrice(ctx, actor, deployment.model),
      stats: await deploymentStats(ctx, actor, params.id),
      barred: knownOfModel(ctx, actor.org, deployment.model),
      baseUrl: ctx.config.public_url?.replace(/\/$/, "") ?? page.info.url.origin,
      engine: await readEngineLog(ctx, actor, params.id, { limit: LOG_LINES }),
      ...(await requestsProps(ctx, actor, params.id, query)),
    };
    return html(page, <DeploymentPage {...props} />, {
      fragments: {
        state: () => <DeploymentState {...props} />,
        requests: () => <RequestList {...props} />,
        "engine-log": () => <EngineLogPanel engine={props.engine} />,
      },
    });
  },

  async update({ request, actor, params, body }: VisitOf & { body: v.InferOutput<typeof SleepForm> }) {
    await updateDeployment(ctx, actor, params.id, { idleAfterS: body.idle_minutes * 60 });
    return redirect(request, `/deployments/${params.id}`, "Saved.");
  },

  async start({ request, actor, params }: VisitOf) {
    await startDeployment(ctx, actor, params.id);
    return redirect(request, `/deployments/${params.id}`);
  },

  async stop({ request, actor, params }: VisitOf) {
    await stopDeployment(ctx, actor, params.id);
    return redirect(request, `/deployments/${params.id}`);
  },

  async delete({ request, actor, params }: VisitOf) {
    await deleteDeployment(ctx, actor, params.id);
    return redirect(request, "/deployments", "Deployment deleted.");
  },
});

export const deploymentsPages = (ctx: Ctx) => {
  const route = handlers(ctx);
  return new Elysia({ name: "deployments.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/deployments", route.list, { query: ListQuery })
    .post("/deployments", route.create, { body: DeployForm })
    .get("/deployments/:id", route.show, { params: Id, query: ShowQuery })
    .post("/deployments/:id", route.update, { params: Id, body: SleepForm })
    .post("/deployments/:id/start", route.start, { params: Id })
    .post("/deployments/:id/stop", route.stop, { params: Id })
    .post("/deployments/:id/delete", route.delete, { params: Id });
};
