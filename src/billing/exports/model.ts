/** Queries and answers of use over time, of the most expensive jobs, of the forecast, and of the use of GPUs. */
import * as v from "valibot";
import { id, whole } from "../../lib/request-fields.ts";
import { GROUPS, MEASURE_NAMES } from "./scope.ts";

const seconds = whole(0, 253_402_300_799);
const filter = v.optional(v.pipe(v.string(), v.maxLength(200)));

/** Times in seconds since 1970; `to` is exclusive. */
const period = { from: v.optional(seconds), to: v.optional(seconds) };
const filters = {
  user: filter,
  model: filter,
  key: filter,
  kind: filter,
  provider: filter,
  gpu: filter,
  meter: filter,
  job: v.optional(id),
};

export const SeriesQuery = v.strictObject({
  ...period,
  ...filters,
  group_by: v.optional(v.picklist(GROUPS), "kind"),
  measure: v.optional(v.picklist(MEASURE_NAMES), "cost"),
  bucket_width: v.optional(v.picklist(["1d", "1h"]), "1d"),
  limit: v.optional(whole(1, 100), 10),
});

const group = v.nullable(v.string());

export const UsageSeries = v.strictObject({
  object: v.literal("usage.series"),
  from: v.number(),
  to: v.number(),
  bucket_width: v.picklist(["1d", "1h"]),
  measure: v.picklist(MEASURE_NAMES),
  unit: v.string(),
  group_by: v.picklist(GROUPS),
  /** Beginning of each bucket, in seconds since 1970. */
  start_times: v.array(v.number()),
  /** The largest groups, each with one value for each bucket; null = use without one, such as use without a key. */
  groups: v.array(v.strictObject({ group, total: v.number(), values: v.array(v.number()) })),
  /** All other groups together. */
  other: v.strictObject({ groups: v.number(), total: v.number(), values: v.array(v.number()) }),
  total: v.number(),
});
export type UsageSeries = v.InferOutput<typeof UsageSeries>;

export const JobsQuery = v.strictObject({
  ...period,
  ...filters,
  measure: v.optional(v.picklist(MEASURE_NAMES), "cost"),
  limit: v.optional(whole(1, 100), 10),
  after: v.optional(id),
});

/** Use of one job in a period. */
export const JobUse = v.strictObject({
  object: v.literal("usage.job"),
  id: v.string(),
  /** Null once the job was erased. */
  name: v.nullable(v.string()),
  kind: v.string(),
  user: group,
  cost_usd: v.number(),
  gpu_hours: v.number(),
  tokens: v.number(),
  /** In the unit of the measure that the list is sorted by. */
  value: v.number(),
});
export type JobUse = v.InferOutput<typeof JobUse>;

export const ForecastView = v.strictObject({
  object: v.literal("usage.forecast"),
  /** `2026-11`, UTC. */
  month: v.string(),
  month_to_date_usd: v.number(),
  /** What the whole month will cost; null before the first full day of use. */
  forecast_usd: v.nullable(v.strictObject({ low: v.number(), expected: v.number(), high: v.number() })),
  /** The monthly budget of the team, or of a member who sees only their own use; null without one. */
  budget: v.nullable(v.strictObject({ limit_usd: v.nullable(v.number()), used_usd: v.number() })),
  basis: v.strictObject({
    /** Full days that the mean is of, 0 to 7. */
    days: v.number(),
    mean_per_day_usd: v.number(),
    days_left: v.number(),
    /** Endpoints that run now: counted with their own rate until the end of the month. */
    running_endpoints: v.number(),
    running_per_hour_usd: v.number(),
  }),
});
export type ForecastView = v.InferOutput<typeof ForecastView>;

export const EXPORT_FORMATS = ["csv", "jsonl", "parquet", "focus_csv", "focus_parquet"] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

export const ExportQuery = v.strictObject({ ...period, format: v.optional(v.picklist(EXPORT_FORMATS), "csv") });

export const GpusQuery = v.strictObject(period);

/** GPU-hours of a period. `used`, `reserved`, `others` and `idle` add up to `available`, unless GPUs are shared. */
export const GpuUse = v.strictObject({
  object: v.literal("usage.gpus"),
  from: v.number(),
  to: v.number(),
  /** GPU-hours of the installation's own hosts. */
  available: v.number(),
  /** In which work of the team ran that counts. */
  used: v.number(),
  /** Held by work of the team that was loading, or was lost. */
  reserved: v.number(),
  /** Held by other teams. */
  others: v.number(),
  idle: v.number(),
  /** On machines of cloud providers, used and reserved by the team. */
  rented: v.number(),
});
export type GpuUse = v.InferOutput<typeof GpuUse>;
