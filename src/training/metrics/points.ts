/** Writes metric points in bulk, tracks the ends of their series, and drops points that a resumed attempt repeats. */
import { sql } from "drizzle-orm";
import { sqlJson } from "../../db/json.ts";
import type { Db } from "../../db/types.ts";
import { gatherBuckets, mergeBuckets, rebuildBuckets } from "./buckets.ts";
import type { Draft, SeriesEnd } from "./state.ts";

/** Most metric names of a job. More indicate a mistake in the trainer, such as a step number in the name. */
export const MAX_SERIES = 500;
/** Points within this many milliseconds of each other share one time. */
const SAME_TIME_MS = 1000;

/** Values by series name and step; the last value of a step counts. */
export type NewPoints = Map<string, Map<number, number | null>>;

interface PointBatch {
  jobId: string;
  batchId: number;
  points: NewPoints;
  /** Time of each step in milliseconds. */
  times: Map<number, number>;
}

async function seriesEnds(
  tx: Db,
  draft: Draft,
  jobId: string,
  keys: Iterable<string>,
): Promise<Map<string, SeriesEnd>> {
  const ends = new Map<string, SeriesEnd>();
  const unknown: string[] = [];
  for (const key of keys) {
    const known = draft.series(jobId, key);
    if (known) ends.set(key, known);
    else unknown.push(key);
  }
  if (unknown.length === 0) return ends;
  for (const [key, end] of await storedEnds(tx, jobId)) if (!ends.has(key)) ends.set(key, end);
  const fresh = unknown.filter((key) => !ends.has(key)).slice(0, Math.max(0, MAX_SERIES - ends.size));
  if (fresh.length > 0) {
    const rows = await tx.all<{ id: number; key: string }>(
      sql`insert into series (job_id, key) select ${jobId}, value from json_each(${sqlJson(fresh)}) returning id, key`,
    );
    for (const { id, key } of rows) ends.set(key, { id, lastStep: null, lastValue: null, points: 0 });
  }
  for (const [key, end] of ends) draft.setSeries(jobId, key, end);
  return ends;
}

async function storedEnds(tx: Db, jobId: string): Promise<[string, SeriesEnd][]> {
  const rows = await tx.all<SeriesEnd & { key: string }>(
    sql`select id, key, points, last_step as "lastStep", last_value as "lastValue" from series where job_id = ${jobId}`,
  );
  return rows.map(({ key, ...end }) => [key, end]);
}

/**
 * Writes values as `{series: {step: value}}`, which SQLite unpacks fastest. Values carry times when the times differ by
 * more than `SAME_TIME_MS`.
 */
async function insertPoints(tx: Db, batch: PointBatch, ends: Map<string, SeriesEnd>): Promise<void> {
  const times = [...batch.times.values()];
  const first = times.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const together = times.every((time) => time - first <= SAME_TIME_MS);
  const bySeries: Record<string, Record<string, unknown>> = {};
  for (const [key, values] of batch.points) {
    const end = ends.get(key);
    if (!end) continue;
    const entry: Record<string, unknown> = {};
    for (const [step, value] of values) entry[step] = together ? value : [value, batch.times.get(step) ?? first];
    bySeries[end.id] = entry;
  }
  const columns = together ? sql`p.value, ${first}` : sql`p.value->>0, p.value->>1`;
  await tx.run(sql`
    insert into point (series_id, step, value, at, batch_id)
    select cast(s.key as integer), cast(p.key as integer), ${columns}, ${batch.batchId}
    from json_each(${sqlJson(bySeries)}) s, json_each(s.value) p where true
    on conflict (series_id, step) do update set value = excluded.value, at = excluded.at, batch_id = excluded.batch_id`);
}

interface WrittenPoints {
  /** Names of series beyond the limit, whose values were dropped. */
  refused: string[];
  /** Steps at which a series changed from a finite to a non-finite value. */
  broken: { key: string; step: number }[];
}

/** Stores points, buckets and ends of series. Existing steps are replaced. */
export async function writePoints(tx: Db, draft: Draft, batch: PointBatch): Promise<WrittenPoints> {
  const written: WrittenPoints = { refused: [], broken: [] };
  if (batch.points.size === 0) return written;
  const ends = await seriesEnds(tx, draft, batch.jobId, batch.points.keys());
  const buckets = [];
  const updates: (number | null)[][] = [];
  const again: [number, number[]][] = [];
  for (const [key, values] of batch.points) {
    const end = ends.get(key);
    if (!end) {
      written.refused.push(key);
      continue;
    }
    const known = end.lastStep ?? -1;
    const forward: [number, number | null][] = [];
    const back: number[] = [];
    let { lastStep, lastValue } = end;
    let finite = end.lastValue !== null || end.points === 0;
    for (const [step, value] of values) {
      if (step > known) forward.push([step, value]);
      else back.push(step);
      if (lastStep === null || step >= lastStep) [lastStep, lastValue] = [step, value];
      if (value === null && finite) written.broken.push({ key, step });
      finite = value !== null;
    }
    const replaced = back.length > 0 ? await countExisting(tx, end.id, back) : 0;
    const next = { id: end.id, lastStep, lastValue, points: end.points + values.size - replaced };
    draft.setSeries(batch.jobId, key, next);
    updates.push([next.id, next.points, next.lastStep, next.lastValue]);
    buckets.push(...gatherBuckets(end.id, forward));
    if (back.length > 0) again.push([end.id, back]);
  }
  await insertPoints(tx, batch, ends);
  await mergeBuckets(tx, buckets);
  for (const [series, steps] of again) await rebuildBuckets(tx, series, steps);
  await tx.run(sql`update series set points = u.value->>1, last_step = u.value->>2, last_value = u.value->>3
    from json_each(${sqlJson(updates)}) u where series.id = u.value->>0`);
  return written;
}

async function countExisting(tx: Db, series: number, steps: number[]): Promise<number> {
  const rows = await tx.all<{ n: number }>(sql`select count(*) as n from json_each(${sqlJson(steps)}) s
    join point on point.series_id = ${series} and point.step = s.value`);
  return rows[0]?.n ?? 0;
}

/** Drops all points of a job beyond `step`, so that an attempt that resumes there repeats none. */
export async function trimPoints(tx: Db, draft: Draft, jobId: string, step: number): Promise<void> {
  for (const [key, end] of await storedEnds(tx, jobId)) {
    if (end.lastStep === null || end.lastStep <= step) continue;
    await tx.run(sql`delete from point where series_id = ${end.id} and step > ${step}`);
    await tx.run(sql`delete from point_bucket where series_id = ${end.id} and bucket * width > ${step}`);
    await rebuildBuckets(tx, end.id, [step]);
    const [left] = await tx.all<{ points: number; lastStep: number | null; lastValue: number | null }>(sql`
      select count(*) as points, max(step) as "lastStep", value as "lastValue" from point where series_id = ${end.id}`);
    const next = {
      id: end.id,
      points: left?.points ?? 0,
      lastStep: left?.lastStep ?? null,
      lastValue: left?.lastValue ?? null,
    };
    await tx.run(sql`update series set points = ${next.points}, last_step = ${next.lastStep}, last_value = ${next.lastValue}
      where id = ${end.id}`);
    draft.setSeries(jobId, key, next);
  }
}
