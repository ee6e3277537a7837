/** Requests to models (user, model, duration, tokens; written in batches), and the sums of metered use. */
import { index, integer, primaryKey, real, sqliteTable, text } from "drizzle-orm/sqlite-core";

export const inference = sqliteTable(
  "inference",
  {
    n: integer("n").primaryKey(),
    /**
     * The request's own id. Not indexed: nothing queries it, and each random id would touch another page of the file.
     */
    id: text("id").notNull(),
    org: text("org").notNull(),
    userId: text("user_id").notNull(),
    keyId: text("key_id"),
    /** The id of the resolved model, never text of the client; empty when there was none. */
    model: text("model").notNull(),
    deploymentId: text("deployment_id"),
    at: integer("at").notNull(),
    status: integer("status").notNull(),
    streamed: integer("streamed", { mode: "boolean" }).notNull(),
    promptTokens: integer("prompt_tokens").notNull(),
    completionTokens: integer("completion_tokens").notNull(),
    /** Milliseconds to the first token, and in total. */
    firstTokenMs: real("first_token_ms"),
    totalMs: real("total_ms").notNull(),
    /** Time spent in this server rather than in the engine. */
    overheadMs: real("overhead_ms"),
    finish: text("finish"),
    /** What sent it when it was not a client: `grade` (a grader) or `evaluate` (an evaluation). */
    purpose: text("purpose", { enum: ["grade", "evaluate"] }),
  },
  (t) => [
    index("inference_org").on(t.org, t.at),
    index("inference_deployment").on(t.deploymentId, t.at),
    index("inference_key").on(t.keyId, t.at),
  ],
);

/**
 * Sums of `meter_interval` by day (UTC), kept by a trigger of the database: what charts, forecasts and top lists read.
 * Empty texts stand for null, so that the columns can be a key.
 */
export const usageDay = sqliteTable(
  "usage_day",
  {
    org: text("org").notNull(),
    /** First millisecond of the day. */
    day: integer("day").notNull(),
    meter: text("meter").notNull(),
    kind: text("kind").notNull(),
    userId: text("user_id").notNull(),
    keyId: text("key_id").notNull(),
    jobId: text("job_id").notNull(),
    model: text("model").notNull(),
    provider: text("provider").notNull(),
    gpuModel: text("gpu_model").notNull(),
    /** In the unit of the meter, without what was taken back. */
    quantity: integer("quantity").notNull(),
    /** The same with what was taken back. */
    held: integer("held").notNull(),
    /** The part of `quantity` in which nothing was done that counts, such as loading. */
    overhead: integer("overhead").notNull(),
    micros: integer("micros").notNull(),
  },
  (t) => [
    primaryKey({
      columns: [t.org, t.day, t.meter, t.kind, t.userId, t.keyId, t.jobId, t.model, t.provider, t.gpuModel],
    }),
  ],
);
