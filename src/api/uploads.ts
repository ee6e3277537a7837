/** OpenAI's /v1/uploads: large files in parts. */
import { rm } from "node:fs/promises";
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Ctx } from "../ctx.ts";
import { parseWith, readUpload } from "../data/files/forms.ts";
import { CompleteUpload, CreateUpload, partView, uploadView } from "../data/uploads/model.ts";
import { addPart, cancelUpload, completeUpload, createUpload, MAX_PART_BYTES } from "../data/uploads/service.ts";
import { session } from "../http/session.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const NoFields = v.strictObject({});
const tags = ["Uploads"];

export const uploadsApi = (ctx: Ctx) =>
  new Elysia({ name: "uploads.api", prefix: "/v1/uploads", seed: ctx.installation })
    .use(session(ctx))
    .post(
      "",
      async ({ actor, body }) =>
        uploadView(
          await createUpload(ctx, actor, {
            filename: body.filename,
            purpose: body.purpose,
            bytes: body.bytes,
            mimeType: body.mime_type,
            expiresAfterS: body.expires_after?.seconds,
          }),
        ),
      { body: CreateUpload, detail: { tags, summary: "Begin an upload in parts" } },
    )
    .post(
      "/:id/parts",
      async ({ actor, params, request, server }) => {
        server?.timeout(request, 0);
        const form = await readUpload(ctx, request, { field: "data", limit: MAX_PART_BYTES, raw: true });
        try {
          parseWith(NoFields, form.fields);
          return partView(await addPart(ctx, actor, params.id, form.received));
        } finally {
          await rm(form.received.path, { force: true });
        }
      },
      { params: Id, parse: "none", detail: { tags, summary: "Add a part of at most 64 MB" } },
    )
    .post(
      "/:id/complete",
      async ({ actor, params, body, request, server }) => {
        server?.timeout(request, 0);
        const done = await completeUpload(ctx, actor, params.id, { partIds: body.part_ids, md5: body.md5 });
        return uploadView(done.upload, done.file);
      },
      { params: Id, body: CompleteUpload, detail: { tags, summary: "Put the parts together" } },
    )
    .post("/:id/cancel", async ({ actor, params }) => uploadView(await cancelUpload(ctx, actor, params.id)), {
      params: Id,
      detail: { tags, summary: "Cancel an upload" },
    });
