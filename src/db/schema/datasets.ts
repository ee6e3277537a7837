/**
 * Files as uploaded, multi-part uploads, datasets, their immutable versions, and personal data found in those; and
 * which files are in the bucket.
 */
import { sql } from "drizzle-orm";
import { customType, index, integer, primaryKey, sqliteTable, text, uniqueIndex } from "drizzle-orm/sqlite-core";
import { jsonText } from "../json.ts";
import { organization } from "./auth.ts";

/** 0, 1, or 2 for `any`. */
const skipBadColumn = customType<{ data: boolean | "any"; driverData: number }>({
  dataType: () => "integer",
  toDriver: (value) => (value === "any" ? 2 : Number(value)),
  fromDriver: (stored) => (stored === 2 ? "any" : stored === 1),
});

export const file = sqliteTable(
  "file",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    filename: text("filename").notNull(),
    purpose: text("purpose").notNull(),
    bytes: integer("bytes").notNull(),
    sha256: text("sha256").notNull(),
    status: text("status", { enum: ["uploaded", "processed", "error"] }).notNull(),
    statusDetails: text("status_details"),
    createdBy: text("created_by").notNull(),
    createdAt: integer("created_at").notNull(),
    expiresAt: integer("expires_at"),
    deletedAt: integer("deleted_at"),
  },
  (t) => [
    index("file_org").on(t.org, t.createdAt, t.id),
    index("file_expires").on(t.expiresAt),
    index("file_quota").on(t.org, t.deletedAt, t.bytes),
  ],
);

export const upload = sqliteTable(
  "upload",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    filename: text("filename").notNull(),
    purpose: text("purpose").notNull(),
    bytes: integer("bytes").notNull(),
    mimeType: text("mime_type").notNull(),
    status: text("status", { enum: ["pending", "completed", "cancelled", "expired"] }).notNull(),
    /** Requested lifetime of the file in seconds, from its completion. */
    fileExpiresAfterS: integer("file_expires_after_s"),
    fileId: text("file_id"),
    createdBy: text("created_by").notNull(),
    createdAt: integer("created_at").notNull(),
    expiresAt: integer("expires_at").notNull(),
  },
  (t) => [
    index("upload_status").on(t.status, t.expiresAt),
    index("upload_quota").on(t.org, t.status, t.expiresAt, t.bytes),
  ],
);

export const uploadPart = sqliteTable(
  "upload_part",
  {
    id: text("id").primaryKey(),
    uploadId: text("upload_id")
      .notNull()
      .references(() => upload.id, { onDelete: "cascade" }),
    bytes: integer("bytes").notNull(),
    createdAt: integer("created_at").notNull(),
  },
  (t) => [index("upload_part_upload").on(t.uploadId)],
);

export const dataset = sqliteTable(
  "dataset",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    name: text("name").notNull(),
    description: text("description").notNull().default(""),
    /** Its rows never leave this machine: no trainer elsewhere reads them. */
    staysLocal: integer("stays_local", { mode: "boolean" }).notNull().default(false),
    createdBy: text("created_by").notNull(),
    createdAt: integer("created_at").notNull(),
    deletedAt: integer("deleted_at"),
  },
  (t) => [index("dataset_org").on(t.org, t.createdAt, t.id), index("dataset_quota").on(t.org, t.deletedAt)],
);

/** `hash` identifies the version: sha256 over the canonical rows and the split settings. */
export const datasetVersion = sqliteTable(
  "dataset_version",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    datasetId: text("dataset_id")
      .notNull()
      .references(() => dataset.id),
    number: integer("number").notNull(),
    fileId: text("file_id").references(() => file.id),
    hash: text("hash"),
    status: text("status", { enum: ["validating", "needs_mapping", "ready", "failed"] }).notNull(),
    format: text("format"),
    /** What one row is; `RowType` of the contract. */
    rowType: text("row_type", { enum: ["chat", "preference", "unpaired", "text", "prompt"] })
      .notNull()
      .default("chat"),
    /** How the fields are read, as requested by the user; shape in data/validation/mapping/model.ts. */
    mapping: jsonText("mapping").$type<Record<string, string | string[] | undefined> | null>(),
    /** How the file is read, as requested by the user; null = as its first bytes say. */
    reading: jsonText("reading").$type<{ encoding: string | null; part: string | null; repairText: boolean } | null>(),
    splitSeed: integer("split_seed").notNull(),
    /** Share of the validation split in millionths, 0 to 500,000. */
    holdoutFraction: integer("holdout_fraction_ppm").notNull(),
    /** Bad rows are skipped instead of failing the version; `any`: even when most rows are bad. */
    skipBad: skipBadColumn("skip_bad").notNull().default(false),
    /** Duplicates of earlier rows that are left out: equal rows, or also nearly equal ones. */
    removeDuplicates: text("remove_duplicates", { enum: ["exact", "near"] }),
    rows: integer("rows").notNull().default(0),
    trainRows: integer("train_rows").notNull().default(0),
    holdoutRows: integer("holdout_rows").notNull().default(0),
    badRows: integer("bad_rows").notNull().default(0),
    /** Validation report; shape in datasets/model.ts. */
    report: jsonText("report").$type<unknown>(),
    /** Progress of validation: bytes read of all bytes. */
    bytesRead: integer("bytes_read").notNull().default(0),
    /** Bytes of its rows on disk: those of its file until it is validated; 0 when it has none. */
    bytes: integer("bytes").notNull().default(0),
    error: text("error"),
    createdAt: integer("created_at").notNull(),
    finishedAt: integer("finished_at"),
  },
  (t) => [
    uniqueIndex("dataset_version_number").on(t.datasetId, t.number),
    index("dataset_version_file").on(t.fileId),
    index("dataset_version_org").on(t.org, t.createdAt),
    index("dataset_version_status").on(t.status, t.createdAt),
    index("dataset_version_quota").on(t.org, t.bytes).where(sql`bytes > 0`),
  ],
);

