/**
 * Archives: everything of a user or an organization as one file, made in the background and kept for some days; and
 * searches for a person in everything that an organization stores.
 */
import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { jsonText } from "../json.ts";
import { organization } from "./auth.ts";

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

/** How many of each were found. Names and ids here are those of objects, not of the person. */
export interface SubjectResult {
  versions: { id: string; dataset_id: string; dataset: string; number: number; rows: number; newest: boolean }[];
  files: { id: string; filename: string; lines: number }[];
  jobs: { id: string; name: string; state: string }[];
  models: { id: string; job_id: string }[];
  deployments: { id: string; name: string; model: string; state: string }[];
  stored: { answers: number; samples: number; log_lines: number; responses: number; completions: number };
  /** Files in forms that are not searched, such as archives without a ready version. */
  not_searched: { id: string; filename: string }[];
}

export interface SubjectErasure {
  by: string;
  at: number;
  /** Delete earlier versions with the rows; delete stored answers, samples and log lines. */
  old_versions: boolean;
  stored: boolean;
  datasets: { id: string; name: string; rows: number; next_version_id: string | null; error: string | null }[];
  deleted_versions: string[];
  kept_versions: { id: string; reason: string }[];
  deleted: { answers: number; samples: number; log_lines: number; responses: number; completions: number };
}

export const subjectRequest = sqliteTable(
  "subject_request",
  {
    id: text("id").primaryKey(),
    org: text("org")
      .notNull()
      .references(() => organization.id, { onDelete: "cascade" }),
    status: text("status", { enum: ["waiting", "running", "done", "failed", "erasing"] }).notNull(),
    /** Sealed JSON: the terms as they were typed. */
    terms: text("terms").notNull(),
    match: text("match", { enum: ["any", "all"] }).notNull(),
    /** A number or note that names the request elsewhere; not the person. */
    reference: text("reference").notNull(),
    rowsDone: integer("rows_done").notNull().default(0),
    rowsTotal: integer("rows_total").notNull().default(0),
    hits: integer("hits").notNull().default(0),
    result: jsonText("result").$type<SubjectResult>(),
    erasure: jsonText("erasure").$type<SubjectErasure>(),
    error: text("error"),
    createdBy: text("created_by").notNull(),
    createdAt: integer("created_at").notNull(),
    finishedAt: integer("finished_at"),
    expiresAt: integer("expires_at").notNull(),
  },
  (t) => [
    index("subject_request_list").on(t.org, t.createdAt, t.id),
    index("subject_request_queue").on(t.status, t.createdAt),
    index("subject_request_expiry").on(t.expiresAt),
  ],
);
