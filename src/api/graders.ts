/** OpenAI's /v1/fine_tuning/alpha/graders: run a grader on one sample, and check one. */
import { Elysia } from "elysia";
import type { Ctx } from "../ctx.ts";
import type { AskAs } from "../graders/judge.ts";
import { RunGrader, ValidateGrader } from "../graders/model.ts";
import { pythonRunner } from "../graders/python.ts";
import { runGrader, validateGrader } from "../graders/service.ts";
import { session } from "../http/session.ts";

const tags = ["Fine-tuning"];

/** @param ask asks models as the person who grades; handed in, because models are served further on */
export const gradersApi = (ctx: Ctx, ask: AskAs) => {
  const parts = { ask, python: pythonRunner(ctx) };
  return new Elysia({ name: "graders.api", prefix: "/v1/fine_tuning/alpha/graders", seed: ctx.installation })
    .use(session(ctx))
    .post(
      "/run",
      ({ actor, body, request, server }) => {
        // Models wake up and Python may think for two minutes: longer than a quiet connection is kept.
        server?.timeout(request, 0);
        return runGrader(ctx, actor, body, parts, request.signal);
      },
      {
        body: RunGrader,
        detail: {
          tags,
          summary: "Run a grader on one sample",
          description:
            "As OpenAI's. What the sample, a model or Python code did wrong is told in `metadata.errors`, in words in `metadata.ftl.messages`.",
        },
      },
    )
    .post(
      "/validate",
      ({ actor, body, request, server }) => {
        server?.timeout(request, 0);
        return validateGrader(ctx, actor, body.grader, parts, request.signal);
      },
      { body: ValidateGrader, detail: { tags, summary: "Check a grader without running it" } },
    );
};
