/** JSON API of exports: tuned models as merged safetensors or GGUF, each with the report of its comparison. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Ctx } from "../ctx.ts";
import { session } from "../http/session.ts";
import { CreateExport } from "../training/exports/model.ts";
import { cardOf, passportKey, passportOf } from "../training/exports/passport.ts";
import { createExport, deleteExport, getExport, listExports } from "../training/exports/service.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(400)) });
const tags = ["Exports"];

export const exportsApi = (ctx: Ctx) =>
  new Elysia({ name: "exports.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .post("/models/:id/exports", async ({ actor, params, body }) => createExport(ctx, actor, params.id, body.format), {
      params: Id,
      body: CreateExport,
      detail: {
        tags,
        summary: "Export a tuned model",
        description:
          "Merges the adapter into its base and writes safetensors or GGUF. The files are read back and compared with the trained model before they are published; the report is `fidelity`.",
      },
    })
    .get(
      "/models/:id/exports",
      async ({ actor, params }) => ({
        object: "list",
        data: await listExports(ctx, actor, params.id),
        has_more: false,
      }),
      { params: Id, detail: { tags, summary: "List the exports of a tuned model" } },
    )
    .get("/models/:id/passport", async ({ actor, params }) => passportOf(ctx, actor, params.id), {
      params: Id,
      detail: {
        tags,
        summary: "Retrieve the signed run passport of a tuned model",
        description:
          "What the model is made of and how: data and base by hash, the whole specification, trainer and packages, figures, and the hashes of its files, signed with the installation's Ed25519 key.",
      },
    })
    .get("/passport_key", () => passportKey(ctx), {
      detail: { tags, summary: "The public key that run passports are signed with" },
    })
    .get(
      "/models/:id/card",
      async ({ actor, params }) =>
        new Response(await cardOf(ctx, actor, params.id), {
          headers: { "content-type": "text/markdown; charset=utf-8" },
        }),
      { params: Id, detail: { tags, summary: "The model card of a tuned model, as Markdown" } },
    )
    .get("/exports/:id", async ({ actor, params }) => getExport(ctx, actor, params.id), {
      params: Id,
      detail: { tags, summary: "Retrieve an export with its files and its report" },
    })
    .delete(
      "/exports/:id",
      async ({ actor, params }) => {
        await deleteExport(ctx, actor, params.id);
        return { id: params.id, object: "model.export", deleted: true };
      },
      { params: Id, detail: { tags, summary: "Delete the files of an export" } },
    );
