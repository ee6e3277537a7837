/** JSON API of sweeps. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Ctx } from "../ctx.ts";
import { session } from "../http/session.ts";
import { PageQuery, pageOf } from "../lib/page.ts";
import { CreateSweep } from "../training/sweeps/model.ts";
import { planSweep } from "../training/sweeps/plan.ts";
import { cancelSweep, createSweep, getSweep, listSweeps } from "../training/sweeps/service.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Sweeps"];

export const sweepsApi = (ctx: Ctx) =>
  new Elysia({ name: "sweeps.api", prefix: "/v1/sweeps", seed: ctx.installation })
    .use(session(ctx))
    .post("", async ({ actor, body }) => createSweep(ctx, actor, body), {
      body: CreateSweep,
      detail: {
        tags,
        summary: "Try a training with several values",
        description:
          "`training` is what POST /v1/jobs takes. Every trial is a training job of its own; `parallel` of them are in the queue at a time. With `halving` the worse ones are stopped at a part of their steps.",
      },
    })
    .post(
      "/plan",
      async ({ actor, body }) => {
        const { request: _request, ...plan } = await planSweep(ctx, actor, body);
        return plan;
      },
      {
        body: CreateSweep,
        detail: {
          tags,
          summary: "Which trials a sweep would have, what they take, and which are refused; starts nothing",
        },
      },
    )
    .get(
      "",
      async ({ actor, query }) =>
        pageOf(await listSweeps(ctx, actor, { after: query.after, limit: query.limit }), query.limit),
      { query: PageQuery, detail: { tags, summary: "List sweeps, newest first" } },
    )
    .get("/:id", async ({ actor, params }) => getSweep(ctx, actor, params.id), {
      params: Id,
      detail: { tags, summary: "Retrieve a sweep with its trials and every decision about them" },
    })
    .post("/:id/cancel", async ({ actor, params }) => cancelSweep(ctx, actor, params.id), {
      params: Id,
      detail: { tags, summary: "Cancel the trials of a sweep that have not ended" },
    });
