/**
 * A committed batch as the stream sends it: from memory right after the commit, or from the database for a reader that
 * reconnects.
 */
import { sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { downsample } from "./downsample.ts";
import type { LogLine } from "./logs.ts";
import type { NewPoints } from "./points.ts";

/** Most points of one series and of one event. More are thinned; spikes are kept. */
const MAX_SERIES_POINTS = 1000;
const MAX_EVENT_POINTS = 20_000;

export interface BatchPayload {
  batchId: number;
  jobId: string;
  points: NewPoints;
  logs: LogLine[];
  samples: Record<string, unknown>[];
  progress: Record<string, unknown> | null;
  phase: string | null;
}

/** The text of a `batch` event. */
export function batchText(payload: BatchPayload): string {
  const { points, logs, samples, progress, phase } = payload;
  const max = Math.max(4, Math.min(MAX_SERIES_POINTS, Math.floor(MAX_EVENT_POINTS / Math.max(1, points.size))));
  const series: Record<string, unknown> = {};
  for (const [key, values] of points) {
    const steps = [...values.keys()].sort((a, b) => a - b);
    series[key] = downsample({ steps, values: steps.map((step) => values.get(step) ?? null) }, max);
  }
  const data = { job_id: payload.jobId, batch_id: payload.batchId, points: series, logs, progress, samples, phase };
  return `id: ${payload.batchId}\nevent: batch\ndata: ${JSON.stringify(data)}\n\n`;
}

interface BatchRow {
  id: number;
  jobId: string;
  firstStep: number | null;
  lastStep: number | null;
  firstLog: number | null;
  lastLog: number | null;
}

/** Up to `limit` batches of the jobs, oldest first, with `after` < id <= `upTo`. */
export async function readBatches(
  ctx: Ctx,
  jobs: string[],
  { after, upTo, limit }: { after: number; upTo: number; limit: number },
): Promise<BatchPayload[]> {
  if (jobs.length === 0) return [];
  const parts = jobs.map(
    (jobId) => sql`select * from (select id, job_id as "jobId", first_step as "firstStep", last_step as "lastStep",
      first_log as "firstLog", last_log as "lastLog" from batch where job_id = ${jobId} and id > ${after} and id <= ${upTo}
      order by id limit ${limit})`,
  );
  const rows = await ctx.db.all<BatchRow>(sql`${sql.join(parts, sql` union all `)} order by id limit ${limit}`);
  const payloads = new Map<number, BatchPayload>();
  for (const { id, jobId } of rows)
    payloads.set(id, { batchId: id, jobId, points: new Map(), logs: [], samples: [], progress: null, phase: null });
  for (const jobId of new Set(rows.map((row) => row.jobId)))
    await fill(
      ctx,
      jobId,
      rows.filter((row) => row.jobId === jobId),
      payloads,
    );
  return [...payloads.values()];
}

async function fill(ctx: Ctx, jobId: string, rows: BatchRow[], payloads: Map<number, BatchPayload>): Promise<void> {
  const ids = rows.map((row) => row.id);
  const [first, last] = [ids[0] ?? 0, ids.at(-1) ?? 0];
  const range = (low: (row: BatchRow) => number | null, high: (row: BatchRow) => number | null) => {
    const lows = rows.map(low).filter((value) => value !== null);
    const highs = rows.map(high).filter((value) => value !== null);
    return lows.length > 0 ? { from: Math.min(...lows), to: Math.max(...highs) } : null;
  };
  const steps = range(
    (row) => row.firstStep,
    (row) => row.lastStep,
  );
  if (steps) {
    const points = await ctx.db.all<{ key: string; step: number; value: number | null; batch: number }>(sql`
      select s.key, p.step, p.value, p.batch_id as batch from series s join point p on p.series_id = s.id
      where s.job_id = ${jobId} and p.step between ${steps.from} and ${steps.to} and p.batch_id between ${first} and ${last}
      order by s.id, p.step`);
    for (const { key, step, value, batch } of points) {
      const target = payloads.get(batch);
      if (!target) continue;
      const values = target.points.get(key) ?? new Map<number, number | null>();
      target.points.set(key, values.set(step, value));
    }
  }
  const lines = range(
    (row) => row.firstLog,
    (row) => row.lastLog,
  );
  if (lines) {
    const found = await ctx.db.all<LogLine & { batch: number }>(sql`
      select id, at, level, message, batch_id as batch from log_line
      where id between ${lines.from} and ${lines.to} and job_id = ${jobId} order by id`);
    for (const { batch, ...line } of found) payloads.get(batch)?.logs.push(line);
  }
  const events = await ctx.db.all<{ type: string; step: number | null; data: string; batch: number }>(sql`
    select type, step, data, batch_id as batch from event
    where job_id = ${jobId} and type in ('sample', 'phase') and batch_id between ${first} and ${last} order by n`);
  for (const { type, step, data, batch } of events) {
    const target = payloads.get(batch);
    const value = JSON.parse(data) as Record<string, unknown>;
    if (type === "phase" && target) target.phase = String(value.phase);
    else target?.samples.push({ step, ...value });
  }
  const [row] = await ctx.db.all<{ progress: string }>(sql`select progress from job where id = ${jobId}`);
  const newest = payloads.get(last);
  if (newest && row) newest.progress = JSON.parse(row.progress) as Record<string, unknown>;
}

/** The amount of data that a reader missed since batch `after`, counted up to `limit` batches. */
export async function missedBatches(
  ctx: Ctx,
  jobId: string,
  after: number,
  limit: number,
): Promise<{ batches: number; points: number }> {
  const [row] = await ctx.db.all<{ batches: number; points: number | null }>(sql`
    select count(*) as batches, sum(points) as points from
      (select points from batch where job_id = ${jobId} and id > ${after} limit ${limit})`);
  return { batches: row?.batches ?? 0, points: row?.points ?? 0 };
}

/** Id of the newest batch of any job, where a new stream begins. */
export async function newestBatch(ctx: Ctx): Promise<number> {
  const [row] = await ctx.db.all<{ id: number }>(sql`select coalesce(max(id), 0) as id from batch`);
  return row?.id ?? 0;
}
