/** /v1/datasets/{id}/mapping: how the fields of a file are read, and a preview of another mapping. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import {
  MappingView,
  mappingView,
  PreviewRequest,
  PreviewView,
  previewView,
  readingOf,
} from "../data/datasets/mapping.ts";
import { VersionQuery } from "../data/datasets/model.ts";
import { previewOf } from "../data/validation/mapping/preview.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Datasets"];

const GET_HELP =
  "The fields of the first rows with samples, the mapping in use or the proposed one with the reason to ask, and what it makes of the first three rows. Send the mapping with `POST /v1/datasets/{id}/versions`.";

interface Call {
  actor: Actor;
  params: v.InferOutput<typeof Id>;
}

const handlers = (ctx: Ctx) => ({
  get: ({ actor, params, query }: Call & { query: v.InferOutput<typeof VersionQuery> }) =>
    mappingView(ctx, actor, params.id, query.version),
  async preview({
    actor,
    params,
    body,
  }: Call & { body: v.InferOutput<typeof PreviewRequest> }): Promise<v.InferOutput<typeof PreviewView>> {
    const { reading } = await readingOf(ctx, actor, params.id, body.version);
    return { object: "dataset.mapping.preview", ...previewView(previewOf(reading, body.mapping)) };
  },
});

export const datasetMappingApi = (ctx: Ctx) => {
  const route = handlers(ctx);
  return new Elysia({ name: "dataset-mapping.api", prefix: "/v1/datasets", seed: ctx.installation })
    .use(session(ctx))
    .get("/:id/mapping", route.get, {
      params: Id,
      query: VersionQuery,
      detail: {
        tags,
        summary: "Retrieve how the fields are read",
        description: GET_HELP,
        responses: answers(MappingView),
      },
    })
    .post("/:id/mapping/preview", route.preview, {
      params: Id,
      body: PreviewRequest,
      detail: { tags, summary: "Preview the first rows with a mapping", responses: answers(PreviewView) },
    });
};
