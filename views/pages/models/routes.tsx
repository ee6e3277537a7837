/** Pages of models: what was tuned here, base models, and one model with its line of descent. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect, safePath } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { importFromHub, importLocal, installBaseModel } from "../../../src/models/base/imports.ts";
import { ImportHub, ImportLocal, ImportTuned } from "../../../src/models/base/model.ts";
import { acceptLicense, describeBaseModel, listCatalogue } from "../../../src/models/base/service.ts";
import { modelLineage } from "../../../src/models/tuned/lineage.ts";
import { listTuned } from "../../../src/models/tuned/list.ts";
import { importTuned } from "../../../src/models/tuned/promote.ts";
import { deleteModel } from "../../../src/models/tuned/service.ts";
import { isOwnFormat } from "../../../src/training/exports/model.ts";
import { formatsHere, listExports } from "../../../src/training/exports/service.ts";
import { BaseModelPage, BaseModelState, BaseNext } from "./base.tsx";
import { BaseList, ModelsPage, type ModelsProps, TunedList } from "./list.tsx";
import { TunedModelPage } from "./tuned.tsx";

const PAGE = 25;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const ListQuery = v.object({ tab: text(20), q: text(200), after: text(300) });
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(400)) });
const ImportForm = v.object({ source: text(20), value: text(4200), id: text(100) });

/** The form's one line as the request it stands for: a directory, `owner/name@revision` or a tuned model's id. */
function importRequest(form: v.InferOutput<typeof ImportForm>) {
  const id = form.id || undefined;
  if (form.source === "tuned") return v.safeParse(ImportTuned, { source: "tuned", model: form.value, id });
  if (form.source !== "hub") return v.safeParse(ImportLocal, { source: "local", directory: form.value, id });
  const [repo, revision] = form.value.split("@");
  return v.safeParse(ImportHub, { source: "hub", repo, revision, id });
}

export const modelsPages = (ctx: Ctx) => {
  const props = async (actor: Actor, query: v.InferOutput<typeof ListQuery>): Promise<ModelsProps> => ({
    tab: query.tab === "base" ? "base" : "tuned",
    tuned: await listTuned(ctx, actor, { search: query.q, after: query.after, limit: PAGE }),
    bases: await listCatalogue(ctx, actor),
    admin: actor.role === "admin",
  });

  return new Elysia({ name: "models.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get(
      "/models",
      async ({ request, actor, query }) => {
        const of = await props(actor, query);
        return html(pageOf(ctx, request, actor), <ModelsPage {...of} />, {
          fragments: { tuned: () => <TunedList {...of} />, bases: () => <BaseList {...of} /> },
        });
      },
      { query: ListQuery },
    )
    .post(
      "/models/import",
      async ({ request, actor, body }) => {
        const parsed = importRequest(body);
        try {
          if (!parsed.success) {
            const issue = parsed.issues[0];
            throw new AppError("invalid", "invalid_value", issue.message, { param: v.getDotPath(issue) });
          }
          const { output } = parsed;
          const made = await (output.source === "hub"
            ? importFromHub(ctx, actor, output)
            : output.source === "tuned"
              ? importTuned(ctx, actor, output)
              : importLocal(ctx, actor, output));
          return redirect(request, `/models/${encodeURIComponent(made.id)}`, "The import has begun.");
        } catch (error) {
          if (!(error instanceof AppError) || error.kind === "internal") throw error;
          const of = await props(actor, { tab: "base", q: "", after: "" });
          const importForm = { ...body, error: error.message, field: error.param ?? "" };
          return html(pageOf(ctx, request, actor), <ModelsPage {...of} importForm={importForm} />, {
            status: ERROR_TABLE[error.kind].status,
          });
        }
      },
      { body: ImportForm },
    )
    .get(
      "/models/:id",
      async ({ request, actor, params }) => {
        const page = pageOf(ctx, request, actor);
        if (!params.id.startsWith("ft:")) {
          const row = await describeBaseModel(ctx, actor, params.id);
          return html(page, <BaseModelPage row={row} />, {
            fragments: { state: () => <BaseModelState row={row} />, next: () => <BaseNext row={row} /> },
          });
        }
        const lineage = await modelLineage(ctx, actor, params.id);
        const exports = await listExports(ctx, actor, params.id);
        const baseUrl = ctx.config.public_url?.replace(/\/$/, "") ?? page.info.url.origin;
        return html(
          page,
          <TunedModelPage
            lineage={lineage}
            exports={exports}
            formats={formatsHere().filter((format) => !isOwnFormat(lineage, format))}
            baseUrl={baseUrl}
            isCheckpoint={/:ckpt-step-\d+$/.test(params.id)}
          />,
        );
      },
      { params: Id },
    )
    .post(
      "/models/:id/install",
      async ({ request, actor, params, body }) => {
        await installBaseModel(ctx, actor, params.id);
        return redirect(request, body?.next ? safePath(body.next) : `/models/${encodeURIComponent(params.id)}`);
      },
      { params: Id, body: v.optional(v.object({ next: text(200) })) },
    )
    .post(
      "/models/:id/license",
      async ({ request, actor, params, body }) => {
        if (body.accept !== "yes")
          throw new AppError("invalid", "not_accepted", "Tick the box to accept the license.", { param: "accept" });
        await acceptLicense(ctx, actor, params.id);
        return redirect(request, `/models/${encodeURIComponent(params.id)}`, "The license is accepted.");
      },
      { params: Id, body: v.object({ accept: text(10) }) },
    )
    .post(
      "/models/:id/delete",
      async ({ request, actor, params, body }) => {
        if (body.confirm !== params.id)
          throw new AppError("invalid", "not_confirmed", "Type the model's id to delete it.", { param: "confirm" });
        await deleteModel(ctx, actor, params.id);
        return redirect(request, "/models", "The model is deleted. Its job and numbers stay.");
      },
      { params: Id, body: v.object({ confirm: text(400) }) },
    );
};
