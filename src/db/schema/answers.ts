/** Stored answers: responses and chat completions that their request asked to keep, until they expire. */
import { sql } from "drizzle-orm";
import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { jsonText } from "../json.ts";
import { organization } from "./auth.ts";

type Json = Record<string, unknown>;

export const storedAnswer = sqliteTable(
  "stored_answer",
  {
    id: text("id").primaryKey(),
    org: text("org")
      .notNull()
      .references(() => organization.id, { onDelete: "cascade" }),
    userId: text("user_id").notNull(),
    kind: text("kind", { enum: ["response", "completion"] }).notNull(),
    /** As the client wrote it. */
    model: text("model").notNull(),
    /** The response that this one continues. */
    previousId: text("previous_id"),
    metadata: jsonText("metadata").$type<Record<string, string>>().notNull(),
    /** The input items of a response, the messages of a completion. */
    input: jsonText("input").$type<Json[]>().notNull(),
    /** The answer as the client got it, without metadata. */
    answer: jsonText("answer").$type<Json>().notNull(),
    /** A response in the background that is not generated yet; one that is pending at a start was interrupted. */
    pending: integer("pending", { mode: "boolean" }).notNull().default(false),
    bytes: integer("bytes").notNull(),
    createdAt: integer("created_at").notNull(),
    expiresAt: integer("expires_at").notNull(),
  },
  (t) => [
    index("stored_answer_list").on(t.org, t.kind, t.createdAt, t.id),
    index("stored_answer_expiry").on(t.expiresAt),
    index("stored_answer_pending").on(t.createdAt).where(sql`pending = 1`),
    index("stored_answer_quota").on(t.org, t.bytes),
  ],
);
