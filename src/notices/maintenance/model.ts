/** Requests and answers of maintenance windows, and how messages name one. */
import * as v from "valibot";
import type { maintenanceWindow } from "../../db/schema/announcements.ts";
import { seconds } from "../../lib/request-fields.ts";
import { formatExact } from "../../lib/text/format.ts";

export type MaintenanceRow = typeof maintenanceWindow.$inferSelect;

const ENDPOINTS = ["stay", "stop"] as const;
const TRAININGS = ["wait", "interrupt"] as const;
const LEAD_S = 3600;

const moment = v.pipe(
  v.number("must be a number"),
  v.integer("must be whole seconds"),
  v.minValue(0),
  v.maxValue(1e11),
);
const fields = {
  /** In seconds since 1970; now when null. */
  starts_at: v.nullable(moment),
  ends_at: moment,
  reason: v.pipe(v.string(), v.trim(), v.minLength(1, "must not be empty"), v.maxLength(120)),
  /** Markdown. */
  message: v.pipe(v.string(), v.trim(), v.maxLength(800)),
  endpoints: v.picklist(ENDPOINTS),
  trainings: v.picklist(TRAININGS),
  lead_seconds: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(30 * 86_400)),
  mail: v.boolean(),
};

export const ScheduleMaintenance = v.strictObject({
  starts_at: v.optional(fields.starts_at, null),
  ends_at: fields.ends_at,
  reason: fields.reason,
  message: v.optional(fields.message, ""),
  /** Endpoints keep running, or stop from the start to the end of the window. */
  endpoints: v.optional(fields.endpoints, "stay"),
  /** Trainings that cannot end in time wait, or start, save a checkpoint at the start and resume after the end. */
  trainings: v.optional(fields.trainings, "wait"),
  /** Jobs without an estimate do not start this long before the window. */
  lead_seconds: v.optional(fields.lead_seconds, LEAD_S),
  /** Sends it and its changes as notices and by mail. */
  mail: v.optional(fields.mail, true),
});
export type ScheduleMaintenance = v.InferOutput<typeof ScheduleMaintenance>;

/** Fields that are not given stay. */
export const ChangeMaintenance = v.partial(v.strictObject(fields));
export type ChangeMaintenance = v.InferOutput<typeof ChangeMaintenance>;

/** A maintenance window. Times in seconds since 1970. */
export const MaintenanceView = v.strictObject({
  object: v.literal("maintenance"),
  id: v.string(),
  state: v.picklist(["scheduled", "running", "ended", "canceled"]),
  starts_at: v.number(),
  ends_at: v.number(),
  reason: v.string(),
  /** Markdown. */
  message: v.string(),
  endpoints: v.picklist(ENDPOINTS),
  trainings: v.picklist(TRAININGS),
  lead_seconds: v.number(),
});
export type MaintenanceView = v.InferOutput<typeof MaintenanceView>;

export function stateOf(row: MaintenanceRow, now: number): MaintenanceView["state"] {
  if (row.canceledAt !== null) return "canceled";
  return row.startsAt > now ? "scheduled" : row.endsAt > now ? "running" : "ended";
}

export function maintenanceView(row: MaintenanceRow, now: number): MaintenanceView {
  const { id, reason, message, endpoints, trainings } = row;
  return {
    object: "maintenance",
    id,
    state: stateOf(row, now),
    starts_at: seconds(row.startsAt),
    ends_at: seconds(row.endsAt),
    reason,
    message,
    endpoints,
    trainings,
    lead_seconds: seconds(row.leadMs),
  };
}

/** `2026-12-01 20:00`; a time in milliseconds, as UTC. */
const minute = (at: number) => formatExact(at).slice(0, 16);

/** `2026-12-01 20:00 to 22:00 UTC`; the day of the end only where it is another one. */
export function spanText(from: number, until: number): string {
  const [start, end] = [minute(from), minute(until)];
  return `${start} to ${start.slice(0, 10) === end.slice(0, 10) ? end.slice(11) : end} UTC`;
}
