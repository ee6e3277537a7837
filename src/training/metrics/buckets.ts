/**
 * Stores the smallest and largest value of every 32, 1,024 and 32,768 steps, so that a chart of a long run reads few
 * rows.
 */
import { sql } from "drizzle-orm";
import { sqlJson } from "../../db/json.ts";
import type { Db } from "../../db/types.ts";

/** Steps of a bucket by level. A bucket holds 32 buckets of the level below. */
export const WIDTHS = [32, 1024, 32_768] as const;

interface Bucket {
  minStep: number;
  minValue: number | null;
  maxStep: number;
  maxValue: number | null;
  count: number;
}
type Row = [series: number, width: number, bucket: number, ...rest: (number | null)[]];

function add(bucket: Bucket | undefined, step: number, value: number | null): Bucket {
  if (!bucket) return { minStep: step, minValue: value, maxStep: step, maxValue: value, count: 1 };
  bucket.count++;
  if (value !== null && (bucket.minValue === null || value < bucket.minValue)) {
    bucket.minStep = step;
    bucket.minValue = value;
  }
  if (value !== null && (bucket.maxValue === null || value > bucket.maxValue)) {
    bucket.maxStep = step;
    bucket.maxValue = value;
  }
  return bucket;
}

const rowOf = (series: number, width: number, index: number, b: Bucket): Row => [
  series,
  width,
  index,
  b.minStep,
  b.minValue,
  b.maxStep,
  b.maxValue,
  b.count,
];

/** Collects new points of a series (all beyond its last step) into rows for `mergeBuckets`. */
export function gatherBuckets(series: number, points: Iterable<[step: number, value: number | null]>): Row[] {
  const found = WIDTHS.map(() => new Map<number, Bucket>());
  for (const [step, value] of points) {
    for (const [level, width] of WIDTHS.entries()) {
      const index = Math.floor(step / width);
      const map = found[level] as Map<number, Bucket>;
      map.set(index, add(map.get(index), step, value));
    }
  }
  return found.flatMap((map, level) =>
    [...map].map(([index, bucket]) => rowOf(series, WIDTHS[level] as number, index, bucket)),
  );
}

/** Merges collected rows into the stored buckets. */
export async function mergeBuckets(tx: Db, rows: Row[]): Promise<void> {
  if (rows.length === 0) return;
  await tx.run(sql`
    insert into point_bucket (series_id, width, bucket, min_step, min_value, max_step, max_value, count)
    select value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7
    from json_each(${sqlJson(rows)}) where true
    on conflict (series_id, width, bucket) do update set
      min_step = case when point_bucket.min_value is null or excluded.min_value < point_bucket.min_value
        then excluded.min_step else point_bucket.min_step end,
      max_step = case when point_bucket.max_value is null or excluded.max_value > point_bucket.max_value
        then excluded.max_step else point_bucket.max_step end,
      min_value = coalesce(min(excluded.min_value, point_bucket.min_value), excluded.min_value, point_bucket.min_value),
      max_value = coalesce(max(excluded.max_value, point_bucket.max_value), excluded.max_value, point_bucket.max_value),
      count = point_bucket.count + excluded.count`);
}

/**
 * Rebuilds the buckets that contain `steps`, from the points and then from the level below. Called after values were
 * replaced or removed.
 */
export async function rebuildBuckets(tx: Db, series: number, steps: Iterable<number>): Promise<void> {
  let touched = new Set<number>(steps);
  for (const [level, width] of WIDTHS.entries()) {
    const below = WIDTHS[level - 1];
    touched = new Set([...touched].map((at) => Math.floor((at * (below ?? 1)) / width)));
    for (const index of touched) {
      const from = index * width;
      const source = below
        ? sql`select min_step as step, min_value as value, max_step, max_value, count from point_bucket
            where series_id = ${series} and width = ${below} and bucket >= ${from / below} and bucket < ${(from + width) / below}`
        : sql`select step, value, step as max_step, value as max_value, 1 as count from point
            where series_id = ${series} and step >= ${from} and step < ${from + width}`;
      await tx.run(
        sql`delete from point_bucket where series_id = ${series} and width = ${width} and bucket = ${index}`,
      );
      await tx.run(sql`
        insert into point_bucket (series_id, width, bucket, min_step, min_value, max_step, max_value, count)
        with source as (${source})
        select ${series}, ${width}, ${index},
          coalesce((select step from source where value is not null order by value, step limit 1), min(step)), min(value),
          coalesce((select max_step from source where max_value is not null order by max_value desc, max_step limit 1), min(step)),
          max(max_value), sum(count)
        from source having count(*) > 0`);
    }
  }
}
