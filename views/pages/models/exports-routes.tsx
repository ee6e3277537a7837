/** Form actions of the export section on a fine-tuned model's page. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { CreateExport } from "../../../src/training/exports/model.ts";
import { createExport, deleteExport } from "../../../src/training/exports/service.ts";

const id = v.pipe(v.string(), v.maxLength(400));
const Model = v.object({ id });
const Export = v.object({ id, export: id });
const Create = v.object(CreateExport.entries);

interface Visit {
  request: Request;
  actor: Actor;
}

function handlers(ctx: Ctx) {
  const create = async (visit: Visit & { params: { id: string }; body: v.InferOutput<typeof Create> }) => {
    const { request, actor, params, body } = visit;
    const created = await createExport(ctx, actor, params.id, body.format);
    return redirect(request, `/jobs/${created.id}`, "The export has started.");
  };
  const remove = async ({ request, actor, params }: Visit & { params: v.InferOutput<typeof Export> }) => {
    await deleteExport(ctx, actor, params.export);
    return redirect(request, `/models/${encodeURIComponent(params.id)}#exports`, "Files deleted.");
  };
  return { create, remove };
}

export const exportsPages = (ctx: Ctx) => {
  const { create, remove } = handlers(ctx);
  return new Elysia({ name: "exports.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .post("/models/:id/exports", create, { params: Model, body: Create })
    .post("/models/:id/exports/:export/delete", remove, { params: Export });
};
