/** Reads all metrics of a job step by step, however long it ran. */
import { sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";

const STEPS_A_READ = 2000;

/** One step: when it was reported (milliseconds since 1970), and the values of `keys`; non-finite ones are null. */
interface MetricStep {
  step: number;
  at: number;
  values: (number | null)[];
}

/** The names of a job's series, in order, and its steps in pieces. */
export async function readSteps(
  ctx: Ctx,
  jobId: string,
): Promise<{ keys: string[]; pieces: AsyncGenerator<MetricStep[]> }> {
  const series = await ctx.db.all<{ id: number; key: string }>(
    sql`select id, key from series where job_id = ${jobId} order by key`,
  );
  const ids = series.map((one) => one.id);
  return { keys: series.map((one) => one.key), pieces: piecesOf(ctx, ids) };
}

async function* piecesOf(ctx: Ctx, series: number[]): AsyncGenerator<MetricStep[]> {
  const column = new Map(series.map((id, index) => [id, index]));
  const ids = sqlJson(series);
  let next = 0;
  for (;;) {
    const [found] = await ctx.db.all<{ step: number | null }>(sql`
      select min(step) as step from (select (select min(step) from point where series_id = ids.value and step >= ${next}) as step
      from json_each(${ids}) ids)`);
    const from = found?.step ?? null;
    if (from === null) return;
    next = from + STEPS_A_READ;
    const rows = await ctx.db.all<{ s: number; step: number; value: number | null; at: number }>(sql`
      select series_id as s, step, value, at from point
      where series_id in (select value from json_each(${ids})) and step >= ${from} and step < ${next} order by step`);
    const steps: MetricStep[] = [];
    for (const { s, step, value, at } of rows) {
      let last = steps.at(-1);
      if (last?.step !== step) {
        last = { step, at, values: series.map(() => null) };
        steps.push(last);
      }
      last.values[column.get(s) ?? 0] = value;
    }
    yield steps;
  }
}
