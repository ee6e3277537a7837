/** Deployments: what should be served, and the state of the serve job behind it. */
import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

export const deployment = sqliteTable(
  "deployment",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    name: text("name").notNull(),
    /** Model id a client sends: a fine-tuned model, a checkpoint, or a base model. */
    model: text("model").notNull(),
    baseModelId: text("base_model_id").notNull(),
    /** Desired state; `state` follows it. */
    wanted: text("wanted", { enum: ["running", "asleep", "stopped"] }).notNull(),
    state: text("state", { enum: ["starting", "ready", "asleep", "stopping", "stopped", "failed"] }).notNull(),
    /** The current serve job, and the address it announced. */
    jobId: text("job_id"),
    address: text("address"),
    /** Created by a first request instead of a user action. */
    onDemand: integer("on_demand", { mode: "boolean" }).notNull().default(false),
    /** Seconds without a request until it sleeps; null = never. */
    idleAfterS: integer("idle_after_s"),
    restarts: integer("restarts").notNull().default(0),
    error: text("error"),
    lastRequestAt: integer("last_request_at"),
    healthyAt: integer("healthy_at"),
    createdBy: text("created_by").notNull(),
    createdAt: integer("created_at").notNull(),
    deletedAt: integer("deleted_at"),
  },
  (t) => [index("deployment_org").on(t.org, t.createdAt, t.id), index("deployment_job").on(t.jobId)],
);
