/** /v1/datasets: datasets from an uploaded file or with the upload itself; versions, reports, rows and token counts. */
import { rm } from "node:fs/promises";
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { mappingFrom } from "../data/datasets/mapping.ts";
import {
  AddRow,
  CreateDataset,
  CreateVersion,
  DatasetView,
  DeletedDataset,
  datasetView,
  OverlapQuery,
  OverlapView,
  ReportView,
  RowList,
  RowsQuery,
  readingGiven,
  rowListView,
  TokensQuery,
  TokensView,
  tokensView,
  UpdateDataset,
  VersionQuery,
  type VersionSettings,
  VersionView,
  versionView,
} from "../data/datasets/model.ts";
import { overlapWith } from "../data/datasets/overlap-with.ts";
import { addRow, readRows, tokenStats } from "../data/datasets/rows.ts";
import { createDataset, deleteDataset, getDataset, listDatasets, updateDataset } from "../data/datasets/service.ts";
import { createVersion, listVersions, versionOf } from "../data/datasets/versions.ts";
import { nested, parseWith, readUpload } from "../data/files/forms.ts";
import { getFile, keepFile } from "../data/files/service.ts";
import type { VersionOptions } from "../data/validation/records.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { backupsSince } from "../insights/installation/backups.ts";
import { bodyTooLarge, readBytes } from "../lib/body.ts";
import { CreatedPageQuery, listOf, pageOf } from "../lib/page.ts";
import { writeExact } from "../lib/text/exact-json.ts";
import { parseJson } from "../lib/text/json.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const DeleteQuery = v.strictObject({ keep_file: v.optional(v.picklist(["true", "false"])) });
const tags = ["Datasets"];
const MAX_JSON = 1024 ** 2;
const JSON_TYPE = { "content-type": "application/json;charset=utf-8" };
const UploadFields = v.omit(CreateDataset, ["file_id"]);

const CREATE_HELP =
  'JSON `{"file_id": …}` for an uploaded file; or multipart/form-data with `file` and, optionally, `name`, `description`, `stays_local`, `holdout_fraction`, `seed`, `skip_bad`, `remove_duplicates`, `mapping[prompt]`, `mapping[completion]` and the other parts of a mapping, `mapping_from` (a dataset or version whose mapping is used), `encoding`, `part`, `repair_text`; or the raw bytes with `?filename=`.';
const ADD_ROW_HELP =
  "A row of OpenAI chat JSONL, for versions with chat rows only. The new version has the rows of the newest version, this row at the end, and the same settings. The old version does not change.";

interface Call {
  actor: Actor;
  params: v.InferOutput<typeof Id>;
}
type With<Name extends "query" | "body", S extends v.GenericSchema> = Call & Record<Name, v.InferOutput<S>>;
interface Upload {
  actor: Actor;
  request: Request;
  server: { timeout(request: Request, seconds: number): void } | null;
}

async function settings(ctx: Ctx, actor: Actor, given: v.InferOutput<typeof VersionSettings>): Promise<VersionOptions> {
  const { mapping, mapping_from: of } = given;
  return {
    mapping: mapping ?? (of ? await mappingFrom(ctx, actor, of) : mapping),
    holdoutFraction: given.holdout_fraction,
    seed: given.seed,
    skipBad: given.skip_bad,
    removeDuplicates: given.remove_duplicates,
    reading: readingGiven(given),
  };
}

/** Reads a JSON body. The route parses bodies itself, because it also accepts files. */
async function readJson(request: Request): Promise<unknown> {
  const tooLarge = () => bodyTooLarge(MAX_JSON, "Upload data as multipart/form-data.");
  return parseJson(await readBytes(request, MAX_JSON, tooLarge));
}

/** Creates a dataset from `{"file_id": …}` or from the file in the request; returns its id. */
async function createFrom(ctx: Ctx, actor: Actor, request: Request): Promise<string> {
  const type = request.headers.get("content-type") ?? "";
  const raw = new URL(request.url).searchParams.has("filename");
  if (/^application\/json\s*(;|$)/i.test(type) && !raw) {
    const body = parseWith(CreateDataset, await readJson(request));
    const { file_id: fileId, name, description, stays_local: staysLocal } = body;
    const given = { fileId, name, description, staysLocal, ...(await settings(ctx, actor, body)) };
    return (await createDataset(ctx, actor, given)).id;
  }
  const limit = ctx.config.max_upload_bytes;
  const form = await readUpload(ctx, request, { field: "file", limit, raw: true, org: actor.org });
  try {
    const body = parseWith(UploadFields, nested(form.fields));
    const file = { filename: form.filename, purpose: "fine-tune" };
    const { name, description, stays_local: staysLocal } = body;
    const options = { name, description, staysLocal, ...(await settings(ctx, actor, body)) };
    return (await keepFile(ctx, actor, form.received, file, options)).dataset?.id ?? "";
  } finally {
    await rm(form.received.path, { force: true });
  }
}

async function view(ctx: Ctx, actor: Actor, id: string): Promise<DatasetView> {
  const row = await getDataset(ctx, actor, id);
  const version = await versionOf(ctx, actor, id);
  const source = version.fileId ? await getFile(ctx, actor, version.fileId).catch(() => null) : null;
  return datasetView(row, version, source?.bytes ?? null);
}

