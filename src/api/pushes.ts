/** JSON API of pushes: fine-tuned models sent to a hub in the background. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { wholeList, wholeListOf } from "../lib/page.ts";
import { CreatePush, PushView, pushView } from "../training/pushes/model.ts";
import { cancelPush, createPush, getPush, listPushes } from "../training/pushes/service.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(400)) });
const tags = ["Exports"];

interface Call {
  actor: Actor;
  params: v.InferOutput<typeof Id>;
}

export const pushesApi = (ctx: Ctx) =>
  new Elysia({ name: "pushes.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .post(
      "/models/:id/pushes",
      async ({ actor, params, body }: Call & { body: CreatePush }) =>
        pushView(await createPush(ctx, actor, params.id, body)),
      {
        params: Id,
        body: CreatePush,
        detail: {
          tags,
          summary: "Push a fine-tuned model to a hub",
          description:
            "Sends the model's own files, or a finished export in `format`, with the model card and the provenance to a repository of the hub at `hub_url`. Files that the repository has already are not sent again. The token is stored encrypted, never shown, and deleted when the push ends.",
          responses: answers(PushView),
        },
      },
    )
    .get(
      "/models/:id/pushes",
      async ({ actor, params }: Call) => wholeList((await listPushes(ctx, actor, params.id)).map(pushView)),
      {
        params: Id,
        detail: { tags, summary: "List the pushes of a fine-tuned model", responses: answers(wholeListOf(PushView)) },
      },
    )
    .get("/pushes/:id", async ({ actor, params }: Call) => pushView(await getPush(ctx, actor, params.id)), {
      params: Id,
      detail: { tags, summary: "Retrieve a push with its progress", responses: answers(PushView) },
    })
    .post("/pushes/:id/cancel", async ({ actor, params }: Call) => pushView(await cancelPush(ctx, actor, params.id)), {
      params: Id,
      detail: {
        tags,
        summary: "Cancel a push",
        description: "What has arrived stays on the hub; without a commit it is in no repository.",
        responses: answers(PushView),
      },
    });
