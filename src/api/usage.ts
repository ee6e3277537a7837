/** GET /v1/usage: the usage of a month. */
import { Elysia } from "elysia";
import { UsageQuery, UsageSummary } from "../billing/ledger/model.ts";
import { usageSummary } from "../billing/ledger/service.ts";
import type { Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";

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
