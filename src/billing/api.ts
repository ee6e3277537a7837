/** GET /v1/usage: what a month came to. */
import { Elysia } from "elysia";
import type { Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { UsageQuery, UsageSummary } from "./model.ts";
import { usageSummary } from "./service.ts";

export const billingApi = (ctx: Ctx) =>
  new Elysia({ name: "billing.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/usage", ({ actor, query }) => usageSummary(ctx, actor, { month: query.month, groupBy: query.group_by }), {
      query: UsageQuery,
      detail: {
        tags: ["Usage"],
        summary: "Usage of a month by user, model, key, kind or provider",
        responses: answers(UsageSummary),
      },
    });
