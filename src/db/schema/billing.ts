/** The usage ledger: one line per attempt, written in the transaction that ends it. */
import { index, integer, real, sqliteTable, text } from "drizzle-orm/sqlite-core";

export const usageLine = sqliteTable(
  "usage_line",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    jobId: text("job_id").notNull(),
    attemptId: text("attempt_id").notNull().unique(),
    userId: text("user_id").notNull(),
    kind: text("kind").notNull(),
    provider: text("provider").notNull(),
    gpus: integer("gpus").notNull(),
    /** From launch to end, in milliseconds. */
    durationMs: integer("duration_ms").notNull(),
    tokens: integer("tokens").notNull().default(0),
    pricePerHour: real("price_per_hour").notNull(),
    costUsd: real("cost_usd").notNull(),
    at: integer("at").notNull(),
  },
  (t) => [index("usage_line_org").on(t.org, t.at), index("usage_line_job").on(t.jobId)],
);
