/** JSON API of the loss-mask inspector: which tokens of a row are in the loss, context only, or truncated. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { SeenPageView, SeenQuery, seenPageView, seenRows } from "../models/inspection/service.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });

interface Call {
  actor: Actor;
  params: v.InferOutput<typeof Id>;
  query: SeenQuery;
  request: Request;
}

export const inspectionApi = (ctx: Ctx) => {
  const list = async ({ actor, params, query, request }: Call) =>
    seenPageView(await seenRows(ctx, actor, params.id, query, request.signal));
  return new Elysia({ name: "inspection.api", prefix: "/v1/datasets", seed: ctx.installation })
    .use(session(ctx))
    .get("/:id/seen", list, {
      params: Id,
      query: SeenQuery,
      detail: {
        tags: ["Datasets"],
        summary: "List rows as a model sees them",
        description:
          "Every token with its text and its state: t is in the loss, c is context only, x is truncated. Tokens come from the tokenizer and chat template of a base model and from the trainer's own code. `hashes` cover token ids and labels as they are trained on; trainers report the same hashes for their first batch.",
        responses: answers(SeenPageView),
      },
    });
};
