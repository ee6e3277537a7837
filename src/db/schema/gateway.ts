/** One row per inference request: user, model, duration, tokens. Written in batches. */
import { index, integer, real, sqliteTable, text } from "drizzle-orm/sqlite-core";

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
