/** JSON API of usage analytics: statistics of a deployment, and tokens by model, key, user or day. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import {
  DeploymentRequest,
  DeploymentStats,
  RequestsQuery,
  UsageGroups,
  UsageQuery,
} from "../insights/analytics/model.ts";
import { listRequests } from "../insights/analytics/requests.ts";
import { deploymentStats, inferenceUsage } from "../insights/analytics/service.ts";
import { listOf, pageOf } from "../lib/page.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });

const milliseconds = (seconds: number | undefined) => (seconds === undefined ? undefined : seconds * 1000);

async function usageRoute(ctx: Ctx, actor: Actor, query: v.InferOutput<typeof UsageQuery>): Promise<UsageGroups> {
  const data = await inferenceUsage(ctx, actor, {
    from: milliseconds(query.from),
    to: milliseconds(query.to),
    groupBy: query.group_by,
  });
  return { object: "list", data, has_more: false };
}

const requestsRoute = async (ctx: Ctx, actor: Actor, id: string, query: v.InferOutput<typeof RequestsQuery>) =>
  pageOf(await listRequests(ctx, actor, id, query), query.limit);

export const analyticsApi = (ctx: Ctx) =>
  new Elysia({ name: "analytics.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/deployments/:id/stats", ({ actor, params }) => deploymentStats(ctx, actor, params.id), {
      params: Id,
      detail: {
        tags: ["Deployments"],
        summary: "Requests, latency, speed and errors of a deployment",
        responses: answers(DeploymentStats),
      },
    })
    .get("/deployments/:id/requests", ({ actor, params, query }) => requestsRoute(ctx, actor, params.id, query), {
      params: Id,
      query: RequestsQuery,
      detail: {
        tags: ["Deployments"],
        summary: "Latest requests of a deployment, without contents",
        description:
          "Newest first, of the newest 20,000 requests. Members see their own requests, administrators everybody's. Filter with `status` (`200`, `4xx`) and `key` (a key id, or `session` for requests of the playground).",
        responses: answers(listOf(DeploymentRequest)),
      },
    })
    .get("/usage/inference", ({ actor, query }) => usageRoute(ctx, actor, query), {
      query: UsageQuery,
      detail: {
        tags: ["Usage"],
        summary: "Tokens and requests by model, key, user or day",
        responses: answers(UsageGroups),
      },
    });
