/** Stores and reads what trainers report: metric series, log lines, samples and events of a job. */
import { and, desc, eq, gt, inArray, isNull, lt, type SQL, sql } from "drizzle-orm";
import type { TrainerEvent } from "../../contract/trainer.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { containing, like } from "../../db/paging.ts";
import { job } from "../../db/schema/jobs.ts";
import { event, logLine } from "../../db/schema/metrics.ts";
import { notFound } from "../../errors.ts";
import { requireDisk } from "../../lib/disk/reserve.ts";
import { enqueue } from "./group.ts";
import type { AttemptRef, BatchHook } from "./ingest.ts";
import type { EventRow, HistoryLine, LogQuery, LogReply, Sample, SeriesQuery, SeriesReply } from "./model.ts";
import { newestBatch } from "./payload.ts";
import { readMany } from "./series.ts";

/** Most rows read and points sent for one answer, divided among its series. */
const MAX_ROWS = 60_000;
const MAX_SAMPLES = 500;
/** Types of events in a job's history. Metrics, samples and commands are shown elsewhere. */
const HISTORY_TYPES = [
  "state",
  "phase",
  "plan",
  "canary",
  "first_batch",
  "checkpoint",
  "ready",
  "logs_trimmed",
  "series_limit",
];
/** Recurring phases, which the checkpoints in the history already show. */
const ROUTINE = ["saving", "uploading", "sampling"];
const MAX_HISTORY = 300;

/**
 * Stores a batch of trainer events exactly once and notifies listeners after the commit. Batches that arrive together
 * share a transaction. Sequence numbers up to the last stored one are dropped, and so is everything after a gap.
 * @param hook applies state changes in the same transaction and returns what to emit after it
 * @returns the last stored sequence number, the id of the batch row (null without new events) and the new events
 * @throws AppError `attempt_replaced` (409) or `job_ended` (410) when the attempt has ended, `disk_full` (507)
 */
export async function storeBatch(
  ctx: Ctx,
  attempt: AttemptRef,
  events: TrainerEvent[],
  hook: BatchHook,
): Promise<{ lastSeq: number; batchId: number | null; events: TrainerEvent[] }> {
  // Heartbeats and job states may use the disk reserve. Everything else stays in the trainers' spools until there is
  // space.
  if (events.length > 0 && !ctx.config.database_url) requireDisk(ctx.files.root, ctx.config.disk_reserve_bytes);
  const { lastSeq, batchId, events: stored } = await enqueue(ctx, attempt, events, hook);
  return { lastSeq, batchId, events: stored };
}

/** @throws AppError `job_not_found` unless every job belongs to the actor's organization */
export async function requireJobs(ctx: Ctx, actor: Actor, ids: string[]): Promise<void> {
  if (ids.length === 0) return;
  const rows = await ctx.db
    .select({ id: job.id })
    .from(job)
    .where(and(inArray(job.id, ids), eq(job.org, actor.org), isNull(job.deletedAt)));
  const found = new Set(rows.map((row) => row.id));
  const missing = ids.find((id) => !found.has(id));
  if (missing !== undefined) throw notFound("job", missing);
}

/** The metric series of a job, thinned with their smallest and largest values. Reads few rows even of a long run. */
export async function readSeries(ctx: Ctx, jobId: string, query: SeriesQuery = {}): Promise<SeriesReply> {
  const batchId = await newestBatch(ctx);
  const rows = await ctx.db.all<{ id: number; key: string; points: number; lastStep: number | null }>(sql`
    select id, key, points, last_step as "lastStep" from series where job_id = ${jobId} order by key`);
  const wanted = query.keys ? rows.filter((row) => query.keys?.includes(row.key)) : rows;
  const rowsEach = Math.max(100, Math.floor(MAX_ROWS / Math.max(1, wanted.length)));
  const range = {
    from: query.from ?? 0,
    to: query.to ?? Number.MAX_SAFE_INTEGER,
    max: Math.max(4, Math.min(query.maxPoints ?? 2000, rowsEach)),
    rows: rowsEach,
  };
  const series: SeriesReply["series"] = {};
  const views = await readMany(ctx, wanted, range);
  for (const row of wanted) {
    const view = views.get(row.id);
    if (view) series[row.key] = view;
  }
  return { batchId, series };
}

/** Lines that one search reads before it answers with the matches so far. */
const SEARCH_SPAN = 20_000;

