/**
 * Base models on this installation, accepted licenses, artifacts and checkpoints of runs, and the fine-tuned models
 * made from them.
 */
import { index, integer, sqliteTable, text, uniqueIndex } from "drizzle-orm/sqlite-core";
import type { FileEntry } from "../../contract/spec.ts";
import { jsonText } from "../json.ts";
import { organization } from "./auth.ts";

/** A base model that was installed or is being installed; the catalog itself is code. */
export const baseModel = sqliteTable("base_model", {
  id: text("id").primaryKey(),
  name: text("name").notNull(),
  source: text("source", { enum: ["package", "local", "hub", "tuned"] }).notNull(),
  sourceRef: text("source_ref").notNull(),
  revision: text("revision").notNull(),
  license: text("license").notNull(),
  status: text("status", { enum: ["installing", "ready", "failed"] }).notNull(),
  progress: text("progress"),
  error: text("error"),
  hash: text("hash"),
  files: jsonText("files").$type<FileEntry[]>(),
  /** Architecture numbers: parameters, layers, hidden, heads, context_length, vocabulary, … */
  architecture: jsonText("architecture").$type<Record<string, unknown>>(),
  /** Made from a model that stays on this machine. */
  staysLocal: integer("stays_local", { mode: "boolean" }).notNull().default(false),
  installedBy: text("installed_by").notNull(),
  createdAt: integer("created_at").notNull(),
});

export const licenseAcceptance = sqliteTable(
  "license_acceptance",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    baseModelId: text("base_model_id").notNull(),
    license: text("license").notNull(),
    userId: text("user_id").notNull(),
    at: integer("at").notNull(),
  },
  (t) => [uniqueIndex("license_org_model").on(t.org, t.baseModelId)],
);

/** Files a trainer uploaded: complete only once every hash was checked and the manifest is on disk. */
export const artifact = sqliteTable(
  "artifact",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    jobId: text("job_id").notNull(),
    attemptId: text("attempt_id").notNull(),
    kind: text("kind", { enum: ["checkpoint", "adapter", "model", "merged", "gguf", "report"] }).notNull(),
    step: integer("step").notNull(),
    metrics: jsonText("metrics").$type<Record<string, number | string>>().notNull(),
    files: jsonText("files").$type<FileEntry[]>().notNull(),
    manifestHash: text("manifest_hash").notNull(),
    bytes: integer("bytes").notNull(),
    status: text("status", { enum: ["uploading", "complete", "invalid", "deleted"] }).notNull(),
    createdAt: integer("created_at").notNull(),
    completedAt: integer("completed_at"),
  },
  (t) => [
    index("artifact_job").on(t.jobId, t.kind, t.step),
    index("artifact_quota").on(t.org, t.status, t.bytes),
    uniqueIndex("artifact_same").on(t.attemptId, t.kind, t.step, t.manifestHash),
  ],
);

/** A checkpoint of a train job, addressable as a model (`ft:…:ckpt-step-N`). */
export const checkpoint = sqliteTable(
  "checkpoint",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    jobId: text("job_id").notNull(),
    artifactId: text("artifact_id")
      .notNull()
      .references(() => artifact.id),
    step: integer("step").notNull(),
    model: text("model").notNull().unique(),
    metrics: jsonText("metrics").$type<Record<string, number | string>>().notNull(),
    createdAt: integer("created_at").notNull(),
  },
  (t) => [uniqueIndex("checkpoint_job_step").on(t.jobId, t.step)],
);

/** Another organization that may use a checkpoint, and the model made from it. */
export const checkpointPermission = sqliteTable(
  "checkpoint_permission",
  {
    id: text("id").primaryKey(),
    checkpointId: text("checkpoint_id")
      .notNull()
      .references(() => checkpoint.id, { onDelete: "cascade" }),
    /** The organization that it is shared with. */
    org: text("org")
      .notNull()
      .references(() => organization.id, { onDelete: "cascade" }),
    createdBy: text("created_by").notNull(),
    createdAt: integer("created_at").notNull(),
  },
  (t) => [
    uniqueIndex("checkpoint_permission_org").on(t.checkpointId, t.org),
    index("checkpoint_permission_shared").on(t.org, t.createdAt),
  ],
);

/** A fine-tuned model, created when its job succeeds. The id is what clients send as `model`. */
export const model = sqliteTable(
  "model",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    name: text("name").notNull(),
    baseModelId: text("base_model_id").notNull(),
    jobId: text("job_id").notNull(),
    checkpointId: text("checkpoint_id")
      .notNull()
      .references(() => checkpoint.id),
    createdBy: text("created_by").notNull(),
    createdAt: integer("created_at").notNull(),
    deletedAt: integer("deleted_at"),
  },
  (t) => [index("model_org").on(t.org, t.createdAt, t.id), index("model_job").on(t.jobId)],
);
