/** Terms of the installation: versions of its documents, and who accepted which version. */
import { index, integer, sqliteTable, text, uniqueIndex } from "drizzle-orm/sqlite-core";

/** One published version of a document. Its text never changes. */
export const termsVersion = sqliteTable(
  "terms_version",
  {
    id: text("id").primaryKey(),
    document: text("document", { enum: ["terms", "acceptable-use", "privacy"] }).notNull(),
    /** Counts from 1 within the document. */
    number: integer("number").notNull(),
    /** Markdown. */
    text: text("text").notNull(),
    /** What is different from the version before; may be empty. */
    summary: text("summary").notNull(),
    /** Users have to accept it, and are notified. */
    material: integer("material", { mode: "boolean" }).notNull(),
    effectiveAt: integer("effective_at").notNull(),
    createdAt: integer("created_at").notNull(),
    createdBy: text("created_by").notNull(),
    /** When its notices were stored; null = not yet, or it needs none. */
    noticedAt: integer("noticed_at"),
    /** When it was withdrawn before it took effect. */
    withdrawnAt: integer("withdrawn_at"),
  },
  (t) => [uniqueIndex("terms_version_number").on(t.document, t.number)],
);

/** That a user accepted a version. Rows outlive the account: they are evidence. */
export const termsAcceptance = sqliteTable(
  "terms_acceptance",
  {
    id: text("id").primaryKey(),
    userId: text("user_id").notNull(),
    /** Address of the account at that time. */
    email: text("email").notNull(),
    versionId: text("version_id").notNull(),
    document: text("document").notNull(),
    number: integer("number").notNull(),
    how: text("how", { enum: ["page", "api", "sign_up", "invitation", "continued_use"] }).notNull(),
    /** The user confirmed to be 18 or older with legal capacity. */
    adult: integer("adult", { mode: "boolean" }).notNull(),
    address: text("address").notNull(),
    userAgent: text("user_agent").notNull(),
    createdAt: integer("created_at").notNull(),
  },
  (t) => [
    uniqueIndex("terms_acceptance_once").on(t.userId, t.versionId),
    index("terms_acceptance_list").on(t.createdAt, t.id),
  ],
);
