/** Pushes of fine-tuned models to a hub. */
import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

export const hubPush = sqliteTable(
  "hub_push",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    /** The fine-tuned model or checkpoint. */
    model: text("model").notNull(),
    /** The format of the export that is pushed; null = the model's own files. */
    format: text("format"),
    artifactId: text("artifact_id").notNull(),
    /** Address of the hub when the push was created; its token is sent to no other one. */
    hub: text("hub").notNull(),
    repo: text("repo").notNull(),
    branch: text("branch").notNull(),
    private: integer("private", { mode: "boolean" }).notNull(),
    message: text("message").notNull(),
    /** The encrypted token, deleted when the push ends; null from the start = the token of the installation. */
    secret: text("secret"),
    ownToken: integer("own_token", { mode: "boolean" }).notNull(),
    status: text("status", { enum: ["waiting", "running", "done", "failed", "canceled"] }).notNull(),
    phase: text("phase", { enum: ["checking", "uploading", "committing"] }),
    bytesTotal: integer("bytes_total"),
    bytesDone: integer("bytes_done").notNull().default(0),
    /** Commit on the hub that has the files. */
    commit: text("commit"),
    error: text("error"),
    createdBy: text("created_by").notNull(),
    createdAt: integer("created_at").notNull(),
    finishedAt: integer("finished_at"),
  },
  (t) => [
    index("hub_push_model").on(t.org, t.model, t.createdAt, t.id),
    index("hub_push_status").on(t.status, t.createdAt),
  ],
);
