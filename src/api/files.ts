/** OpenAI's /v1/files: upload in streaming form, list, retrieve, download, delete. */
import { rm } from "node:fs/promises";
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Ctx } from "../ctx.ts";
import { nested, parseWith, readUpload } from "../data/files/forms.ts";
import { ExpiresAfter, fileView, ListFiles, Purposes } from "../data/files/model.ts";
import { deleteFile, filePath, getFile, keepFile, listFiles } from "../data/files/service.ts";
import { AppError } from "../errors.ts";
import { session } from "../http/session.ts";
import { pageOf } from "../lib/page.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Files"];
const CreateFields = v.strictObject({ purpose: Purposes, expires_after: v.optional(ExpiresAfter) });

export const filesApi = (ctx: Ctx) =>
  new Elysia({ name: "files.api", prefix: "/v1/files", seed: ctx.installation })
    .use(session(ctx))
    .post(
      "",
      async ({ actor, request, server }) => {
        server?.timeout(request, 0);
        const form = await readUpload(ctx, request, {
          field: "file",
          limit: ctx.config.max_upload_bytes,
          raw: true,
          org: actor.org,
        });
        try {
          if (form.fields.purpose === undefined)
            throw new AppError("invalid", "missing_field", "Missing required parameter: 'purpose'.", {
              param: "purpose",
            });
          const { purpose, expires_after } = parseWith(CreateFields, nested(form.fields));
          const given = { filename: form.filename, purpose, expiresAfterS: expires_after?.seconds };
          return fileView((await keepFile(ctx, actor, form.received, given)).file);
        } catch (error) {
          await rm(form.received.path, { force: true });
          throw error;
        }
      },
      {
        parse: "none",
        detail: {
          tags,
          summary: "Upload a file",
          description:
            "multipart/form-data with `file`, `purpose` and perhaps `expires_after[anchor]`, `expires_after[seconds]`; or the raw bytes with `?filename=&purpose=`.",
        },
      },
    )
    .get(
      "",
      async ({ actor, query }) => {
        const page = pageOf(await listFiles(ctx, actor, query), query.limit);
        return { ...page, data: page.data.map(fileView) };
      },
      { query: ListFiles, detail: { tags, summary: "List files" } },
    )
    .get("/:id", async ({ actor, params }) => fileView(await getFile(ctx, actor, params.id)), {
      params: Id,
      detail: { tags, summary: "Retrieve a file" },
    })
    .get(
      "/:id/content",
      async ({ actor, params, request, server }) => {
        const row = await getFile(ctx, actor, params.id);
        server?.timeout(request, 0);
        return new Response(Bun.file(filePath(ctx, row.id)), {
          headers: {
            "content-type": "application/octet-stream",
            "content-disposition": `attachment; filename*=UTF-8''${encodeURIComponent(row.filename).replaceAll("'", "%27")}`,
            "x-content-type-options": "nosniff",
          },
        });
      },
      { params: Id, detail: { tags, summary: "Download a file's content" } },
    )
    .delete(
      "/:id",
      async ({ actor, params }) => {
        await deleteFile(ctx, actor, params.id);
        return { id: params.id, object: "file" as const, deleted: true };
      },
      { params: Id, detail: { tags, summary: "Delete a file and the datasets made of it" } },
    );
