/** Holds on users and organizations: suspensions (by an administrator, or for an unpaid invoice) and deletions. */
import { sql } from "drizzle-orm";
import { index, integer, sqliteTable, text, uniqueIndex } from "drizzle-orm/sqlite-core";
import { jsonText } from "../json.ts";

/** One hold. It is in force until it has ended; ended ones stay as a record. */
export const hold = sqliteTable(
  "hold",
  {
    id: text("id").primaryKey(),
    kind: text("kind", { enum: ["suspended", "deactivated", "unpaid", "deletion"] }).notNull(),
    subject: text("subject", { enum: ["user", "organization"] }).notNull(),
    /** Id of the user or organization. */
    subjectId: text("subject_id").notNull(),
    /** Why, for the people concerned. */
    reason: text("reason").notNull(),
    /** User id, or `system`. */
    createdBy: text("created_by").notNull(),
    createdAt: integer("created_at").notNull(),
    /** A suspension is lifted at this time, and data is erased; null = a suspension without an end. */
    until: integer("until"),
    /** When it was lifted, canceled, or carried out. */
    endedAt: integer("ended_at"),
    endedBy: text("ended_by"),
    /** What a deletion erased, by kind; null = not begun, or no deletion. */
    erased: jsonText("erased").$type<Record<string, number>>(),
  },
  (t) => [
    uniqueIndex("hold_active").on(t.kind, t.subject, t.subjectId).where(sql`ended_at is null`),
    index("hold_subject").on(t.subjectId, t.createdAt),
  ],
);
