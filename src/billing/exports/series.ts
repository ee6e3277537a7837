/** Use over time by group, and the jobs that used most: from the sums by day, or from intervals for hours. */

import { type SQL, sql } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { monthAt, monthRange } from "../meters/months.ts";
import type { JobUse, UsageSeries } from "./model.ts";
import {
  type Group,
  groupColumn,
  HOUR_MS,
  MEASURES,
  type Measure,
  measured,
  type UsageFilter,
  visible,
} from "./scope.ts";

const MAX_DAYS = 400;
const MAX_HOURS = 72;

/** Milliseconds since 1970; `to` is exclusive. */
export interface Period {
  from: number;
  to: number;
}

interface SeriesOf extends Period {
  groupBy: Group;
  measure: Measure;
  width: "1d" | "1h";
  /** Most groups that are listed; the others are added up. */
  limit: number;
  filter: UsageFilter;
}

/** The current calendar month, where a request names no period. */
export function periodOf(ctx: Ctx, given: { from?: number; to?: number }): Period {
  const month = monthRange(monthAt(ctx.clock.now()));
  return { from: given.from ?? month.from, to: given.to ?? Math.max(month.to, given.from ?? 0) };
}

/**
 * Whole buckets that contain a period.
 * @throws AppError `invalid_period` when it ends before it begins, or is too long
 */
function buckets({ from, to }: Period, width: "1d" | "1h"): { size: number; first: number; count: number } {
  const size = width === "1d" ? DAY_MS : HOUR_MS;
  const first = Math.floor(from / size) * size;
  const count = Math.ceil((to - first) / size);
  if (to <= from) throw new AppError("invalid", "invalid_period", "'to' must be later than 'from'.", { param: "to" });
  const most = width === "1d" ? MAX_DAYS : MAX_HOURS;
  if (count > most)
    throw new AppError(
      "invalid",
      "invalid_period",
      `The period has ${count} buckets of ${width}; at most ${most} are possible. ${width === "1h" ? "Use days, or a shorter period." : "Use a shorter period."}`,
      { param: "from" },
    );
  return { size, first, count };
}

/** The table with the time of a row, and which rows are in a period. */
function source(width: "1d" | "1h", from: number, to: number): { table: SQL; time: SQL; rows: SQL } {
  const [table, column] = width === "1d" ? ["usage_day", "day"] : ["meter_interval", "from_ms"];
  const time = sql.identifier(column);
  return {
    table: sql`${sql.identifier(table)}`,
    time: sql`${time}`,
    rows: sql`${time} >= ${from} and ${time} < ${to}`,
  };
}

/** One bucket of a group, or of all groups that are not listed (`name` is null). */
interface Cell {
  bucket: number;
  name: string | null;
  /** Place of the group among all, by size; of the last one for groups that are not listed. */
  place: number;
  sum: number;
}

/** Use in buckets of a day or an hour (UTC), for each of the largest groups. */
export async function usageSeries(ctx: Ctx, actor: Actor, of: SeriesOf): Promise<UsageSeries> {
  const { size, first, count } = buckets(of, of.width);
  const { sum, rows } = measured(of.measure);
  const { per, unit } = MEASURES[of.measure];
  const end = first + count * size;
  const from = source(of.width, first, end);
  const cells = await ctx.db.all<Cell>(
    sql`with cell as materialized (
        select ${groupColumn(of.groupBy)} name, cast((${from.time} - ${first}) / ${size} as integer) bucket, ${sum} sum
        from ${from.table} where ${visible(actor, of.filter)} and ${from.rows} and ${rows} group by 1, 2),
      ranked as (select name, row_number() over (order by sum(sum) desc, name) place from cell group by name having sum(sum) <> 0)
      select bucket, case when place <= ${of.limit} then name end name, max(place) place, sum(sum) sum
      from cell join ranked using (name) group by 1, 2 order by min(place)`,
  );
  const line = (name: string | null) => {
    const sums = new Array<number>(count).fill(0);
    for (const cell of cells) if (cell.name === name) sums[cell.bucket] = cell.sum;
    return { values: sums.map((one) => one / per), total: added(sums) / per };
  };
  const names = [...new Set(cells.map(({ name }) => name))].filter((name) => name !== null);
  const places = Math.max(0, ...cells.map(({ place }) => place));
  return {
    object: "usage.series",
    from: first / 1000,
    to: end / 1000,
    bucket_width: of.width,
    measure: of.measure,
    unit,
    group_by: of.groupBy,
    start_times: Array.from({ length: count }, (_, n) => (first + n * size) / 1000),
    groups: names.map((name) => ({ group: name || null, ...line(name) })),
    other: { groups: places - names.length, ...line(null) },
    total: added(cells.map((cell) => cell.sum)) / per,
  };
}

const added = (sums: number[]) => sums.reduce((total, one) => total + one, 0);

interface JobsOf extends Period {
  measure: Measure;
  filter: UsageFilter;
  limit: number;
  /** Id of the last job of the page before. */
  after?: string;
}

/** Jobs by what they used in the days of a period, most first; one more than `limit` when there are more. */
export async function topJobs(ctx: Ctx, actor: Actor, of: JobsOf): Promise<JobUse[]> {
  const { first, size, count } = buckets(of, "1d");
  const { rows } = measured(of.measure);
  const { meters, per } = MEASURES[of.measure];
  const sorted = meters
    ? sql`sum(case when meter in ${[...meters]} then quantity else 0 end) * 1.0 / ${per}`
    : sql`sum(case when ${rows} then micros else 0 end) * 1.0 / ${per}`;
  const found = await ctx.db.all<Omit<JobUse, "object">>(
    sql`with used as (
        select job_id id, max(kind) kind, max(user_id) user, ${sorted} value,
          sum(case when meter <> 'provider_micros' then micros else 0 end) / 1e6 cost_usd,
          sum(case when meter = 'gpu_seconds' then quantity else 0 end) / 3600.0 gpu_hours,
          sum(case when meter in ('training_tokens', 'input_tokens', 'output_tokens') then quantity else 0 end) tokens
        from usage_day where ${visible(actor, of.filter)} and day >= ${first} and day < ${first + count * size} and job_id <> ''
        group by job_id having value <> 0),
      last as (select value, id from used where id = ${of.after ?? ""})
      select used.*, job.name from used left join job on job.id = used.id and job.deleted_at is null
      where not exists (select 1 from last) or (used.value, used.id) < (select value, id from last)
      order by used.value desc, used.id desc limit ${of.limit + 1}`,
  );
  return found.map((row) => ({ object: "usage.job", ...row, user: row.user || null }));
}
