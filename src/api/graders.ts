/** OpenAI's /v1/fine_tuning/alpha/graders: run a grader on one sample, and validate one. */
import { Elysia } from "elysia";
import type * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import type { AskAs } from "../graders/judge.ts";
import { GraderRunView, RunGrader, ValidateGrader } from "../graders/model.ts";
import { pythonRunner } from "../graders/python.ts";
import { runGrader, validateGrader } from "../graders/service.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { nullsAbsent } from "../lib/nulls.ts";

const tags = ["Fine-tuning"];

interface Call<Body> {
  actor: Actor;
  body: Body;
  request: Request;
  server: { timeout(request: Request, seconds: number): void } | null;
}

function routes(ctx: Ctx, ask: AskAs) {
  const services = { ask, python: pythonRunner(ctx) };
  /** Starting a model or running Python for two minutes takes longer than an idle connection is kept. */
  const keepOpen = ({ server, request }: Call<unknown>) => server?.timeout(request, 0);
  return {
    run: (call: Call<RunGrader>) => {
      keepOpen(call);
      return runGrader(ctx, call.actor, call.body, services, call.request.signal);
    },
    validate: (call: Call<v.InferOutput<typeof ValidateGrader>>) => {
      keepOpen(call);
      return validateGrader(ctx, call.actor, call.body.grader, services, call.request.signal);
    },
  };
}

/** @param ask asks models on behalf of a person; passed in, because serving comes after graders */
export const gradersApi = (ctx: Ctx, ask: AskAs) => {
  const { run, validate } = routes(ctx, ask);
  return new Elysia({ name: "graders.api", prefix: "/v1/fine_tuning/alpha/graders", seed: ctx.installation })
    .use(session(ctx))
    .post("/run", run, {
      body: nullsAbsent(RunGrader),
      detail: {
        tags,
        summary: "Run a grader on one sample",
        description:
          "The same as OpenAI's. Errors of the sample, a model or Python code are in `metadata.errors`, with messages in `metadata.ftl.messages`.",
        responses: answers(GraderRunView),
      },
    })
    .post("/validate", validate, {
      body: nullsAbsent(ValidateGrader),
      detail: { tags, summary: "Validate a grader without running it", responses: answers(ValidateGrader) },
    });
};