/** Token statistics of a version under one base model's tokenizer and template. */
export const datasetTokens = sqliteTable(
  "dataset_tokens",
  {
    id: text("id").primaryKey(),
    versionId: text("version_id")
      .notNull()
      .references(() => datasetVersion.id, { onDelete: "cascade" }),
    baseModelId: text("base_model_id").notNull(),
    exact: integer("exact", { mode: "boolean" }).notNull(),
    /** Shape in datasets/model.ts: totals, histogram, rows over given lengths. */
    stats: jsonText("stats").$type<unknown>().notNull(),
    createdAt: integer("created_at").notNull(),
  },
  (t) => [uniqueIndex("dataset_tokens_version_model").on(t.versionId, t.baseModelId)],
);

/** The scan of a version. The table is the queue: a scan that a restart interrupted starts again. */
export const piiScan = sqliteTable(
  "pii_scan",
  {
    versionId: text("version_id")
      .primaryKey()
      .references(() => datasetVersion.id, { onDelete: "cascade" }),
    org: text("org").notNull(),
    datasetId: text("dataset_id").notNull(),
    status: text("status", { enum: ["waiting", "running", "done", "failed"] }).notNull(),
    /** Which detectors: `builtin`, or `builtin+presidio`. */
    engine: text("engine").notNull(),
    rowsDone: integer("rows_done").notNull().default(0),
    rowsFound: integer("rows_found").notNull().default(0),
    /** Findings by kind. */
    counts: jsonText("counts").$type<Record<string, number>>().notNull(),
    error: text("error"),
    decision: text("decision", { enum: ["accept", "leave_out", "mask"] }),
    decidedBy: text("decided_by"),
    /** Name or address of that person at that time. */
    decidedByName: text("decided_by_name"),
    decidedAt: integer("decided_at"),
    reason: text("reason"),
    /** The version that was created without these values. */
    nextVersionId: text("next_version_id"),
    createdAt: integer("created_at").notNull(),
    finishedAt: integer("finished_at"),
  },
  (t) => [index("pii_scan_queue").on(t.status, t.createdAt)],
);

/** What an organization requires beyond the setting of the installation. */
export const privacyPolicy = sqliteTable("privacy_policy", {
  org: text("org")
    .primaryKey()
    .references(() => organization.id, { onDelete: "cascade" }),
  /** Jobs on a version with findings need a decision. */
  requireDecision: integer("require_decision", { mode: "boolean" }).notNull(),
});

/** A file of a unit that is in the bucket: `files/<id>`, `datasets/<version id>`, `artifacts/<id>`, `archives/<id>`. */
export const storedObject = sqliteTable(
  "stored_object",
  {
    unit: text("unit").notNull(),
    /** Path inside the unit; empty when the unit is one file. */
    path: text("path").notNull(),
    /** `teams/<org>/<unit>/<sha256>`, without s3_prefix. */
    key: text("key").notNull(),
    org: text("org").notNull(),
    bytes: integer("bytes").notNull(),
    sha256: text("sha256").notNull(),
    createdAt: integer("created_at").notNull(),
  },
  (t) => [
    primaryKey({ columns: [t.unit, t.path] }),
    index("stored_object_key").on(t.key),
    index("stored_object_org").on(t.org),
  ],
);

/** An object that nothing refers to any more. The row stays until the bucket has confirmed its removal. */
export const objectDeletion = sqliteTable(
  "object_deletion",
  {
    key: text("key").primaryKey(),
    org: text("org").notNull(),
    since: integer("since").notNull(),
    tries: integer("tries").notNull().default(0),
    retryAt: integer("retry_at").notNull(),
    error: text("error"),
  },
  (t) => [index("object_deletion_retry").on(t.retryAt), index("object_deletion_org").on(t.org)],
);
