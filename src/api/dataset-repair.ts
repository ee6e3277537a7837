/** /v1/datasets/{id}: edit a row, merge datasets, download the rows of a version and the faulty rows of its file. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { editRow, rowSource } from "../data/datasets/edit.ts";
import { faultyRows, versionContent } from "../data/datasets/export.ts";
import {
  AddRowsOf,
  EditRow,
  RowSourceView,
  rowSourceView,
  VersionQuery,
  VersionView,
  versionView,
} from "../data/datasets/model.ts";
import { addRowsOf } from "../data/datasets/rows.ts";
import { answers, answersType } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { rowsDownload } from "../http/stored-file.ts";

const id = v.pipe(v.string(), v.maxLength(100));
const Id = v.strictObject({ id });
const RowId = v.strictObject({ id, line: v.pipe(v.string(), v.regex(/^[1-9]\d{0,14}$/), v.transform(Number)) });
const tags = ["Datasets"];

interface Call {
  request: Request;
  actor: Actor;
  params: v.InferOutput<typeof Id>;
}
type OnRow = Call & { params: v.InferOutput<typeof RowId> };
type OnVersion = Call & { query: v.InferOutput<typeof VersionQuery> };

const handlers = (ctx: Ctx) => ({
  async source({ actor, params }: OnRow) {
    return rowSourceView(params.line, await rowSource(ctx, actor, params.id, params.line));
  },
  async edit({ actor, params, body }: OnRow & { body: v.InferOutput<typeof EditRow> }) {
    return versionView(await editRow(ctx, actor, params.id, params.line, body.text.trim() ? body.text : null));
  },
  async merge({ actor, params, body }: Call & { body: v.InferOutput<typeof AddRowsOf> }) {
    return versionView(await addRowsOf(ctx, actor, params.id, body.dataset));
  },
  async content({ actor, params, query }: OnVersion) {
    const { version, rows } = await versionContent(ctx, actor, params.id, query.version);
    return rowsDownload(`${version.id}.jsonl`, rows);
  },
  async faulty({ request, actor, params, query }: OnVersion) {
    const { version, rows } = await faultyRows(ctx, actor, params.id, query.version, request.signal);
    return rowsDownload(`${version.id}-faulty-rows.jsonl`, rows);
  },
});

export const datasetRepairApi = (ctx: Ctx) => {
  const route = handlers(ctx);
  return new Elysia({ name: "dataset-repair.api", prefix: "/v1/datasets", seed: ctx.installation })
    .use(session(ctx))
    .get("/:id/rows/:line", route.source, {
      params: RowId,
      detail: {
        tags,
        summary: "Retrieve the source text of a row, with its problems",
        description: "Of the newest version. `line` is the number of the row in reports and in lists of rows.",
        responses: answers(RowSourceView),
      },
    })
    .post("/:id/rows/:line", route.edit, {
      params: RowId,
      body: EditRow,
      detail: {
        tags,
        summary: "Replace a row, as a new version",
        description:
          "`text` is the source text: a line of JSONL, a record of CSV, or an element of a JSON array. An empty text leaves the row out. All other rows keep their lines.",
        responses: answers(VersionView),
      },
    })
    .post("/:id/merge", route.merge, {
      params: Id,
      body: AddRowsOf,
      detail: { tags, summary: "Add the rows of another dataset, as a new version", responses: answers(VersionView) },
    })
    .get("/:id/content", route.content, {
      params: Id,
      query: VersionQuery,
      detail: {
        tags,
        summary: "Download the rows of a version as JSONL",
        responses: answersType("application/jsonl", "The rows."),
      },
    })
    .get("/:id/faulty-rows", route.faulty, {
      params: Id,
      query: VersionQuery,
      detail: {
        tags,
        summary: "Download the faulty rows as JSONL: line, problems, text",
        responses: answersType("application/jsonl", "The rows."),
      },
    });
};
