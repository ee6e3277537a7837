/** Pages and forms that change a dataset: edit a row, upload a version, merge, rename, label, download faulty rows. */
import { rm } from "node:fs/promises";
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { editRow, rowSource } from "../../../src/data/datasets/edit.ts";
import { faultyRows } from "../../../src/data/datasets/export.ts";
import { newVersionOf } from "../../../src/data/datasets/new-version.ts";
import { addRowsOf } from "../../../src/data/datasets/rows.ts";
import { getDataset, updateDataset } from "../../../src/data/datasets/service.ts";
import { versionOf } from "../../../src/data/datasets/versions.ts";
import { readUpload } from "../../../src/data/files/forms.ts";
import { AppError, ERROR_TABLE, errorBody } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { rowsDownload } from "../../../src/http/stored-file.ts";
import { filledName } from "../../../src/lib/text/names.ts";
import { EditRowPage } from "./edit.tsx";
import { spread } from "./spread.ts";

const text = (max: number) => v.pipe(v.string(), v.maxLength(max));
const Id = v.object({ id: text(100) });
const RowId = v.object({ id: text(100), line: v.pipe(v.string(), v.regex(/^[1-9]\d{0,14}$/), v.transform(Number)) });
const EditForm = v.object({ text: v.optional(text(1_100_000), ""), leave_out: v.optional(text(10)) });
const MergeForm = v.object({ dataset: text(100) });
const StaysForm = v.object({ stays_local: v.picklist(["true", "false"]) });
const RenameForm = v.object({ name: filledName(200) });
const FaultyQuery = v.object({ version: v.optional(text(100)) });

interface Call {
  request: Request;
  actor: Actor;
  params: { id: string };
}
interface OnRow extends Call {
  params: { id: string; line: number };
}
interface Upload extends Call {
  server: { timeout(request: Request, seconds: number): void } | null;
}

async function editPage(ctx: Ctx, { request, actor, params }: OnRow, kept?: { text: string; error: string }) {
  const dataset = await getDataset(ctx, actor, params.id);
  const { text: source, container, problems } = await rowSource(ctx, actor, params.id, params.line);
  const shown = kept?.text ?? (container === "csv" ? source : spread(source));
  const props = { dataset, line: params.line, text: shown, problems, error: kept?.error ?? null };
  return html(pageOf(ctx, request, actor), <EditRowPage {...props} />, { status: kept ? 422 : 200 });
}

/** Makes the file of a request the newest version, and returns the path of the dataset. */
async function receiveVersion(ctx: Ctx, { request, actor, params }: Call): Promise<string> {
  const of = await getDataset(ctx, actor, params.id);
  const newest = await versionOf(ctx, actor, of.id);
  const limit = ctx.config.max_upload_bytes;
  const { received, filename } = await readUpload(ctx, request, { field: "file", limit, raw: true, org: actor.org });
  try {
    await newVersionOf(ctx, actor, of, newest, { received, filename });
  } finally {
    await rm(received.path, { force: true });
  }
  return `/datasets/${of.id}`;
}

const handlers = (ctx: Ctx) => ({
  edit: (visit: OnRow) => editPage(ctx, visit),
  async save(visit: OnRow & { body: v.InferOutput<typeof EditForm> }) {
    const { request, actor, params, body } = visit;
    try {
      await editRow(ctx, actor, params.id, params.line, body.leave_out ? null : body.text);
    } catch (error) {
      if (!(error instanceof AppError) || error.kind === "internal" || error.kind === "not_found") throw error;
      return editPage(ctx, visit, { text: body.text, error: error.message });
    }
    const done = body.leave_out ? `Line ${params.line} was left out.` : `Line ${params.line} was replaced.`;
    return redirect(request, `/datasets/${params.id}`, done);
  },
  async merge({ request, actor, params, body }: Call & { body: v.InferOutput<typeof MergeForm> }) {
    await addRowsOf(ctx, actor, params.id, body.dataset);
    return redirect(request, `/datasets/${params.id}`, "The rows were added as a new version.");
  },
  async rename({ request, actor, params, body }: Call & { body: v.InferOutput<typeof RenameForm> }) {
    await updateDataset(ctx, actor, params.id, { name: body.name });
    return redirect(request, `/datasets/${params.id}`, "Renamed.");
  },
  async staysLocal({ request, actor, params, body }: Call & { body: v.InferOutput<typeof StaysForm> }) {
    const stays = body.stays_local === "true";
    await updateDataset(ctx, actor, params.id, { stays_local: stays });
    const said = stays ? "Its rows stay on this server's machine." : "Its rows may leave this machine again.";
    return redirect(request, `/datasets/${params.id}`, said);
  },
  async faulty({ request, actor, params, query }: Call & { query: v.InferOutput<typeof FaultyQuery> }) {
    const { version, rows } = await faultyRows(ctx, actor, params.id, query.version, request.signal);
    return rowsDownload(`${version.id}-faulty-rows.jsonl`, rows);
  },
  async upload(upload: Upload) {
    upload.server?.timeout(upload.request, 0);
    return redirect(upload.request, await receiveVersion(ctx, upload));
  },
  /** Answers the upload script with JSON, also on errors, because it shows the message next to the file. */
  async uploadByScript(upload: Upload) {
    upload.server?.timeout(upload.request, 0);
    try {
      return Response.json({ url: await receiveVersion(ctx, upload) });
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      return Response.json(errorBody(error), { status: ERROR_TABLE[error.kind].status });
    }
  },
});

export const datasetRepairPages = (ctx: Ctx) => {
  const route = handlers(ctx);
  return new Elysia({ name: "dataset-repair.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/datasets/:id/rows/:line", route.edit, { params: RowId })
    .post("/datasets/:id/rows/:line", route.save, { params: RowId, body: EditForm })
    .get("/datasets/:id/faulty-rows", route.faulty, { params: Id, query: FaultyQuery })
    .post("/datasets/:id/merge", route.merge, { params: Id, body: MergeForm })
    .post("/datasets/:id/rename", route.rename, { params: Id, body: RenameForm })
    .post("/datasets/:id/stays-local", route.staysLocal, { params: Id, body: StaysForm })
    .put("/datasets/:id/upload", route.uploadByScript, { params: Id, parse: "none" })
    .post("/datasets/:id/upload", route.upload, { params: Id, parse: "none" });
};
