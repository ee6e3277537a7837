/** What the exports section of a tuned model's page does. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Ctx } from "../../../src/ctx.ts";
import { redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { FORMATS } from "../../../src/training/exports/model.ts";
import { createExport, deleteExport } from "../../../src/training/exports/service.ts";

const id = v.pipe(v.string(), v.maxLength(400));
const page = (model: string) => `/models/${encodeURIComponent(model)}#exports`;

export const exportsPages = (ctx: Ctx) =>
  new Elysia({ name: "exports.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .post(
      "/models/:id/exports",
      async ({ request, actor, params, body }) => {
        const made = await createExport(ctx, actor, params.id, body.format);
        return redirect(request, `/jobs/${made.id}`, "The export has begun.");
      },
      { params: v.object({ id }), body: v.object({ format: v.picklist(FORMATS) }) },
    )
    .post(
      "/models/:id/exports/:export/delete",
      async ({ request, actor, params }) => {
        await deleteExport(ctx, actor, params.export);
        return redirect(request, page(params.id), "The files are deleted.");
      },
      { params: v.object({ id, export: id }) },
    );
