/** Requests and answers of the metrics API. */
import * as v from "valibot";
import type { event } from "../../db/schema/metrics.ts";
import type { LogLine } from "./logs.ts";
import type { SeriesView } from "./series.ts";

export type EventRow = typeof event.$inferSelect;

const message = v.looseObject({ role: v.string(), content: v.nullable(v.string()) });

/** An output of the model at a checkpoint. With a `reward`, `expected` is empty. Time in milliseconds. */
const Sample = v.strictObject({
  step: v.number(),
  at: v.number(),
  row_id: v.number(),
  prompt: v.array(message),
  expected: v.string(),
  output: v.string(),
  reward: v.optional(v.number()),
});
export type Sample = v.InferOutput<typeof Sample>;
export const Samples = v.strictObject({ object: v.literal("list"), data: v.array(Sample) });

export interface SeriesQuery {
  /** Names of the series; default all. */
  keys?: string[];
  /** First and last step, both included. */
  from?: number;
  to?: number;
  /** Most points per series (4 to 10,000). */
  maxPoints?: number;
}

export interface SeriesReply {
  /** A stream opened with this id as `after` continues without a gap. */
  batchId: number;
  series: Record<string, SeriesView>;
}

export interface LogQuery {
  /** Only lines after or before this line's id. */
  after?: number;
  before?: number;
  /** Only lines that contain this text, ignoring case. */
  search?: string;
  limit: number;
}

export interface LogReply {
  /** Oldest first. */
  lines: LogLine[];
  /** There are more lines in the requested direction. */
  hasMore: boolean;
  /** The `before` (or `after`) with which a search continues. */
  next: number | null;
  /** Older lines were deleted because the job wrote too many. */
  trimmed: boolean;
}

const whole = (name: string, min: number, max: number) =>
  v.pipe(
    v.union([
      v.number(),
      v.pipe(v.string(), v.regex(/^\d{1,15}$/, `${name} must be a whole number`), v.transform(Number)),
    ]),
    v.integer(`${name} must be a whole number`),
    v.minValue(min, `${name} must be at least ${min}`),
    v.maxValue(max, `${name} must be at most ${max}`),
  );
/** A list of names: comma-separated, already split by the query parser, or given as a repeated parameter. */
const list = v.pipe(
  v.union([v.string(), v.pipe(v.array(v.union([v.string(), v.array(v.string())])), v.maxLength(200))]),
  v.transform((given) =>
    [given]
      .flat(2)
      .flatMap((text) => text.split(","))
      .filter(Boolean),
  ),
  v.maxLength(200, "at most 200 names"),
);
const step = whole("a step", 0, Number.MAX_SAFE_INTEGER);

/** `?keys=a,b&from=&to=&points=` */
export const SeriesQuerySchema = v.strictObject({
  keys: v.optional(list),
  from: v.optional(step),
  to: v.optional(step),
  points: v.optional(whole("points", 4, 10_000)),
});

export const SeveralSchema = v.strictObject({
  jobs: v.pipe(v.array(v.pipe(v.string(), v.maxLength(100))), v.minLength(1), v.maxLength(16)),
  keys: v.optional(v.pipe(v.array(v.pipe(v.string(), v.maxLength(200))), v.maxLength(100))),
  from: v.optional(step),
  to: v.optional(step),
  points: v.optional(whole("points", 4, 10_000)),
});

export const LogQuerySchema = v.strictObject({
  after: v.optional(step),
  before: v.optional(step),
  /** Read by `searchText` from the URL, because the query parser splits commas and unpacks brackets. */
  search: v.optional(v.unknown()),
  limit: v.optional(whole("limit", 1, 5000), 500),
});

/** The search text as the client wrote it, cut to 200 characters. */
export function searchText(url: string): string | undefined {
  return new URL(url).searchParams.get("search")?.slice(0, 200) || undefined;
}

export const StreamQuerySchema = v.strictObject({
  jobs: v.optional(v.pipe(list, v.maxLength(32, "at most 32 jobs a stream"))),
  topics: v.optional(v.pipe(list, v.maxLength(20))),
  after: v.optional(whole("after", 0, Number.MAX_SAFE_INTEGER)),
});

/** The series of a job by name, with points as `[step, value]`. A null value was not finite. */
export const JobMetrics = v.strictObject({
  object: v.literal("job.metrics"),
  job_id: v.string(),
  batch_id: v.number(),
  series: v.record(
    v.string(),
    v.strictObject({
      points: v.array(v.tuple([v.number(), v.nullable(v.number())])),
      count: v.number(),
      last_step: v.nullable(v.number()),
      last_value: v.nullable(v.number()),
    }),
  ),
});
export type JobMetrics = v.InferOutput<typeof JobMetrics>;
export const SeveralMetrics = v.strictObject({ object: v.literal("list"), data: v.array(JobMetrics) });

export function seriesView(jobId: string, reply: SeriesReply): JobMetrics {
  return { object: "job.metrics", job_id: jobId, batch_id: reply.batchId, series: reply.series };
}

/** Log lines, oldest first, with times in milliseconds. */
export const LogLines = v.strictObject({
  object: v.literal("list"),
  data: v.array(v.strictObject({ id: v.number(), at: v.number(), level: v.string(), message: v.string() })),
  has_more: v.boolean(),
  next: v.nullable(v.number()),
  trimmed: v.boolean(),
});
export type LogLines = v.InferOutput<typeof LogLines>;

export function logView(reply: LogReply): LogLines {
  return {
    object: "list",
    data: reply.lines,
    has_more: reply.hasMore,
    next: reply.next,
    trimmed: reply.trimmed,
  };
}

/** An event in OpenAI's form. */
export function eventView(row: EventRow) {
  const named = row.type === "metrics" || row.type === "moderation_checks";
  return {
    object: "fine_tuning.job.event" as const,
    id: row.id,
    created_at: Math.floor(row.at / 1000),
    level: row.level as "info" | "warn" | "error",
    message: row.message,
    type: named ? (row.type as "metrics" | "moderation_checks") : ("message" as const),
    ...(named && row.data ? { data: row.data } : {}),
  };
}

/** An entry of a job's history. */
export interface HistoryLine {
  id: string;
  at: number;
  level: string;
  message: string;
}
