/** Reads one series for a chart: its points when there are few, else the buckets of the finest level that is short enough. */
import { sql } from "drizzle-orm";
import type { Ctx } from "../ctx.ts";
import { WIDTHS } from "./buckets.ts";
import { type Columns, downsample, type Point } from "./downsample.ts";

export interface SeriesView {
  points: Point[];
  /** Points the series has in all, before thinning. */
  count: number;
  last_step: number | null;
  last_value: number | null;
}

interface SeriesRow {
  id: number;
  points: number;
  lastStep: number | null;
}

type Query = ReturnType<typeof sql>;

/**
 * Columns of a query as arrays: two JSON texts come out of the database four times faster than as many rows.
 * Seventeen digits, since SQLite's own JSON rounds to fifteen.
 */
async function columns(ctx: Ctx, query: Query): Promise<Columns> {
  const [row] = await ctx.db.all<{ steps: string | null; vals: string | null }>(
    sql`select group_concat(step) as steps, group_concat(iif(value is null, 'null', format('%!.17g', value))) as vals from (${query})`,
  );
  return { steps: JSON.parse(`[${row?.steps ?? ""}]`), values: JSON.parse(`[${row?.vals ?? ""}]`) };
}

async function lastPoint(ctx: Ctx, query: Query) {
  const [row] = await ctx.db.all<{ step: number; value: number | null }>(
    sql`select step, value from point where ${query} order by step desc limit 1`,
  );
  return row ?? null;
}

export interface Range {
  /** Steps, both included. */
  from: number;
  to: number;
  /** Points that come back at most. */
  max: number;
  /** Rows read at most, as far as the levels of buckets allow. */
  rows: number;
}

/** Points of a series within a range of steps, thinned to `range.max`; spikes stay. */
export async function readOne(ctx: Ctx, series: SeriesRow, range: Range): Promise<SeriesView> {
  const { from } = range;
  const to = Math.min(range.to, series.lastStep ?? -1);
  const within = (low: number, high: number) => sql`series_id = ${series.id} and step between ${low} and ${high}`;
  const last = await lastPoint(ctx, within(from, to));
  const view = { count: series.points, last_step: last?.step ?? null, last_value: last?.value ?? null };
  if (!last) return { points: [], ...view };
  const points = (low: number, high: number) =>
    columns(ctx, sql`select step, value from point where ${within(low, high)} order by step`);

  const steps = to - from + 1;
  // Points may lie many steps apart: then there are few of them however long the range.
  if (Math.min(steps, series.points) <= range.rows)
    return { points: downsample(await points(from, to), range.max), ...view };

  const width = WIDTHS.find((one) => steps / one <= range.rows) ?? (WIDTHS.at(-1) as number);
  // Buckets that lie in the range as a whole; what sticks out at its ends is read point by point.
  const first = Math.ceil(from / width);
  const end = to >= (series.lastStep ?? 0) ? Math.floor(to / width) + 1 : Math.floor((to + 1) / width);
  const head = from < first * width ? await points(from, first * width - 1) : null;
  const tail = end * width <= to ? await points(end * width, to) : null;
  const middle = await bucketColumns(ctx, series.id, width, first, end);
  const all: Columns = {
    steps: [...(head?.steps ?? []), ...middle.steps, ...(tail?.steps ?? [])],
    values: [...(head?.values ?? []), ...middle.values, ...(tail?.values ?? [])],
  };
  if (all.steps.at(-1) !== last.step) {
    all.steps.push(last.step);
    all.values.push(last.value);
  }
  return { points: downsample(all, range.max), ...view };
}

/** Smallest and largest value of each bucket, in order of step. */
async function bucketColumns(ctx: Ctx, id: number, width: number, first: number, end: number): Promise<Columns> {
  const select = (step: string, value: string) => sql`
    select ${sql.raw(step)} as step, ${sql.raw(value)} as value from point_bucket
    where series_id = ${id} and width = ${width} and bucket >= ${first} and bucket < ${end} order by bucket`;
  const low = await columns(ctx, select("min_step", "min_value"));
  const high = await columns(ctx, select("max_step", "max_value"));
  const found: Columns = { steps: [], values: [] };
  for (const [index, lowStep] of low.steps.entries()) {
    const highStep = high.steps[index] as number;
    const pair: [number, number | null][] = [
      [lowStep, low.values[index] ?? null],
      [highStep, high.values[index] ?? null],
    ];
    if (lowStep > highStep) pair.reverse();
    if (lowStep === highStep) pair.pop();
    for (const [step, value] of pair) {
      found.steps.push(step);
      found.values.push(value);
    }
  }
  return found;
}
