/** Pages of models: the list, a base model, and a fine-tuned model. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { withCreators } from "../../../src/accounts/organizations/creators.ts";
import { listRemoved } from "../../../src/accounts/restrictions/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect, safePath } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { filledName } from "../../../src/lib/text/names.ts";
import { importFromHub, importLocal, importPackage, installBaseModel } from "../../../src/models/base/imports.ts";
import { ImportHub, ImportLocal, ImportPackage, ImportTuned } from "../../../src/models/base/model.ts";
import { acceptLicense, describeBaseModel, listCatalogue } from "../../../src/models/base/service.ts";
import { listTuned } from "../../../src/models/tuned/list.ts";
import { importTuned } from "../../../src/models/tuned/promote.ts";
import { deleteModel } from "../../../src/models/tuned/service.ts";
import { updateModel } from "../../../src/models/tuned/stays-local.ts";
import { fitter } from "../../../src/training/plan/fits.ts";
import { BaseModelPage, BaseModelState, BaseNext } from "./base.tsx";
import { BaseList } from "./base-list.tsx";
import { ModelsPage, type ModelsProps, TunedList } from "./list.tsx";
import { showTuned } from "./tuned-routes.tsx";

const PAGE = 25;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const ListQuery = v.object({ tab: text(20), q: text(200), after: text(300), show: text(20), created_by: text(100) });
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(400)) });
const ImportForm = v.object({ source: text(20), value: text(4200), id: text(100) });

const Install = v.optional(v.object({ next: text(200) }));
const License = v.object({ accept: text(10) });
const Stays = v.object({ stays_local: v.picklist(["true", "false"]), reason: v.optional(filledName(500)) });
const Delete = v.object({ confirm: text(400) });
type ListQuery = v.InferOutput<typeof ListQuery>;
type Import = v.InferOutput<typeof ImportForm>;

/** What every handler gets. */
interface Visit {
  request: Request;
  actor: Actor;
}
interface ModelVisit extends Visit {
  params: v.InferOutput<typeof Id>;
}

const pathOf = (id: string) => `/models/${encodeURIComponent(id)}`;

/** The import request of the form, whose value is a directory, `owner/name@revision` or a fine-tuned model's id. */
function importRequest(form: Import) {
  const id = form.id || undefined;
  if (form.source === "tuned") return v.safeParse(ImportTuned, { source: "tuned", model: form.value, id });
  if (form.source === "package") return v.safeParse(ImportPackage, { source: "package", id });
  if (form.source !== "hub") return v.safeParse(ImportLocal, { source: "local", directory: form.value, id });
  const [repo, revision] = form.value.split("@");
  return v.safeParse(ImportHub, { source: "hub", repo, revision, id });
}

async function listProps(ctx: Ctx, actor: Actor, query: ListQuery): Promise<ModelsProps> {
  const { q: search, after, created_by: createdBy } = query;
  const tuned = await listTuned(ctx, actor, { search, after, createdBy, limit: PAGE });
  return {
    tab: query.tab === "base" ? "base" : "tuned",
    tuned: { ...tuned, items: await withCreators(ctx, tuned.items, (row) => row.createdBy) },
    removed: await listRemoved(ctx, actor.org, "model"),
    bases: (await listCatalogue(ctx, actor)).map(await fitter(ctx, actor)),
    show: { q: query.q, which: query.show },
    admin: actor.role === "admin",
  };
}

/** Starts the import that the form asks for. @throws AppError with the field in `param` */
async function startImport(ctx: Ctx, actor: Actor, form: Import) {
  const parsed = importRequest(form);
  if (!parsed.success) {
    const issue = parsed.issues[0];
    throw new AppError("invalid", "invalid_value", issue.message, { param: v.getDotPath(issue) });
  }
  const { output } = parsed;
  if (output.source === "hub") return importFromHub(ctx, actor, output);
  if (output.source === "package") return importPackage(ctx, actor, output);
  return output.source === "tuned" ? importTuned(ctx, actor, output) : importLocal(ctx, actor, output);
}

