/** /v1/admin/orgs/{id}/more_time: the time that an administrator gives a team with an overdue invoice. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { endTime, GiveTime, getTime, giveTime, MoreTimeView } from "../billing/late/more-time.ts";
import type { Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";

const tags = ["Administration"];
const Org = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });

export const moreTimeApi = (ctx: Ctx) =>
  new Elysia({ name: "more-time.api", prefix: "/v1/admin/orgs", seed: ctx.installation })
    .use(session(ctx))
    .get("/:id/more_time", ({ actor, params: { id } }) => getTime(ctx, actor, id), {
      params: Org,
      detail: { tags, summary: "Retrieve the time that a team was given to pay", responses: answers(MoreTimeView) },
    })
    .post("/:id/more_time", ({ actor, params: { id }, body }) => giveTime(ctx, actor, id, body), {
      params: Org,
      body: GiveTime,
      detail: {
        tags,
        summary: "Give a team more time to pay",
        description:
          "Until then no step of late payment beyond the notice follows, and what was stopped resumes. Late fee and interest are charged all the same. The team reads the reason.",
        responses: answers(MoreTimeView),
      },
    })
    .delete("/:id/more_time", ({ actor, params: { id } }) => endTime(ctx, actor, id), {
      params: Org,
      detail: {
        tags,
        summary: "End the time of a team early: the step that its invoices have reached follows at once",
        responses: answers(MoreTimeView),
      },
    });