const datasetHandlers = (ctx: Ctx) => ({
  async create({ actor, request, server }: Upload) {
    server?.timeout(request, 0);
    return view(ctx, actor, await createFrom(ctx, actor, request));
  },
  async list({ actor, query }: { actor: Actor; query: CreatedPageQuery }) {
    const { created_by: createdBy, ...page } = query;
    const rows = await listDatasets(ctx, actor, { ...page, createdBy });
    const views = rows.map((row) => datasetView(row.dataset, row.version));
    return pageOf(views, query.limit);
  },
  get: ({ actor, params }: Call) => view(ctx, actor, params.id),
  async update({ actor, params, body }: With<"body", typeof UpdateDataset>) {
    await updateDataset(ctx, actor, params.id, body);
    return view(ctx, actor, params.id);
  },
  async delete({
    actor,
    params,
    query,
  }: With<"query", typeof DeleteQuery>): Promise<v.InferOutput<typeof DeletedDataset>> {
    const { createdAt } = await deleteDataset(ctx, actor, params.id, query.keep_file === "true");
    return { id: params.id, object: "dataset", deleted: true, backups: await backupsSince(ctx, createdAt) };
  },
});

const versionHandlers = (ctx: Ctx) => ({
  async list({ actor, params }: Call) {
    const views = (await listVersions(ctx, actor, params.id)).map((row) => versionView(row));
    return pageOf(views, views.length);
  },
  async create({ actor, params, body }: With<"body", typeof CreateVersion>) {
    const options = await settings(ctx, actor, body);
    return versionView(await createVersion(ctx, actor, params.id, { fileId: body.file_id, ...options }));
  },
  async report({
    actor,
    params,
    query,
  }: With<"query", typeof VersionQuery>): Promise<v.InferOutput<typeof ReportView>> {
    const version = await versionOf(ctx, actor, params.id, query.version);
    return { object: "dataset.report", version: versionView(version), report: version.report };
  },
  async rows({ actor, params, query }: With<"query", typeof RowsQuery>) {
    const version = await versionOf(ctx, actor, params.id, query.version);
    return new Response(writeExact(rowListView(await readRows(ctx, actor, version.id, query))), { headers: JSON_TYPE });
  },
  async addRow({ actor, params, body }: With<"body", typeof AddRow>) {
    return versionView(await addRow(ctx, actor, params.id, body));
  },
  async overlap({
    actor,
    params,
    query,
  }: With<"query", typeof OverlapQuery>): Promise<v.InferOutput<typeof OverlapView>> {
    const { data, validation, overlap } = await overlapWith(ctx, actor, params.id, query);
    return { object: "dataset.overlap", version_id: data.id, validation_version_id: validation?.id ?? null, overlap };
  },
  async tokens({ actor, params, query }: With<"query", typeof TokensQuery>) {
    const version = await versionOf(ctx, actor, params.id, query.version);
    return tokensView(version.id, query.base_model, await tokenStats(ctx, actor, version.id, query.base_model));
  },
});

export const datasetsApi = (ctx: Ctx) => {
  const datasets = datasetHandlers(ctx);
  const versions = versionHandlers(ctx);
  return new Elysia({ name: "datasets.api", prefix: "/v1/datasets", seed: ctx.installation })
    .use(session(ctx))
    .post("", datasets.create, {
      parse: "none",
      detail: { tags, summary: "Create a dataset", description: CREATE_HELP, responses: answers(DatasetView) },
    })
    .get("", datasets.list, {
      query: CreatedPageQuery,
      detail: { tags, summary: "List datasets, newest first", responses: answers(listOf(DatasetView)) },
    })
    .get("/:id", datasets.get, {
      params: Id,
      detail: { tags, summary: "Retrieve a dataset with its newest version", responses: answers(DatasetView) },
    })
    .post("/:id", datasets.update, {
      params: Id,
      body: UpdateDataset,
      detail: { tags, summary: "Change the name or description of a dataset", responses: answers(DatasetView) },
    })
    .delete("/:id", datasets.delete, {
      params: Id,
      query: DeleteQuery,
      detail: {
        tags,
        summary: "Delete a dataset with its rows, its file, and what jobs stored of its rows",
        responses: answers(DeletedDataset),
      },
    })
    .get("/:id/versions", versions.list, {
      params: Id,
      detail: { tags, summary: "List versions, newest first", responses: answers(listOf(VersionView)) },
    })
    .post("/:id/versions", versions.create, {
      params: Id,
      body: CreateVersion,
      detail: {
        tags,
        summary: "Create a version with another mapping or split, or without bad rows or duplicates",
        responses: answers(VersionView),
      },
    })
    .get("/:id/report", versions.report, {
      params: Id,
      query: VersionQuery,
      detail: { tags, summary: "Retrieve the validation report", responses: answers(ReportView) },
    })
    .get("/:id/rows", versions.rows, {
      params: Id,
      query: RowsQuery,
      detail: { tags, summary: "List the rows of a version", responses: answers(RowList) },
    })
    .post("/:id/rows", versions.addRow, {
      params: Id,
      body: AddRow,
      detail: {
        tags,
        summary: "Add a row, as a new version",
        description: ADD_ROW_HELP,
        responses: answers(VersionView),
      },
    })
    .get("/:id/overlap", versions.overlap, {
      params: Id,
      query: OverlapQuery,
      detail: {
        tags,
        summary: "List validation rows with the prompt of a training row",
        description:
          "Compares the two splits of the version, or all of its rows with those of `validation` (a file, dataset or version). `overlap` is null while rows are still compared: ask again.",
        responses: answers(OverlapView),
      },
    })
    .get("/:id/tokens", versions.tokens, {
      params: Id,
      query: TokensQuery,
      detail: { tags, summary: "Count tokens with a base model", responses: answers(TokensView) },
    });
};
