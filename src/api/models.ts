/** JSON API of models: OpenAI's `/v1/models`, our `/v1/base_models`, and the files of artifacts. */
import { join } from "node:path";
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { notFound } from "../errors.ts";
import { answers, answersFile, answersType } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { downloadResponse, storedArchive } from "../http/stored-file.ts";
import { wholeList } from "../lib/page.ts";
import { importFromHub, importLocal, importPackage, installBaseModel } from "../models/base/imports.ts";
import { BaseModelView, ImportRequest } from "../models/base/model.ts";
import { acceptLicense, describeBaseModel, listCatalogue } from "../models/base/service.ts";
import { modelLineage } from "../models/tuned/lineage.ts";
import { ArtifactView, artifactView, DeletedModel, LineageView, ModelList, ModelView } from "../models/tuned/model.ts";
import { importTuned } from "../models/tuned/promote.ts";
import { deleteModel, getArtifact, listModels, retrieveModel } from "../models/tuned/service.ts";
import { UpdateModel, updateModel } from "../models/tuned/stays-local.ts";
import { downloadOf } from "../objects/downloads.ts";
import { localUnit } from "../objects/local.ts";
import { FittedModel, FittedModelList, fitter } from "../training/plan/fits.ts";

/** Model ids contain `:` and, from the hub, `/` (sent as `%2F`): one path segment, decoded after routing. */
const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(400)) });
const models = { tags: ["Models"] };
const bases = { tags: ["Base models"] };

/** What every handler here uses of a request. */
interface Request {
  actor: Actor;
  params: { id: string };
}

function modelRoutes(ctx: Ctx) {
  return {
    list: async ({ actor }: Pick<Request, "actor">) => ({
      object: "list" as const,
      data: await listModels(ctx, actor),
    }),
    retrieve: ({ actor, params }: Request) => retrieveModel(ctx, actor, params.id),
    remove: async ({ actor, params }: Request) => {
      await deleteModel(ctx, actor, params.id);
      return { id: params.id, object: "model" as const, deleted: true as const };
    },
    update: async ({ actor, params, body }: Request & { body: v.InferOutput<typeof UpdateModel> }) => {
      await updateModel(ctx, actor, params.id, body);
      return modelLineage(ctx, actor, params.id);
    },
    lineage: ({ actor, params }: Request) => modelLineage(ctx, actor, params.id),
  };
}

function baseRoutes(ctx: Ctx) {
  return {
    list: async ({ actor }: Pick<Request, "actor">) =>
      wholeList((await listCatalogue(ctx, actor)).map(await fitter(ctx, actor))),
    retrieve: async ({ actor, params }: Request) => {
      const model = await describeBaseModel(ctx, actor, params.id);
      return (await fitter(ctx, actor))(model);
    },
    install: ({ actor, params }: Request) => installBaseModel(ctx, actor, params.id),
    accept: ({ actor, params }: Request) => acceptLicense(ctx, actor, params.id),
    import: ({ actor, body }: { actor: Actor; body: v.InferOutput<typeof ImportRequest> }) => {
      if (body.source === "hub") return importFromHub(ctx, actor, body);
      if (body.source === "package") return importPackage(ctx, actor, body);
      return body.source === "tuned" ? importTuned(ctx, actor, body) : importLocal(ctx, actor, body);
    },
  };
}

function artifactRoutes(ctx: Ctx) {
  return {
    retrieve: async ({ actor, params }: Request) => artifactView(await getArtifact(ctx, actor, params.id)),
    download: async ({ actor, params }: { actor: Actor; params: { id: string; "*": string } }) => {
      const row = await getArtifact(ctx, actor, params.id);
      // Only paths in the stored list are served, so no path of a request reaches the disk.
      const file = row.files.find((one) => one.path === params["*"]);
      if (!file) throw notFound("artifact_file", params["*"]);
      const name = file.path.split("/").at(-1) ?? "file";
      const from = await downloadOf(ctx, { folder: "artifacts", id: row.id }, file.path, name);
      return downloadResponse(from, name, { etag: `"${file.sha256}"` });
    },
    archive: async ({ actor, params }: Request) => {
      const row = await getArtifact(ctx, actor, params.id);
      const folder = `${row.kind}-${row.id}`;
      const root = await localUnit(ctx, { folder: "artifacts", id: row.id });
      const files = row.files.map((file) => ({
        name: `${folder}/${file.path}`,
        path: join(root, file.path),
        size: file.size,
      }));
      return storedArchive(`${folder}.tar`, [`${folder}/`], files);
    },
  };
}

export const modelsApi = (ctx: Ctx) => {
  const [model, base, artifact] = [modelRoutes(ctx), baseRoutes(ctx), artifactRoutes(ctx)];
  return new Elysia({ name: "models.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/models", model.list, {
      detail: { ...models, summary: "List the models you can chat with", responses: answers(ModelList) },
    })
    .get("/models/:id", model.retrieve, {
      params: Id,
      detail: { ...models, summary: "Retrieve a model or a checkpoint", responses: answers(ModelView) },
    })
    .delete("/models/:id", model.remove, {
      params: Id,
      detail: { ...models, summary: "Delete a fine-tuned model", responses: answers(DeletedModel) },
    })
    .post("/models/:id", model.update, {
      params: Id,
      body: UpdateModel,
      detail: {
        ...models,
        summary: "Keep a fine-tuned model on this server, or let it leave",
        description:
          "Only the model's owner and the managers of the team may take the label away, and give a `reason`. It holds for its checkpoints, its exports and the base models made from it.",
        responses: answers(LineageView),
      },
    })
    .get("/models/:id/lineage", model.lineage, {
      params: Id,
      detail: {
        ...models,
        summary: "Where a model comes from and where it is used",
        responses: answers(LineageView),
      },
    })
    .get("/base_models", base.list, {
      detail: {
        ...bases,
        summary: "List the catalogue and the installed base models",
        responses: answers(FittedModelList),
      },
    })
    .get("/base_models/:id", base.retrieve, {
      params: Id,
      detail: { ...bases, summary: "Retrieve a base model", responses: answers(FittedModel) },
    })
    .post("/base_models/:id/install", base.install, {
      params: Id,
      detail: {
        ...bases,
        summary: "Install a base model of the catalogue, in the background",
        responses: answers(BaseModelView),
      },
    })
    .post("/base_models/:id/license", base.accept, {
      params: Id,
      detail: {
        ...bases,
        summary: "Accept the license of a base model for your organization",
        responses: answers(BaseModelView),
      },
    })
    .post("/base_models/import", base.import, {
      body: ImportRequest,
      detail: {
        ...bases,
        summary: "Import a base model from the hub, a local directory or a fine-tuned model",
        responses: answers(BaseModelView),
      },
    })
    .get("/artifacts/:id", artifact.retrieve, {
      params: Id,
      detail: { ...models, summary: "List the files of an artifact", responses: answers(ArtifactView) },
    })
    .get("/artifacts/:id/archive", artifact.archive, {
      params: Id,
      detail: {
        ...models,
        summary: "Download all files of an artifact as a tar archive",
        responses: answersType("application/x-tar", "The archive, with one folder."),
      },
    })
    .get("/artifacts/:id/content/*", artifact.download, {
      detail: {
        ...models,
        summary: "Download a file of an artifact",
        responses: answersFile("The file."),
      },
    });
};
