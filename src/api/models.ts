/** JSON API of models: OpenAI's `/v1/models`, our `/v1/base_models`, and the files of artifacts. */
import { join } from "node:path";
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Ctx } from "../ctx.ts";
import { notFound } from "../errors.ts";
import { session } from "../http/session.ts";
import { importFromHub, importLocal, installBaseModel } from "../models/base/imports.ts";
import { ImportRequest } from "../models/base/model.ts";
import { acceptLicense, describeBaseModel, listCatalogue } from "../models/base/service.ts";
import { modelLineage } from "../models/tuned/lineage.ts";
import { artifactView } from "../models/tuned/model.ts";
import { importTuned } from "../models/tuned/promote.ts";
import { artifactDir, deleteModel, getArtifact, listModels, retrieveModel } from "../models/tuned/service.ts";

/** Ids of models hold `:` and, from the hub, `/` (sent as `%2F`): one path segment, decoded after routing. */
const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(400)) });
const models = { tags: ["Models"] };
const bases = { tags: ["Base models"] };

export const modelsApi = (ctx: Ctx) =>
  new Elysia({ name: "models.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/models", async ({ actor }) => ({ object: "list", data: await listModels(ctx, actor) }), {
      detail: { ...models, summary: "List the models you can chat with" },
    })
    .get("/models/:id", async ({ actor, params }) => retrieveModel(ctx, actor, params.id), {
      params: Id,
      detail: { ...models, summary: "Retrieve a model or a checkpoint" },
    })
    .delete(
      "/models/:id",
      async ({ actor, params }) => {
        await deleteModel(ctx, actor, params.id);
        return { id: params.id, object: "model", deleted: true };
      },
      { params: Id, detail: { ...models, summary: "Delete a tuned model" } },
    )
    .get("/models/:id/lineage", async ({ actor, params }) => modelLineage(ctx, actor, params.id), {
      params: Id,
      detail: { ...models, summary: "Where a model comes from and where it is used" },
    })
    .get(
      "/base_models",
      async ({ actor }) => ({ object: "list", data: await listCatalogue(ctx, actor), has_more: false }),
      {
        detail: { ...bases, summary: "List the catalogue and the installed base models" },
      },
    )
    .get("/base_models/:id", async ({ actor, params }) => describeBaseModel(ctx, actor, params.id), {
      params: Id,
      detail: { ...bases, summary: "Retrieve a base model" },
    })
    .post("/base_models/:id/install", async ({ actor, params }) => installBaseModel(ctx, actor, params.id), {
      params: Id,
      detail: { ...bases, summary: "Install a base model of the catalogue, in the background" },
    })
    .post("/base_models/:id/license", async ({ actor, params }) => acceptLicense(ctx, actor, params.id), {
      params: Id,
      detail: { ...bases, summary: "Accept the license of a base model for your organization" },
    })
    .post(
      "/base_models/import",
      async ({ actor, body }) =>
        body.source === "hub"
          ? importFromHub(ctx, actor, body)
          : body.source === "tuned"
            ? importTuned(ctx, actor, body)
            : importLocal(ctx, actor, body),
      {
        body: ImportRequest,
        detail: { ...bases, summary: "Import a base model from the hub, a local directory or a tuned model" },
      },
    )
    .get("/artifacts/:id", async ({ actor, params }) => artifactView(await getArtifact(ctx, actor, params.id)), {
      params: Id,
      detail: { ...models, summary: "List the files of an artifact" },
    })
    .get(
      "/artifacts/:id/content/*",
      async ({ actor, params }) => {
        const row = await getArtifact(ctx, actor, params.id);
        // Only paths of the stored list are served, so no path of a request ever reaches the disk.
        const file = row.files.find((one) => one.path === params["*"]);
        if (!file) throw notFound("artifact_file", params["*"]);
        const name = file.path.split("/").at(-1) ?? "file";
        return new Response(Bun.file(join(artifactDir(ctx, row.id), file.path)), {
          headers: {
            "content-type": "application/octet-stream",
            "content-disposition": `attachment; filename="${name}"`,
            etag: `"${file.sha256}"`,
            "x-content-type-options": "nosniff",
          },
        });
      },
      { detail: { ...models, summary: "Download a file of an artifact" } },
    );
