/** OpenAI's /v1/moderations, by the word lists of the installation. */
import { Elysia } from "elysia";
import type { Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { nullsAbsent } from "../lib/nulls.ts";
import { ModerationRequest, ModerationView, moderate } from "../serving/moderation/rules.ts";

export const moderationsApi = (ctx: Ctx) =>
  new Elysia({ name: "moderations.api", prefix: "/v1/moderations", seed: ctx.installation })
    .use(session(ctx))
    .post("", ({ body }) => moderate(ctx, body), {
      body: nullsAbsent(ModerationRequest),
      detail: {
        tags: ["Moderations"],
        summary: "Classify texts by the word lists of this installation",
        description: "A score is 1 when a word or phrase of the category occurs in the text, and 0 otherwise.",
        responses: answers(ModerationView),
      },
    });
