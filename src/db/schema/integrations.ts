/** Weights & Biases: the server of an organization, and how much of each run was sent to it. */
import { index, integer, primaryKey, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { jsonText } from "../json.ts";
import { organization } from "./auth.ts";
import { job } from "./jobs.ts";

export const wandbServer = sqliteTable("wandb_server", {
  org: text("org")
    .primaryKey()
    .references(() => organization.id, { onDelete: "cascade" }),
  url: text("url").notNull(),
  /** Encrypted. */
  key: text("key").notNull(),
  createdAt: integer("created_at").notNull(),
});

export const wandbRun = sqliteTable(
  "wandb_run",
  {
    jobId: text("job_id")
      .notNull()
      .references(() => job.id),
    /** Which of the job's integrations. */
    n: integer("n").notNull(),
    org: text("org").notNull(),
    /** Lines of history that the server has, and the step of the last one. */
    lines: integer("lines").notNull().default(0),
    lastStep: integer("last_step").notNull().default(-1),
    /** The last value of each metric. */
    summary: jsonText("summary").$type<Record<string, number>>().notNull().default({}),
    /** Why the last try failed. */
    error: text("error"),
    /** Everything was sent, or it is too late for it. */
    endedAt: integer("ended_at"),
  },
  (t) => [primaryKey({ columns: [t.jobId, t.n] }), index("wandb_run_open").on(t.endedAt, t.org)],
);
