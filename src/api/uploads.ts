/** OpenAI's /v1/uploads: large files in parts. */
import { rm } from "node:fs/promises";
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { parseWith, readUpload } from "../data/files/forms.ts";
import { CompleteUpload, CreateUpload, PartView, partView, UploadView, uploadView } from "../data/uploads/model.ts";
import { addPart, cancelUpload, completeUpload, createUpload, MAX_PART_BYTES } from "../data/uploads/service.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { nullsAbsent } from "../lib/nulls.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
/** A part has no fields beside its data. */
const NoFields = v.strictObject({});
const tags = ["Uploads"];
const responses = answers(UploadView);

interface Call {
  actor: Actor;
  params: v.InferOutput<typeof Id>;
}
interface Streaming extends Call {
  request: Request;
  server: { timeout(request: Request, seconds: number): void } | null;
}

const handlers = (ctx: Ctx) => ({
  async create({ actor, body }: { actor: Actor; body: v.InferOutput<typeof CreateUpload> }) {
    const { filename, purpose, bytes, mime_type: mimeType, expires_after: expires } = body;
    const given = { filename, purpose, bytes, mimeType, expiresAfterS: expires?.seconds };
    return uploadView(await createUpload(ctx, actor, given));
  },
  async addPart({ actor, params, request, server }: Streaming) {
    server?.timeout(request, 0);
    const form = await readUpload(ctx, request, { field: "data", limit: MAX_PART_BYTES, raw: true });
    try {
      parseWith(NoFields, form.fields);
      return partView(await addPart(ctx, actor, params.id, form.received));
    } finally {
      await rm(form.received.path, { force: true });
    }
  },
  async complete({ actor, params, body, request, server }: Streaming & { body: v.InferOutput<typeof CompleteUpload> }) {
    server?.timeout(request, 0);
    const done = await completeUpload(ctx, actor, params.id, { partIds: body.part_ids, md5: body.md5 });
    return uploadView(done.upload, done.file);
  },
  async cancel({ actor, params }: Call) {
    return uploadView(await cancelUpload(ctx, actor, params.id));
  },
});

export const uploadsApi = (ctx: Ctx) => {
  const route = handlers(ctx);
  return new Elysia({ name: "uploads.api", prefix: "/v1/uploads", seed: ctx.installation })
    .use(session(ctx))
    .post("", route.create, {
      body: nullsAbsent(CreateUpload),
      detail: { tags, summary: "Start an upload in parts", responses },
    })
    .post("/:id/parts", route.addPart, {
      params: Id,
      parse: "none",
      detail: { tags, summary: "Add a part of at most 64 MB", responses: answers(PartView) },
    })
    .post("/:id/complete", route.complete, {
      params: Id,
      body: nullsAbsent(CompleteUpload),
      detail: { tags, summary: "Join the parts to a file", responses },
    })
    .post("/:id/cancel", route.cancel, { params: Id, detail: { tags, summary: "Cancel an upload", responses } });
};
