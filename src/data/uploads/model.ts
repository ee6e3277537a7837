/** Requests and answers of multipart uploads: valibot schemas and OpenAI's upload object. */
import * as v from "valibot";
import type { upload, uploadPart } from "../../db/schema/datasets.ts";
import { id, seconds, whole } from "../../lib/request-fields.ts";
import { ExpiresAfter, type FileRow, FileView, fileView, Purposes } from "../files/model.ts";

export type UploadRow = typeof upload.$inferSelect;

export type PartRow = typeof uploadPart.$inferSelect;

export const CreateUpload = v.strictObject({
  filename: v.pipe(v.string(), v.minLength(1), v.maxLength(255)),
  purpose: Purposes,
  bytes: whole(1, Number.MAX_SAFE_INTEGER),
  mime_type: v.pipe(v.string(), v.minLength(1), v.maxLength(255)),
  expires_after: v.optional(v.nullable(ExpiresAfter)),
});

export const CompleteUpload = v.strictObject({
  part_ids: v.pipe(v.array(id), v.minLength(1), v.maxLength(10_000)),
  md5: v.optional(v.nullable(v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/i, "must be 32 hexadecimal digits")))),
});

/** OpenAI's upload object, with `file` once it is completed. Times in seconds since 1970. */
export const UploadView = v.strictObject({
  id: v.string(),
  object: v.literal("upload"),
  bytes: v.number(),
  created_at: v.number(),
  filename: v.string(),
  purpose: v.string(),
  status: v.picklist(["pending", "completed", "cancelled", "expired"]),
  expires_at: v.number(),
  file: v.optional(FileView),
});
type UploadView = v.InferOutput<typeof UploadView>;

export function uploadView(row: UploadRow, file: FileRow | null = null): UploadView {
  return {
    id: row.id,
    object: "upload",
    bytes: row.bytes,
    created_at: seconds(row.createdAt),
    filename: row.filename,
    purpose: row.purpose,
    status: row.status,
    expires_at: seconds(row.expiresAt),
    ...(file ? { file: fileView(file) } : {}),
  };
}

export const PartView = v.strictObject({
  id: v.string(),
  object: v.literal("upload.part"),
  created_at: v.number(),
  upload_id: v.string(),
});
type PartView = v.InferOutput<typeof PartView>;

export function partView(row: PartRow): PartView {
  return { id: row.id, object: "upload.part", created_at: seconds(row.createdAt), upload_id: row.uploadId };
}
