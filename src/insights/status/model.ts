/** The status page as clients see it, and what administrators send. */
import * as v from "valibot";
import type { statusIncident, statusUpdate } from "../../db/schema/status.ts";
import { id, seconds } from "../../lib/request-fields.ts";
import { noHidden } from "../../lib/text/names.ts";

export type IncidentRow = typeof statusIncident.$inferSelect;
type UpdateRow = typeof statusUpdate.$inferSelect;

export const INCIDENT_STATES = ["investigating", "identified", "monitoring", "resolved"] as const;
export const IMPACTS = ["none", "minor", "major"] as const;
const State = v.picklist(INCIDENT_STATES, `must be one of ${INCIDENT_STATES.join(", ")}`);
const Impact = v.picklist(IMPACTS, `must be one of ${IMPACTS.join(", ")}`);
const line = (max: number) =>
  v.pipe(v.string(), v.trim(), noHidden, v.minLength(1, "must not be empty"), v.maxLength(max));
const markdown = v.pipe(v.string(), v.trim(), v.minLength(1, "must not be empty"), v.maxLength(10_000));
const components = v.pipe(v.array(id), v.maxLength(50));

/** Opens an incident. */
export const OpenIncident = v.strictObject({
  title: line(200),
  /** Markdown; HTML in it is shown as text. */
  text: markdown,
  /** `minor` shows its components as degraded, `major` as down; `none` is information only. */
  impact: v.optional(Impact, "minor"),
  status: v.optional(State, "investigating"),
  /** Ids of affected components, as `GET /v1/status` lists them. */
  components: v.optional(components, []),
  /** In seconds since 1970; now when absent. */
  started_at: v.optional(v.nullable(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(253_402_300_799)))),
  /** Stores a notice for every account; it is mailed to those who chose so. */
  notify: v.optional(v.boolean(), false),
});
export type OpenIncident = v.InferOutput<typeof OpenIncident>;

/** Adds an update; the status `resolved` ends the incident, another one opens it again. */
export const UpdateIncident = v.strictObject({
  status: State,
  text: markdown,
  /** Absent: as they were. */
  impact: v.optional(Impact),
  components: v.optional(components),
  notify: v.optional(v.boolean(), false),
});
export type UpdateIncident = v.InferOutput<typeof UpdateIncident>;

/** How a component appears on the page. */
export const ChangeComponent = v.strictObject({
  /** Null = a generic name. */
  name: v.optional(v.nullable(line(80))),
  hidden: v.optional(v.boolean()),
});
export type ChangeComponent = v.InferOutput<typeof ChangeComponent>;

const IncidentUpdateView = v.strictObject({
  object: v.literal("status_incident.update"),
  id: v.string(),
  status: State,
  text: v.string(),
  created_at: v.number(),
});

export const IncidentView = v.strictObject({
  object: v.literal("status_incident"),
  id: v.string(),
  title: v.string(),
  status: State,
  impact: Impact,
  components: v.array(v.strictObject({ id: v.string(), name: v.string() })),
  started_at: v.number(),
  resolved_at: v.nullable(v.number()),
  /** Newest first. */
  updates: v.array(IncidentUpdateView),
});
export type IncidentView = v.InferOutput<typeof IncidentView>;

const ComponentState = v.picklist(["operational", "maintenance", "degraded", "down", "unused"]);
/** `unused`: nothing is deployed. `maintenance`: a planned maintenance runs, whatever the probes find. */
export type ComponentState = v.InferOutput<typeof ComponentState>;

/** One day (UTC). Time in no state was not observed. */
const DayView = v.strictObject({
  date: v.string(),
  /** Percent; null without observed time. */
  uptime: v.nullable(v.number()),
  down_s: v.number(),
  degraded_s: v.number(),
  maintenance_s: v.number(),
});
export type DayView = v.InferOutput<typeof DayView>;

const MonthView = v.strictObject({
  /** `2026-11` */
  month: v.string(),
  /** Percent of the observed time outside of planned maintenance; degraded counts as up. */
  uptime: v.nullable(v.number()),
  down_s: v.number(),
  target_met: v.nullable(v.boolean()),
  /** Only a part of the month is in the history. */
  partial: v.boolean(),
});
export type MonthView = v.InferOutput<typeof MonthView>;

export const ComponentView = v.strictObject({
  id: v.string(),
  name: v.string(),
  state: ComponentState,
  since: v.number(),
  /** Percent over all days below. */
  uptime: v.nullable(v.number()),
  /** Newest first. */
  months: v.array(MonthView),
  /** Oldest first, 90 of them. */
  days: v.array(DayView),
});
export type ComponentView = v.InferOutput<typeof ComponentView>;

export const StatusView = v.strictObject({
  object: v.literal("status"),
  /** The worst state of a component. */
  state: ComponentState,
  /** When components were last probed; null before the first probe. */
  checked_at: v.nullable(v.number()),
  /** Percent of a month. */
  target: v.number(),
  components: v.array(ComponentView),
  /** Open incidents, newest first. */
  incidents: v.array(IncidentView),
  /** Planned maintenance, the next one first. Its time counts neither as up nor as down. */
  maintenance: v.array(
    v.strictObject({ id: v.string(), reason: v.string(), starts_at: v.number(), ends_at: v.number() }),
  ),
});
export type StatusView = v.InferOutput<typeof StatusView>;

/** A component for administrators. */
export const AdminComponentView = v.strictObject({
  object: v.literal("status_component"),
  id: v.string(),
  /** What it watches: `api`, `training`, `inference` or `provider:ID`. */
  watches: v.string(),
  name: v.string(),
  /** The name that an administrator chose. */
  label: v.nullable(v.string()),
  hidden: v.boolean(),
  state: v.picklist(["operational", "degraded", "down", "unused"]),
  problem: v.nullable(v.string()),
  since: v.number(),
});
export type AdminComponentView = v.InferOutput<typeof AdminComponentView>;

export function incidentView(row: IncidentRow, updates: UpdateRow[], names: ReadonlyMap<string, string>): IncidentView {
  return {
    object: "status_incident",
    id: row.id,
    title: row.title,
    status: row.state,
    impact: row.impact,
    components: row.components.map((one) => ({ id: one, name: names.get(one) ?? "Removed component" })),
    started_at: seconds(row.startedAt),
    resolved_at: row.resolvedAt === null ? null : seconds(row.resolvedAt),
    updates: updates.map((one) => ({
      object: "status_incident.update",
      id: one.id,
      status: one.state,
      text: one.text,
      created_at: seconds(one.createdAt),
    })),
  };
}