/** Log lines of a job: the newest ones, or those after or before a line. A search reads 20,000 lines at a time. */
export async function readLogs(ctx: Ctx, jobId: string, query: LogQuery): Promise<LogReply> {
  const forward = query.after !== undefined;
  const bounds: SQL[] = [eq(logLine.jobId, jobId)];
  if (query.after !== undefined) bounds.push(gt(logLine.id, query.after));
  if (query.before !== undefined) bounds.push(lt(logLine.id, query.before));
  let edge: number | null = null;
  if (query.search) {
    const [row] = await ctx.db.all<{ edge: number | null }>(sql`
      select ${forward ? sql`max(id)` : sql`min(id)`} as edge from (select id from log_line where ${and(...bounds)}
      order by id ${forward ? sql`asc` : sql`desc`} limit ${SEARCH_SPAN})`);
    edge = row?.edge ?? null;
    if (edge !== null) bounds.push(forward ? sql`${logLine.id} <= ${edge}` : sql`${logLine.id} >= ${edge}`);
    bounds.push(like(logLine.message, containing(query.search)));
  }
  const rows = await ctx.db
    .select({ id: logLine.id, at: logLine.at, level: logLine.level, message: logLine.message })
    .from(logLine)
    .where(and(...bounds))
    .orderBy(forward ? logLine.id : desc(logLine.id))
    .limit(query.limit + 1);
  const lines = rows.slice(0, query.limit);
  const full = rows.length > query.limit;
  const last = full ? (lines.at(-1)?.id ?? null) : edge;
  const hasMore = full || (edge !== null && (await linesBeyond(ctx, jobId, edge, forward)));
  const dropped = await ctx.db
    .select({ n: event.n })
    .from(event)
    .where(and(eq(event.jobId, jobId), eq(event.type, "logs_trimmed")))
    .limit(1);
  return {
    lines: forward ? lines : lines.reverse(),
    hasMore,
    next: hasMore ? last : null,
    trimmed: dropped.length > 0,
  };
}

async function linesBeyond(ctx: Ctx, jobId: string, edge: number, forward: boolean): Promise<boolean> {
  const rows = await ctx.db
    .select({ id: logLine.id })
    .from(logLine)
    .where(and(eq(logLine.jobId, jobId), forward ? gt(logLine.id, edge) : lt(logLine.id, edge)))
    .limit(1);
  return rows.length > 0;
}

/** The newest event of a type, or null. */
export async function newestEvent(ctx: Ctx, jobId: string, type: string): Promise<EventRow | null> {
  const [row] = await ctx.db
    .select()
    .from(event)
    .where(and(eq(event.jobId, jobId), eq(event.type, type)))
    .orderBy(desc(event.n))
    .limit(1);
  return row ?? null;
}

/** The newest 500 sample outputs, oldest step first. Of a repeated step (after a resume) only the newer counts. */
export async function listSamples(ctx: Ctx, jobId: string): Promise<Sample[]> {
  const rows = await ctx.db
    .select({ step: event.step, at: event.at, data: event.data })
    .from(event)
    .where(and(eq(event.jobId, jobId), eq(event.type, "sample")))
    .orderBy(desc(event.n))
    .limit(MAX_SAMPLES);
  const seen = new Map<string, Sample>();
  for (const { step, at, data } of rows) {
    const id = `${step} ${data?.row_id}`;
    if (!seen.has(id)) seen.set(id, { step: step ?? 0, at, ...(data as Omit<Sample, "step" | "at">) });
  }
  return [...seen.values()].sort((a, b) => a.step - b.step || a.row_id - b.row_id);
}

/** The history of a job, newest first: states, phases, checkpoints, and the trainer's plan and memory test. */
export async function listHistory(ctx: Ctx, jobId: string): Promise<HistoryLine[]> {
  const rows = await ctx.db
    .select({
      id: event.id,
      at: event.at,
      type: event.type,
      level: event.level,
      message: event.message,
      data: event.data,
    })
    .from(event)
    .where(and(eq(event.jobId, jobId), inArray(event.type, HISTORY_TYPES)))
    .orderBy(desc(event.n))
    .limit(MAX_HISTORY);
  const routine = ({ type, message, data }: (typeof rows)[number]) =>
    type === "phase" &&
    (ROUTINE.includes(String(data?.phase)) || (data?.phase === "training" && !message.includes(":")));
  return rows.filter((row) => !routine(row)).map(({ id, at, level, message }) => ({ id, at, level, message }));
}

/**
 * Events of a job, newest first, without samples.
 * @param page `after` is the id of the last event seen
 * @returns up to `limit + 1` rows; the last one shows that there are more
 * @throws AppError `event_not_found`
 */
export async function listJobEvents(
  ctx: Ctx,
  jobId: string,
  page: { after?: string | null; limit: number },
): Promise<EventRow[]> {
  let before: SQL | undefined;
  if (page.after) {
    const [from] = await ctx.db
      .select({ n: event.n })
      .from(event)
      .where(and(eq(event.id, page.after), eq(event.jobId, jobId)));
    if (!from) throw notFound("event", page.after);
    before = lt(event.n, from.n);
  }
  return ctx.db
    .select()
    .from(event)
    .where(and(eq(event.jobId, jobId), before, sql`${event.type} <> 'sample'`))
    .orderBy(desc(event.n))
    .limit(page.limit + 1);
}
