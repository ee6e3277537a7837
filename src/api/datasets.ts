/**
 * JSON API of datasets: made of an uploaded file or with the upload itself; versions, reports, rows and token counts.
 */
import { rm } from "node:fs/promises";
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import {
  AddRow,
  CreateDataset,
  CreateVersion,
  datasetView,
  ListDatasets,
  RowsQuery,
  TokensQuery,
  tokensView,
  UpdateDataset,
  VersionQuery,
  type VersionSettings,
  versionView,
} from "../data/datasets/model.ts";
import { addRow, readRows, tokenStats } from "../data/datasets/rows.ts";
import { createDataset, deleteDataset, getDataset, listDatasets, updateDataset } from "../data/datasets/service.ts";
import { createVersion, listVersions, versionOf } from "../data/datasets/versions.ts";
import { nested, parseWith, readUpload } from "../data/files/forms.ts";
import { getFile, keepFile } from "../data/files/service.ts";
import type { VersionOptions } from "../data/validation/records.ts";
import { AppError } from "../errors.ts";
import { session } from "../http/session.ts";
import { readBytes } from "../lib/body.ts";
import { pageOf } from "../lib/page.ts";
import { parseJson } from "../lib/text/json.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Datasets"];
const MAX_JSON = 1024 ** 2;
const UploadFields = v.omit(CreateDataset, ["file_id"]);

const settings = (given: v.InferOutput<typeof VersionSettings>): VersionOptions => ({
  mapping: given.mapping,
  holdoutFraction: given.holdout_fraction,
  seed: given.seed,
  skipBad: given.skip_bad,
});

/** A body of JSON. The route reads bodies itself, because the same address also takes files. */
async function readJson(request: Request): Promise<unknown> {
  const message = "A JSON body holds at most 1 MiB. Upload data as multipart/form-data.";
  return parseJson(await readBytes(request, MAX_JSON, () => new AppError("too_large", "body_too_large", message)));
}

/** A dataset of `{"file_id": …}`, or of the file that comes with the request. */
async function create(ctx: Ctx, actor: Actor, request: Request): Promise<string> {
  const type = request.headers.get("content-type") ?? "";
  const raw = new URL(request.url).searchParams.has("filename");
  if (/^application\/json\s*(;|$)/i.test(type) && !raw) {
    const body = parseWith(CreateDataset, await readJson(request));
    const { file_id: fileId, name, description } = body;
    return (await createDataset(ctx, actor, { fileId, name, description, ...settings(body) })).id;
  }
  const form = await readUpload(ctx, request, {
    field: "file",
    limit: ctx.config.max_upload_bytes,
    raw: true,
    org: actor.org,
  });
  try {
    const body = parseWith(UploadFields, nested(form.fields));
    const made = await keepFile(
      ctx,
      actor,
      form.received,
      { filename: form.filename, purpose: "fine-tune" },
      { name: body.name, description: body.description, ...settings(body) },
    );
    return made.dataset?.id ?? "";
  } finally {
    await rm(form.received.path, { force: true });
  }
}

async function view(ctx: Ctx, actor: Actor, id: string) {
  const row = await getDataset(ctx, actor, id);
  const version = await versionOf(ctx, actor, id);
  const source = version.fileId ? await getFile(ctx, actor, version.fileId).catch(() => null) : null;
  return { ...datasetView(row, null), version: versionView(version, source?.bytes ?? null) };
}

export const datasetsApi = (ctx: Ctx) =>
  new Elysia({ name: "datasets.api", prefix: "/v1/datasets", seed: ctx.installation })
    .use(session(ctx))
    .post(
      "",
      async ({ actor, request, server }) => {
        server?.timeout(request, 0);
        return view(ctx, actor, await create(ctx, actor, request));
      },
      {
        parse: "none",
        detail: {
          tags,
          summary: "Create a dataset",
          description:
            'JSON `{"file_id": …}` for a file that is here; or multipart/form-data with `file` and perhaps `name`, `description`, `holdout_fraction`, `seed`, `skip_bad`, `mapping[prompt]`, `mapping[completion]`; or the raw bytes with `?filename=`.',
        },
      },
    )
    .get(
      "",
      async ({ actor, query }) => {
        const rows = await listDatasets(ctx, actor, query);
        return pageOf(
          rows.map((row) => datasetView(row.dataset, row.version)),
          query.limit,
        );
      },
      { query: ListDatasets, detail: { tags, summary: "List datasets, newest first" } },
    )
    .get("/:id", ({ actor, params }) => view(ctx, actor, params.id), {
      params: Id,
      detail: { tags, summary: "Retrieve a dataset with its newest version" },
    })
    .post(
      "/:id",
      async ({ actor, params, body }) => {
        await updateDataset(ctx, actor, params.id, body);
        return view(ctx, actor, params.id);
      },
      { params: Id, body: UpdateDataset, detail: { tags, summary: "Rename or describe a dataset" } },
    )
    .delete(
      "/:id",
      async ({ actor, params, query }) => {
        await deleteDataset(ctx, actor, params.id, query.keep_file === "true");
        return { id: params.id, object: "dataset" as const, deleted: true };
      },
      {
        params: Id,
        query: v.strictObject({ keep_file: v.optional(v.picklist(["true", "false"])) }),
        detail: { tags, summary: "Delete a dataset, its rows and its uploaded file" },
      },
    )
    .get(
      "/:id/versions",
      async ({ actor, params }) => {
        const rows = await listVersions(ctx, actor, params.id);
        return pageOf(
          rows.map((row) => versionView(row)),
          rows.length,
        );
      },
      { params: Id, detail: { tags, summary: "List versions, newest first" } },
    )
    .post(
      "/:id/versions",
      async ({ actor, params, body }) =>
        versionView(await createVersion(ctx, actor, params.id, { fileId: body.file_id, ...settings(body) })),
      {
        params: Id,
        body: CreateVersion,
        detail: { tags, summary: "Make a version with another mapping, split, or without its bad rows" },
      },
    )
    .get(
      "/:id/report",
      async ({ actor, params, query }) => {
        const version = await versionOf(ctx, actor, params.id, query.version);
        return { object: "dataset.report" as const, version: versionView(version), report: version.report };
      },
      { params: Id, query: VersionQuery, detail: { tags, summary: "Retrieve the validation report" } },
    )
    .get(
      "/:id/rows",
      async ({ actor, params, query }) => {
        const version = await versionOf(ctx, actor, params.id, query.version);
        const page = await readRows(ctx, actor, version.id, query);
        return {
          object: "list" as const,
          data: page.rows,
          first_id: page.rows[0]?.id ?? null,
          last_id: page.next ?? page.rows.at(-1)?.id ?? null,
          has_more: page.next !== null,
        };
      },
      { params: Id, query: RowsQuery, detail: { tags, summary: "Page through the rows of a version" } },
    )
    .post("/:id/rows", async ({ actor, params, body }) => versionView(await addRow(ctx, actor, params.id, body)), {
      params: Id,
      body: AddRow,
      detail: {
        tags,
        summary: "Add a row, as a new version",
        description:
          "A row of OpenAI chat JSONL, for versions of chat rows only. The new version has the rows of the newest one and this row at the end, and its settings; the old version stays as it is.",
      },
    })
    .get(
      "/:id/tokens",
      async ({ actor, params, query }) => {
        const version = await versionOf(ctx, actor, params.id, query.version);
        return tokensView(version.id, query.base_model, await tokenStats(ctx, actor, version.id, query.base_model));
      },
      { params: Id, query: TokensQuery, detail: { tags, summary: "Count tokens under a base model" } },
    );
