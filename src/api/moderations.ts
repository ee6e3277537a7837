/** OpenAI's /v1/moderations, by the word lists or the guard model of the installation. */
import { Elysia } from "elysia";
import type { Actor, Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { nullsAbsent } from "../lib/nulls.ts";
import { ModerationRequest, ModerationView, moderate } from "../serving/moderation/rules.ts";

interface Call {
  actor: Actor;
  body: ModerationRequest;
  request: Request;
  server: { timeout(request: Request, seconds: number): void } | null;
}

function ask(ctx: Ctx, { actor, body, request, server }: Call) {
  // A guard model may have to start first.
  server?.timeout(request, 0);
  return moderate(ctx, actor, body, request.signal);
}

export const moderationsApi = (ctx: Ctx) =>
  new Elysia({ name: "moderations.api", prefix: "/v1/moderations", seed: ctx.installation })
    .use(session(ctx))
    .post("", ({ actor, body, request, server }) => ask(ctx, { actor, body, request, server }), {
      body: nullsAbsent(ModerationRequest),
      detail: {
        tags: ["Moderations"],
        summary: "Classify texts by the word lists or the guard model of this installation",
        description:
          "A score is 1 when a word or phrase of the category occurs or the guard model names it, and 0 otherwise.",
        responses: answers(ModerationView),
      },
    });