function listHandlers(ctx: Ctx) {
  const show = async ({ request, actor, query }: Visit & { query: ListQuery }) => {
    const props = await listProps(ctx, actor, query);
    return html(pageOf(ctx, request, actor), <ModelsPage {...props} />, {
      fragments: { tuned: () => <TunedList {...props} />, bases: () => <BaseList {...props} /> },
    });
  };
  const importModel = async ({ request, actor, body }: Visit & { body: Import }) => {
    try {
      const { id } = await startImport(ctx, actor, body);
      return redirect(request, pathOf(id), "The import has started.");
    } catch (error) {
      if (!(error instanceof AppError) || error.kind === "internal") throw error;
      const props = await listProps(ctx, actor, { tab: "base", q: "", after: "", show: "", created_by: "" });
      const importForm = { ...body, error: error.message, field: error.param ?? "" };
      return html(pageOf(ctx, request, actor), <ModelsPage {...props} importForm={importForm} />, {
        status: ERROR_TABLE[error.kind].status,
      });
    }
  };
  return { show, importModel };
}

async function showBase(ctx: Ctx, { request, actor, params }: ModelVisit) {
  const row = (await fitter(ctx, actor))(await describeBaseModel(ctx, actor, params.id));
  return html(pageOf(ctx, request, actor), <BaseModelPage row={row} admin={actor.role === "admin"} />, {
    fragments: { state: () => <BaseModelState row={row} />, next: () => <BaseNext row={row} /> },
  });
}

function modelHandlers(ctx: Ctx) {
  const show = (visit: ModelVisit) =>
    visit.params.id.startsWith("ft:") ? showTuned(ctx, visit) : showBase(ctx, visit);
  const install = async ({ request, actor, params, body }: ModelVisit & { body: v.InferOutput<typeof Install> }) => {
    await installBaseModel(ctx, actor, params.id);
    return redirect(request, body?.next ? safePath(body.next) : pathOf(params.id));
  };
  const accept = async ({ request, actor, params, body }: ModelVisit & { body: v.InferOutput<typeof License> }) => {
    if (body.accept !== "yes")
      throw new AppError("invalid", "not_accepted", "Check the box to accept the license.", { param: "accept" });
    await acceptLicense(ctx, actor, params.id);
    return redirect(request, pathOf(params.id), "License accepted.");
  };
  const remove = async ({ request, actor, params, body }: ModelVisit & { body: v.InferOutput<typeof Delete> }) => {
    if (body.confirm !== params.id)
      throw new AppError("invalid", "not_confirmed", "Type the model's id to delete it.", { param: "confirm" });
    await deleteModel(ctx, actor, params.id);
    return redirect(request, "/models", "Model deleted. Its job and metrics stay.");
  };
  const stays = async ({ request, actor, params, body }: ModelVisit & { body: v.InferOutput<typeof Stays> }) => {
    const keeps = body.stays_local === "true";
    await updateModel(ctx, actor, params.id, { stays_local: keeps, reason: body.reason?.trim() || undefined });
    return redirect(request, pathOf(params.id), keeps ? "It stays on this server." : "It may leave this server.");
  };
  return { show, install, accept, remove, stays };
}

export const modelsPages = (ctx: Ctx) => {
  const [list, model] = [listHandlers(ctx), modelHandlers(ctx)];
  return new Elysia({ name: "models.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/models", list.show, { query: ListQuery })
    .post("/models/import", list.importModel, { body: ImportForm })
    .get("/models/:id", model.show, { params: Id })
    .post("/models/:id/install", model.install, { params: Id, body: Install })
    .post("/models/:id/license", model.accept, { params: Id, body: License })
    .post("/models/:id/stays-local", model.stays, { params: Id, body: Stays })
    .post("/models/:id/delete", model.remove, { params: Id, body: Delete });
};
