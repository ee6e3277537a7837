/** OpenAI's /v1/files: upload in one streaming pass, list, retrieve, download, delete. */
import { rm } from "node:fs/promises";
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { nested, parseWith, readUpload } from "../data/files/forms.ts";
import { ExpiresAfter, FileView, fileView, ListFiles, Purposes } from "../data/files/model.ts";
import { deleteFile, getFile, keepFile, listFiles } from "../data/files/service.ts";
import { AppError } from "../errors.ts";
import { answers, answersFile } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { downloadResponse } from "../http/stored-file.ts";
import { listOf, pageOf } from "../lib/page.ts";
import { downloadOf } from "../objects/downloads.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Files"];
const CreateFields = v.strictObject({ purpose: Purposes, expires_after: v.optional(ExpiresAfter) });
const DeletedFile = v.strictObject({ id: v.string(), object: v.literal("file"), deleted: v.literal(true) });

const UPLOAD_HELP =
  "multipart/form-data with `file`, `purpose` and, optionally, `expires_after[anchor]` and `expires_after[seconds]`; or the raw bytes with `?filename=&purpose=`.";

interface Call {
  actor: Actor;
  params: v.InferOutput<typeof Id>;
}
interface Streaming {
  actor: Actor;
  request: Request;
  server: { timeout(request: Request, seconds: number): void } | null;
}

const handlers = (ctx: Ctx) => ({
  async upload({ actor, request, server }: Streaming) {
    server?.timeout(request, 0);
    const limit = ctx.config.max_upload_bytes;
    const form = await readUpload(ctx, request, { field: "file", limit, raw: true, org: actor.org });
    try {
      if (form.fields.purpose === undefined)
        throw new AppError("invalid", "missing_field", "Missing required parameter: 'purpose'.", { param: "purpose" });
      const { purpose, expires_after } = parseWith(CreateFields, nested(form.fields));
      const given = { filename: form.filename, purpose, expiresAfterS: expires_after?.seconds };
      return fileView((await keepFile(ctx, actor, form.received, given)).file);
    } catch (error) {
      await rm(form.received.path, { force: true });
      throw error;
    }
  },
  async list({ actor, query }: { actor: Actor; query: v.InferOutput<typeof ListFiles> }) {
    const page = pageOf(await listFiles(ctx, actor, query), query.limit);
    return { ...page, data: page.data.map(fileView) };
  },
  async get({ actor, params }: Call) {
    return fileView(await getFile(ctx, actor, params.id));
  },
  async download({ actor, params, request, server }: Call & Streaming) {
    const row = await getFile(ctx, actor, params.id);
    server?.timeout(request, 0);
    return downloadResponse(await downloadOf(ctx, { folder: "files", id: row.id }, "", row.filename), row.filename);
  },
  async delete({ actor, params }: Call): Promise<v.InferOutput<typeof DeletedFile>> {
    await deleteFile(ctx, actor, params.id);
    return { id: params.id, object: "file", deleted: true };
  },
});

export const filesApi = (ctx: Ctx) => {
  const route = handlers(ctx);
  return new Elysia({ name: "files.api", prefix: "/v1/files", seed: ctx.installation })
    .use(session(ctx))
    .post("", route.upload, {
      parse: "none",
      detail: { tags, summary: "Upload a file", description: UPLOAD_HELP, responses: answers(FileView) },
    })
    .get("", route.list, {
      query: ListFiles,
      detail: { tags, summary: "List files", responses: answers(listOf(FileView)) },
    })
    .get("/:id", route.get, {
      params: Id,
      detail: { tags, summary: "Retrieve a file", responses: answers(FileView) },
    })
    .get("/:id/content", route.download, {
      params: Id,
      detail: {
        tags,
        summary: "Download the content of a file",
        responses: answersFile("The bytes of the file."),
      },
    })
    .delete("/:id", route.delete, {
      params: Id,
      detail: { tags, summary: "Delete a file and its datasets", responses: answers(DeletedFile) },
    });
};
