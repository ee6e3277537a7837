/** GET /v1/limits: what the organization may store and have waiting, and how much of it is used. */
import { Elysia } from "elysia";
import { LIMITS_SCHEMA } from "../accounts/quotas/model.ts";
import { readLimits } from "../accounts/quotas/service.ts";
import type { Ctx } from "../ctx.ts";
import { session } from "../http/session.ts";

export const quotasApi = (ctx: Ctx) =>
  new Elysia({ name: "quotas.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/limits", ({ actor }) => readLimits(ctx, actor), {
      detail: {
        summary: "Limits of the organization and how much is used",
        description:
          "What goes beyond a limit is refused with 403 and the code `quota_exceeded`. Administrators set the limits: settings `quota_*`.",
        tags: ["Usage"],
        responses: {
          200: { description: "The limits.", content: { "application/json": { schema: LIMITS_SCHEMA as object } } },
        },
      },
    });
