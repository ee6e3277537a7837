/**
 * Data from trainers: committed batches, metric points, log lines, and other events. `batch.id` is the resume point of
 * every stream.
 */
import { index, integer, primaryKey, real, sqliteTable, text, uniqueIndex } from "drizzle-orm/sqlite-core";
import { jsonText } from "../json.ts";

export const batch = sqliteTable(
  "batch",
  {
    id: integer("id").primaryKey({ autoIncrement: true }),
    jobId: text("job_id").notNull(),
    attemptId: text("attempt_id").notNull(),
    firstSeq: integer("first_seq").notNull(),
    lastSeq: integer("last_seq").notNull(),
    at: integer("at").notNull(),
    /** What the batch contained, for streams that resume: steps of its points, ids of its log lines. */
    points: integer("points").notNull().default(0),
    firstStep: integer("first_step"),
    lastStep: integer("last_step"),
    firstLog: integer("first_log"),
    lastLog: integer("last_log"),
  },
  (t) => [index("batch_job").on(t.jobId, t.id)],
);

/** Names of series, which keeps the rows of points small. */
export const series = sqliteTable(
  "series",
  {
    id: integer("id").primaryKey({ autoIncrement: true }),
    jobId: text("job_id").notNull(),
    key: text("key").notNull(),
    points: integer("points").notNull().default(0),
    lastStep: integer("last_step"),
    lastValue: real("last_value"),
  },
  (t) => [uniqueIndex("series_job_key").on(t.jobId, t.key)],
);

/** One value of one series at one step. After a resume the newer attempt's value replaces the older one's. */
export const point = sqliteTable(
  "point",
  {
    seriesId: integer("series_id").notNull(),
    step: integer("step").notNull(),
    value: real("value"),
    at: integer("at").notNull(),
    batchId: integer("batch_id").notNull(),
  },
  (t) => [primaryKey({ columns: [t.seriesId, t.step] })],
);

/**
 * Smallest and largest value of every 32, 1,024 and 32,768 steps of a series: read by charts of long runs. A bucket of
 * only non-finite values has nulls.
 */
export const pointBucket = sqliteTable(
  "point_bucket",
  {
    seriesId: integer("series_id").notNull(),
    /** Steps a bucket spans; it begins at `bucket * width`. */
    width: integer("width").notNull(),
    bucket: integer("bucket").notNull(),
    minStep: integer("min_step").notNull(),
    minValue: real("min_value"),
    maxStep: integer("max_step").notNull(),
    maxValue: real("max_value"),
    count: integer("count").notNull(),
  },
  (t) => [primaryKey({ columns: [t.seriesId, t.width, t.bucket] })],
);

export const logLine = sqliteTable(
  "log_line",
  {
    id: integer("id").primaryKey({ autoIncrement: true }),
    jobId: text("job_id").notNull(),
    attemptId: text("attempt_id").notNull(),
    batchId: integer("batch_id").notNull(),
    at: integer("at").notNull(),
    level: text("level").notNull(),
    message: text("message").notNull(),
  },
  (t) => [index("log_line_job").on(t.jobId, t.id)],
);

/** Phases, samples, results, state changes; also the source of OpenAI's job events. */
export const event = sqliteTable(
  "event",
  {
    id: text("id").primaryKey(),
    n: integer("n").notNull(),
    jobId: text("job_id").notNull(),
    attemptId: text("attempt_id"),
    batchId: integer("batch_id"),
    at: integer("at").notNull(),
    type: text("type").notNull(),
    level: text("level").notNull().default("info"),
    message: text("message").notNull(),
    step: integer("step"),
    data: jsonText("data").$type<Record<string, unknown>>(),
  },
  (t) => [uniqueIndex("event_job_n").on(t.jobId, t.n), index("event_job_type").on(t.jobId, t.type, t.n)],
);
