/** JSON API of exports, model cards and provenance of fine-tuned models. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { answers, answersType } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { wholeList, wholeListOf } from "../lib/page.ts";
import { cardOf } from "../training/exports/card.ts";
import { CreateExport, DeletedExport, ExportView, PassportKey, PassportView } from "../training/exports/model.ts";
import { passportKey, passportOf } from "../training/exports/passport.ts";
import { createExport, deleteExport, getExport, listExports } from "../training/exports/service.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(400)) });
const tags = ["Exports"];

interface Request {
  actor: Actor;
  params: v.InferOutput<typeof Id>;
}

function routes(ctx: Ctx) {
  return {
    create: ({ actor, params, body }: Request & { body: v.InferOutput<typeof CreateExport> }) =>
      createExport(ctx, actor, params.id, body.format),
    list: async ({ actor, params }: Request) => wholeList(await listExports(ctx, actor, params.id)),
    retrieve: ({ actor, params }: Request) => getExport(ctx, actor, params.id),
    remove: async ({ actor, params }: Request) => {
      await deleteExport(ctx, actor, params.id);
      return { id: params.id, object: "model.export" as const, deleted: true as const };
    },
    passport: ({ actor, params }: Request) => passportOf(ctx, actor, params.id),
    key: () => passportKey(ctx),
    card: async ({ actor, params }: Request) =>
      new Response(await cardOf(ctx, actor, params.id), {
        headers: { "content-type": "text/markdown; charset=utf-8" },
      }),
  };
}

export const exportsApi = (ctx: Ctx) => {
  const { create, list, retrieve, remove, passport, key, card } = routes(ctx);
  return new Elysia({ name: "exports.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .post("/models/:id/exports", create, {
      params: Id,
      body: CreateExport,
      detail: {
        tags,
        summary: "Export a fine-tuned model",
        description:
          "Merges the adapter into its base and writes safetensors or GGUF. The files are compared with the trained model before they are published; the report is `fidelity`.",
        responses: answers(ExportView),
      },
    })
    .get("/models/:id/exports", list, {
      params: Id,
      detail: { tags, summary: "List the exports of a fine-tuned model", responses: answers(wholeListOf(ExportView)) },
    })
    .get("/models/:id/passport", passport, {
      params: Id,
      detail: {
        tags,
        summary: "Retrieve the signed provenance of a fine-tuned model",
        description:
          "How the model was created: base model and data by hash, the full specification, trainer and packages, scores, and the hashes of its files, signed with the installation's Ed25519 key.",
        responses: answers(PassportView),
      },
    })
    .get("/passport_key", key, {
      detail: {
        tags,
        summary: "Retrieve the public key of provenance signatures",
        responses: answers(PassportKey),
      },
    })
    .get("/models/:id/card", card, {
      params: Id,
      detail: {
        tags,
        summary: "Retrieve the model card of a fine-tuned model",
        responses: answersType("text/markdown", "The model card with the header that model hubs read."),
      },
    })
    .get("/exports/:id", retrieve, {
      params: Id,
      detail: { tags, summary: "Retrieve an export with its files and its report", responses: answers(ExportView) },
    })
    .delete("/exports/:id", remove, {
      params: Id,
      detail: { tags, summary: "Delete the files of an export", responses: answers(DeletedExport) },
    });
};
