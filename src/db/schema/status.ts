/** The status page: what probes found by component and day, and the incidents of the installation. */
import { index, integer, primaryKey, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { jsonText } from "../json.ts";

/** A component as the last probe found it. */
export const statusComponent = sqliteTable("status_component", {
  /** `api`, `training`, `inference`, or `provider:` and the id of the provider. */
  id: text("id").primaryKey(),
  /** A name that an administrator chose; null = a generic one. */
  label: text("label"),
  hidden: integer("hidden", { mode: "boolean" }).notNull().default(false),
  state: text("state", { enum: ["operational", "degraded", "down", "unused"] }).notNull(),
  /** Why it is not operational, for administrators. */
  problem: text("problem"),
  since: integer("since").notNull(),
  /** The time up to which the days below are complete. */
  observedUntil: integer("observed_until").notNull(),
});

/** Milliseconds of a day (UTC) in each state. Time in no state was not observed. */
export const statusDay = sqliteTable(
  "status_day",
  {
    component: text("component").notNull(),
    /** Days since 1970. */
    day: integer("day").notNull(),
    upMs: integer("up_ms").notNull().default(0),
    degradedMs: integer("degraded_ms").notNull().default(0),
    downMs: integer("down_ms").notNull().default(0),
    /** Planned maintenance, whatever the state was. */
    plannedMs: integer("planned_ms").notNull().default(0),
  },
  (t) => [primaryKey({ columns: [t.component, t.day] })],
);

export const statusIncident = sqliteTable(
  "status_incident",
  {
    id: text("id").primaryKey(),
    title: text("title").notNull(),
    /** `none` is information only, `minor` shows its components as degraded, `major` as down. */
    impact: text("impact", { enum: ["none", "minor", "major"] }).notNull(),
    /** Ids of components. */
    components: jsonText("components").$type<string[]>().notNull(),
    state: text("state", { enum: ["investigating", "identified", "monitoring", "resolved"] }).notNull(),
    startedAt: integer("started_at").notNull(),
    resolvedAt: integer("resolved_at"),
    createdBy: text("created_by").notNull(),
    createdAt: integer("created_at").notNull(),
  },
  (t) => [index("status_incident_list").on(t.startedAt, t.id), index("status_incident_open").on(t.resolvedAt)],
);

export const statusUpdate = sqliteTable(
  "status_update",
  {
    id: text("id").primaryKey(),
    incident: text("incident")
      .notNull()
      .references(() => statusIncident.id, { onDelete: "cascade" }),
    state: text("state", { enum: ["investigating", "identified", "monitoring", "resolved"] }).notNull(),
    /** Markdown. */
    text: text("text").notNull(),
    createdBy: text("created_by").notNull(),
    createdAt: integer("created_at").notNull(),
  },
  (t) => [index("status_update_incident").on(t.incident, t.createdAt)],
);
