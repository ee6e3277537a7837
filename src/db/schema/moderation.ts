/** Moderation: rules, checks that wait or ran, cases with their history, and what may not be used. */
import { sql } from "drizzle-orm";
import { index, integer, sqliteTable, text, uniqueIndex } from "drizzle-orm/sqlite-core";
import { jsonText } from "../json.ts";

/** A rule in its current version; the audit log has the earlier ones. */
export const moderationRule = sqliteTable("moderation_rule", {
  id: text("id").primaryKey(),
  /** Organization whose models a guard or grader asks. */
  org: text("org").notNull(),
  name: text("name").notNull(),
  /** Counts from 1; every change adds one. */
  version: integer("version").notNull(),
  category: text("category").notNull(),
  kind: text("kind", { enum: ["keywords", "pattern", "pii", "guard", "grader"] }).notNull(),
  /** What the kind needs; shape in src/moderation/model.ts. */
  settings: jsonText("settings").$type<unknown>().notNull(),
  /** Score in millionths from which a text is flagged. */
  threshold: integer("threshold_ppm").notNull(),
  onDatasets: integer("on_datasets", { mode: "boolean" }).notNull(),
  onModels: integer("on_models", { mode: "boolean" }).notNull(),
  action: text("action", { enum: ["flag", "hold"] }).notNull(),
  enabled: integer("enabled", { mode: "boolean" }).notNull(),
  createdBy: text("created_by").notNull(),
  createdAt: integer("created_at").notNull(),
  updatedAt: integer("updated_at").notNull(),
});

/** The check of one dataset version or model. Stored with the change that needs it, carried out in the background. */
export const moderationCheck = sqliteTable(
  "moderation_check",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    object: text("object", { enum: ["dataset_version", "model"] }).notNull(),
    subject: text("subject").notNull(),
    state: text("state", { enum: ["waiting", "passed", "flagged", "failed"] }).notNull(),
    /** Rows or prompts looked at. */
    done: integer("done").notNull().default(0),
    /** Rows or prompts to look at; null = not known yet. */
    total: integer("total"),
    tries: integer("tries").notNull().default(0),
    error: text("error"),
    /** Whoever made it; gets the notices about it. */
    userId: text("user_id").notNull(),
    createdAt: integer("created_at").notNull(),
    finishedAt: integer("finished_at"),
  },
  (t) => [
    uniqueIndex("moderation_check_subject").on(t.subject),
    index("moderation_check_waiting").on(t.createdAt).where(sql`state = 'waiting'`),
  ],
);

/** What a check or a report found about one object, and what was decided. */
export const moderationCase = sqliteTable(
  "moderation_case",
  {
    id: text("id").primaryKey(),
    /** Organization of the object. */
    org: text("org").notNull(),
    object: text("object", { enum: ["dataset_version", "model", "deployment"] }).notNull(),
    subject: text("subject").notNull(),
    /** The dataset of a version; null for others. */
    datasetId: text("dataset_id"),
    name: text("name").notNull(),
    hash: text("hash"),
    ownerId: text("owner_id").notNull(),
    source: text("source", { enum: ["check", "report"] }).notNull(),
    /** `second_review`: one reviewer proposed, another one must confirm. */
    state: text("state", { enum: ["open", "second_review", "decided", "appealed"] }).notNull(),
    categories: jsonText("categories").$type<string[]>().notNull(),
    /** Shape in src/moderation/model.ts. */
    findings: jsonText("findings").$type<unknown[]>().notNull(),
    /** Rows or answers that a rule flagged; `findings` has the first ones. */
    flagged: integer("flagged").notNull(),
    decision: text("decision", {
      enum: ["approve", "restrict", "remove", "warn", "suspend_user", "suspend_organization"],
    }),
    reason: text("reason"),
    decidedAt: integer("decided_at"),
    /** Content that could not be erased yet, because jobs still use it. */
    erasing: integer("erasing", { mode: "boolean" }).notNull().default(false),
    createdAt: integer("created_at").notNull(),
  },
  (t) => [
    index("moderation_case_state").on(t.state, t.createdAt, t.id),
    index("moderation_case_org").on(t.org, t.createdAt, t.id),
    index("moderation_case_subject").on(t.subject),
    index("moderation_case_erasing").on(t.id).where(sql`erasing = 1`),
  ],
);

/** The history of a case: reports, proposals, decisions and appeals. */
export const moderationEntry = sqliteTable(
  "moderation_entry",
  {
    id: text("id").primaryKey(),
    caseId: text("case_id")
      .notNull()
      .references(() => moderationCase.id, { onDelete: "cascade" }),
    kind: text("kind", { enum: ["report", "proposal", "decision", "appeal"] }).notNull(),
    userId: text("user_id").notNull(),
    /** A decision, or the category of a report. */
    value: text("value"),
    text: text("text").notNull(),
    createdAt: integer("created_at").notNull(),
  },
  (t) => [
    index("moderation_entry_case").on(t.caseId, t.createdAt),
    index("moderation_entry_user").on(t.userId, t.kind, t.createdAt),
  ],
);

/** What may not be used, and why. A removed object keeps its row as a tombstone. */
export const restriction = sqliteTable(
  "restriction",
  {
    /** Id of a dataset, dataset version or model; `org model` for a model in one organization. */
    subject: text("subject").primaryKey(),
    org: text("org").notNull(),
    object: text("object", { enum: ["dataset", "dataset_version", "model", "deployment"] }).notNull(),
    /** `held`: its check or review is not over. `checking`: a model before its first deployment. */
    kind: text("kind", { enum: ["held", "checking", "restricted", "removed"] }).notNull(),
    name: text("name").notNull(),
    hash: text("hash"),
    reason: text("reason").notNull(),
    caseId: text("case_id"),
    createdAt: integer("created_at").notNull(),
  },
  (t) => [index("restriction_org").on(t.org, t.kind, t.createdAt), index("restriction_hash").on(t.hash)],
);
