/** Announcements and maintenance windows of the installation, and which banners a user has hidden. */
import { index, integer, primaryKey, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { jsonText } from "../json.ts";

/** A message of administrators above the pages of an audience. */
export const announcement = sqliteTable(
  "announcement",
  {
    id: text("id").primaryKey(),
    title: text("title").notNull(),
    /** Markdown; may be empty. */
    text: text("text").notNull(),
    severity: text("severity", { enum: ["info", "warning", "critical"] }).notNull(),
    /** Ids of organizations; empty = all. */
    orgs: jsonText("orgs").$type<string[]>().notNull(),
    /** Roles of the audience, see AUDIENCE_ROLES; empty = all. */
    roles: jsonText("roles").$type<string[]>().notNull(),
    startsAt: integer("starts_at").notNull(),
    /** Null = until it is ended. */
    endsAt: integer("ends_at"),
    /** Whether it is sent as a notice and by mail. */
    mail: integer("mail", { mode: "boolean" }).notNull(),
    /** When its notices were stored; null = not yet. */
    mailedAt: integer("mailed_at"),
    createdAt: integer("created_at").notNull(),
    createdBy: text("created_by").notNull(),
  },
  (t) => [index("announcement_list").on(t.createdAt, t.id)],
);

/** A user has hidden the banner of an announcement or of a maintenance window. */
export const bannerDismissal = sqliteTable(
  "banner_dismissal",
  {
    userId: text("user_id").notNull(),
    subject: text("subject").notNull(),
    createdAt: integer("created_at").notNull(),
  },
  (t) => [primaryKey({ columns: [t.userId, t.subject] })],
);

/** A time in which the installation starts no jobs. */
export const maintenanceWindow = sqliteTable(
  "maintenance_window",
  {
    id: text("id").primaryKey(),
    startsAt: integer("starts_at").notNull(),
    endsAt: integer("ends_at").notNull(),
    reason: text("reason").notNull(),
    /** More for users, as Markdown; may be empty. */
    message: text("message").notNull(),
    /** What endpoints do in it. */
    endpoints: text("endpoints", { enum: ["stay", "stop"] }).notNull(),
    /** What trainings do before it that cannot end in time: wait, or start and resume after it. */
    trainings: text("trainings", { enum: ["wait", "interrupt"] }).notNull(),
    /** Jobs without an estimate do not start for this long before it, in milliseconds. */
    leadMs: integer("lead_ms").notNull(),
    /** Whether it and its changes are sent as notices and by mail. */
    mail: integer("mail", { mode: "boolean" }).notNull(),
    /** What the last notice said: `START END`, or `canceled`; null = none was stored yet. */
    noticed: text("noticed"),
    /** When it was canceled before its start. */
    canceledAt: integer("canceled_at"),
    createdAt: integer("created_at").notNull(),
    createdBy: text("created_by").notNull(),
  },
  (t) => [index("maintenance_window_list").on(t.createdAt, t.id)],
);
