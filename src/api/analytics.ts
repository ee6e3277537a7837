/** JSON API of usage analytics: statistics of a deployment, and tokens by model, key, user or day. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { DeploymentStats, UsageGroups, UsageQuery } from "../insights/analytics/model.ts";
import { deploymentStats, inferenceUsage } from "../insights/analytics/service.ts";

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
    .get("/usage/inference", ({ actor, query }) => usageRoute(ctx, actor, query), {
      query: UsageQuery,
      detail: {
        tags: ["Usage"],
        summary: "Tokens and requests by model, key, user or day",
        responses: answers(UsageGroups),
      },
    });
