/** Requests and answers of files: valibot schemas and OpenAI's file object. */
import * as v from "valibot";
import type { file } from "../../db/schema/datasets.ts";
import { id, seconds, whole } from "../../lib/request-fields.ts";

export type FileRow = typeof file.$inferSelect;

export const PURPOSES = ["fine-tune", "batch", "evals", "user_data", "vision", "assistants"] as const;

export type Purpose = (typeof PURPOSES)[number];

export const ExpiresAfter = v.strictObject({
  anchor: v.literal("created_at"),
  seconds: whole(3600, 2_592_000),
});

export const Purposes = v.picklist(PURPOSES, `must be one of ${PURPOSES.join(", ")}`);

export const ListFiles = v.strictObject({
  purpose: v.optional(v.pipe(v.string(), v.maxLength(100))),
  limit: v.optional(whole(1, 10_000), 10_000),
  order: v.optional(v.picklist(["asc", "desc"]), "desc"),
  after: v.optional(id),
});

/** OpenAI's file object. Times in seconds since 1970. */
export const FileView = v.strictObject({
  id: v.string(),
  object: v.literal("file"),
  bytes: v.number(),
  created_at: v.number(),
  expires_at: v.optional(v.number()),
  filename: v.string(),
  purpose: v.string(),
  status: v.picklist(["uploaded", "processed", "error"]),
  status_details: v.optional(v.string()),
});
type FileView = v.InferOutput<typeof FileView>;

export function fileView(row: FileRow): FileView {
  return {
    id: row.id,
    object: "file",
    bytes: row.bytes,
    created_at: seconds(row.createdAt),
    ...(row.expiresAt === null ? {} : { expires_at: seconds(row.expiresAt) }),
    filename: row.filename,
    purpose: row.purpose,
    status: row.status,
    ...(row.statusDetails === null ? {} : { status_details: row.statusDetails }),
  };
}
