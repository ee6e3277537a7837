/** Archives: everything of a user or an organization as one file, made in the background and kept for some days. */
import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

export const archive = sqliteTable(
  "archive",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    scope: text("scope", { enum: ["user", "organization"] }).notNull(),
    /** Whether checkpoints beside the models are part of it. */
    checkpoints: integer("checkpoints", { mode: "boolean" }).notNull(),
    status: text("status", { enum: ["waiting", "running", "done", "failed", "expired"] }).notNull(),
    /** What has been written, and the size of the files that are part of it; null until they are known. */
    bytesDone: integer("bytes_done").notNull().default(0),
    bytesTotal: integer("bytes_total"),
    /** Size and hex SHA-256 of the finished file. */
    bytes: integer("bytes"),
    sha256: text("sha256"),
    error: text("error"),
    createdBy: text("created_by").notNull(),
    createdAt: integer("created_at").notNull(),
    finishedAt: integer("finished_at"),
    /** When the file is deleted; null until it is finished. */
    expiresAt: integer("expires_at"),
  },
  (t) => [
    index("archive_list").on(t.org, t.scope, t.createdBy, t.createdAt, t.id),
    index("archive_status").on(t.status, t.createdAt),
  ],
);
