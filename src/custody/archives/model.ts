/** Archives in the API: the request, and the view of one. */
import * as v from "valibot";
import type { archive } from "../../db/schema/archives.ts";
import { seconds } from "../../lib/request-fields.ts";

export type ArchiveRow = typeof archive.$inferSelect;

export const SCOPES = ["user", "organization"] as const;
export const CreateArchive = v.strictObject({
  /** Your own data, or everything of your organization (owners and administrators). */
  scope: v.picklist(SCOPES, `must be one of ${SCOPES.join(", ")}`),
  /** Whether checkpoints are part of it; the final models always are. */
  checkpoints: v.nullish(v.boolean(), true),
});
export type CreateArchive = v.InferOutput<typeof CreateArchive>;

/** A finished archive can be downloaded this many days. */
export const KEEP_DAYS = 7;

/** An archive as the API shows it. Times in seconds. */
export const ArchiveView = v.strictObject({
  object: v.literal("archive"),
  id: v.string(),
  scope: v.picklist(SCOPES),
  checkpoints: v.boolean(),
  status: v.picklist(["waiting", "running", "done", "failed", "expired"]),
  /** Bytes of files read so far, and of all of them; null until they are known. */
  bytes_done: v.number(),
  bytes_total: v.nullable(v.number()),
  /** Size and SHA-256 of the finished file. */
  bytes: v.nullable(v.number()),
  sha256: v.nullable(v.string()),
  error: v.nullable(v.string()),
  created_by: v.string(),
  created_at: v.number(),
  finished_at: v.nullable(v.number()),
  /** When the file is deleted. */
  expires_at: v.nullable(v.number()),
});
export type ArchiveView = v.InferOutput<typeof ArchiveView>;

export const archiveView = (row: ArchiveRow): ArchiveView => ({
  object: "archive",
  id: row.id,
  scope: row.scope,
  checkpoints: row.checkpoints,
  status: row.status,
  bytes_done: row.bytesDone,
  bytes_total: row.bytesTotal,
  bytes: row.bytes,
  sha256: row.sha256,
  error: row.error,
  created_by: row.createdBy,
  created_at: seconds(row.createdAt),
  finished_at: seconds(row.finishedAt),
  expires_at: seconds(row.expiresAt),
});
