/** Shapes of this room: what the API takes, and how rows look in its answers. */
import * as v from "valibot";
import type { WireMessage } from "../../contract/trainer.ts";
import type { event } from "../../db/schema/metrics.ts";
import type { LogLine } from "./logs.ts";
import type { SeriesView } from "./series.ts";

export type EventRow = typeof event.$inferSelect;

export interface Sample {
  step: number;
  at: number;
  row_id: number;
  prompt: WireMessage[];
  expected: string;
  output: string;
  /** Of methods that learn from rewards; nothing is expected then. */
  reward?: number;
}

export interface SeriesQuery {
  /** Only these series; all when absent. */
  keys?: string[];
  /** Only steps from and to, both included. */
  from?: number;
  to?: number;
  /** At most so many points a series (4 to 10,000). */
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
  /** Only lines that contain this text, letters in either case. */
  search?: string;
  limit: number;
}

export interface LogReply {
  /** Oldest first. */
  lines: LogLine[];
  /** More lines lie beyond this answer in the direction asked for. */
  hasMore: boolean;
  /** Where a search that found too little goes on: the next `before` (or `after`). */
  next: number | null;
  /** Older lines were dropped because the job wrote too many. */
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
/** Names separated by commas, which the query parser has split already, or the parameter repeated. */
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
  /** Read from the address itself (`searchText`): the query parser splits commas and unpacks brackets. */
  search: v.optional(v.unknown()),
  limit: v.optional(whole("limit", 1, 5000), 500),
});

/** The text to search for as the client wrote it; cut to 200 characters. */
export function searchText(url: string): string | undefined {
  return new URL(url).searchParams.get("search")?.slice(0, 200) || undefined;
}

export const StreamQuerySchema = v.strictObject({
  jobs: v.optional(v.pipe(list, v.maxLength(32, "at most 32 jobs a stream"))),
  topics: v.optional(v.pipe(list, v.maxLength(20))),
  after: v.optional(whole("after", 0, Number.MAX_SAFE_INTEGER)),
});

export function seriesView(jobId: string, reply: SeriesReply) {
  return { object: "job.metrics" as const, job_id: jobId, batch_id: reply.batchId, series: reply.series };
}

/** `at` of a line is in milliseconds, here as in the stream. */
export function logView(reply: LogReply) {
  return {
    object: "list" as const,
    data: reply.lines,
    has_more: reply.hasMore,
    next: reply.next,
    trimmed: reply.trimmed,
  };
}

/** An event in OpenAI's form. */
export function eventView(row: EventRow) {
  const metrics = row.type === "metrics";
  return {
    object: "fine_tuning.job.event" as const,
    id: row.id,
    created_at: Math.floor(row.at / 1000),
    level: row.level as "info" | "warn" | "error",
    message: row.message,
    type: metrics ? ("metrics" as const) : ("message" as const),
    ...(metrics && row.data ? { data: row.data } : {}),
  };
}

/** One line of what became of a job. */
export interface HistoryLine {
  id: string;
  at: number;
  level: string;
  message: string;
}
