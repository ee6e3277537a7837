/** Maintenance windows of the installation: times in which it starts no jobs. */
import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

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
