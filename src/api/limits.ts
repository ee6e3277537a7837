/** GET /v1/limits: what the organization may store and queue, and how much of it is used. */
import { Elysia } from "elysia";
import { LimitsView } from "../accounts/quotas/model.ts";
import { readLimits } from "../accounts/quotas/service.ts";
import type { Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";

export const quotasApi = (ctx: Ctx) =>
  new Elysia({ name: "quotas.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/limits", ({ actor }) => readLimits(ctx, actor), {
      detail: {
        tags: ["Usage"],
        summary: "Limits of the organization and how much is used",
        description:
          "A request above a limit is refused with 403 and the code `quota_exceeded`. Administrators set the limits: settings `quota_*`.",
        responses: answers(LimitsView, "The limits."),
      },
    });
