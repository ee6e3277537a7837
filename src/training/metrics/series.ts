/** Reads series for a chart: the points of short series, else the finest level of buckets that is short enough. */
import { sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";
import { WIDTHS } from "./buckets.ts";
import { type Columns, downsample, type Point } from "./downsample.ts";

export interface SeriesView {
  points: Point[];
  /** Number of points before thinning. */
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

/** Numbers as one JSON list, with 17 digits because SQLite's JSON functions round to 15. */
const jsonList = (column: Query) => sql`group_concat(iif(${column} is null, 'null', format('%!.17g', ${column})))`;
const parse = (text: string | null | undefined) => JSON.parse(`[${text ?? ""}]`);

/** The points of a query. Reading two texts is four times faster than reading rows. */
async function columns(ctx: Ctx, query: Query): Promise<Columns> {
  const [row] = await ctx.db.all<{ steps: string | null; vals: string | null }>(
    sql`select group_concat(step) as steps, ${jsonList(sql`value`)} as vals from (${query})`,
  );
  return { steps: parse(row?.steps), values: parse(row?.vals) };
}

async function lastPoint(ctx: Ctx, query: Query) {
  const [row] = await ctx.db.all<{ step: number; value: number | null }>(
    sql`select step, value from point where ${query} order by step desc limit 1`,
  );
  return row ?? null;
}

interface Range {
  /** Steps, both included. */
  from: number;
  to: number;
  /** Most points returned. */
  max: number;
  /** Most rows read, as far as the levels of buckets allow. */
  rows: number;
}

/**
 * Points of series within a range of steps, thinned to `range.max` each, with spikes. One query reads all short series;
 * long ones are read from their buckets.
 */
export async function readMany(ctx: Ctx, series: SeriesRow[], range: Range): Promise<Map<number, SeriesView>> {
  const views = new Map<number, SeriesView>();
  const short: SeriesRow[] = [];
  for (const one of series) {
    const steps = Math.min(range.to, one.lastStep ?? -1) - range.from + 1;
    // A series with sparse points is short, however long the range is.
    if (Math.min(steps, one.points) <= range.rows) short.push(one);
    else views.set(one.id, await readLong(ctx, one, range));
  }
  const found = short.length > 0 ? await readShort(ctx, short, range) : new Map<number, Columns>();
  for (const one of short) {
    const all = found.get(one.id) ?? { steps: [], values: [] };
    views.set(one.id, {
      points: downsample(all, range.max),
      count: one.points,
      last_step: all.steps.at(-1) ?? null,
      last_value: all.values.at(-1) ?? null,
    });
  }
  return views;
}

async function readShort(ctx: Ctx, series: SeriesRow[], range: Range): Promise<Map<number, Columns>> {
  const ids = sqlJson(series.map((one) => one.id));
  // Grouping by the primary key (series, step) returns the lists in order of step without a sort.
  const rows = await ctx.db.all<{ id: number; steps: string; vals: string }>(sql`
    select series_id as id, group_concat(step) as steps, ${jsonList(sql`value`)} as vals from point
    where series_id in (select value from json_each(${ids})) and step between ${range.from} and ${range.to}
    group by series_id`);
  return new Map(rows.map((row) => [row.id, { steps: parse(row.steps), values: parse(row.vals) }]));
}

async function readLong(ctx: Ctx, series: SeriesRow, range: Range): Promise<SeriesView> {
  const { from } = range;
  const to = Math.min(range.to, series.lastStep ?? -1);
  const within = (low: number, high: number) => sql`series_id = ${series.id} and step between ${low} and ${high}`;
  const last = await lastPoint(ctx, within(from, to));
  const view = { count: series.points, last_step: last?.step ?? null, last_value: last?.value ?? null };
  if (!last) return { points: [], ...view };
  const points = (low: number, high: number) =>
    columns(ctx, sql`select step, value from point where ${within(low, high)} order by step`);

  const width = WIDTHS.find((one) => (to - from + 1) / one <= range.rows) ?? (WIDTHS.at(-1) as number);
  // Buckets that are fully within the range. The ends of the range are read as points.
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
  const [row] = await ctx.db.all<Record<"a" | "x" | "b" | "y", string | null>>(sql`
    select group_concat(min_step) as a, ${jsonList(sql`min_value`)} as x, group_concat(max_step) as b, ${jsonList(sql`max_value`)} as y
    from (select min_step, min_value, max_step, max_value from point_bucket
      where series_id = ${id} and width = ${width} and bucket >= ${first} and bucket < ${end} order by bucket)`);
  const low: Columns = { steps: parse(row?.a), values: parse(row?.x) };
  const high: Columns = { steps: parse(row?.b), values: parse(row?.y) };
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
