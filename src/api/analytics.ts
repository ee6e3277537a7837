/** JSON API of numbers about use. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Ctx } from "../ctx.ts";
import { session } from "../http/session.ts";
import { UsageQuery } from "../insights/analytics/model.ts";
import { deploymentStats, inferenceUsage } from "../insights/analytics/service.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });

export const analyticsApi = (ctx: Ctx) =>
  new Elysia({ name: "analytics.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/deployments/:id/stats", async ({ actor, params }) => deploymentStats(ctx, actor, params.id), {
      params: Id,
      detail: { tags: ["Deployments"], summary: "Requests, latency, speed and errors of a deployment" },
    })
    .get(
      "/usage/inference",
      async ({ actor, query }) => ({
        object: "list",
        data: await inferenceUsage(ctx, actor, {
          from: query.from === undefined ? undefined : query.from * 1000,
          to: query.to === undefined ? undefined : query.to * 1000,
          groupBy: query.group_by,
        }),
        has_more: false,
      }),
      { query: UsageQuery, detail: { tags: ["Usage"], summary: "Tokens and requests by model, key, user or day" } },
    );
