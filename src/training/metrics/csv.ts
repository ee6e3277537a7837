/** Streams all metrics of a job as CSV, with one line per step and one column per series. */
import { sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";
import { csvField } from "../../lib/text/csv.ts";

const STEPS_A_READ = 2000;

/** Lines `step,time,<series…>`. Times are ISO 8601; missing and non-finite values are empty. */
export async function* metricsCsv(ctx: Ctx, jobId: string): AsyncGenerator<string> {
  const series = await ctx.db.all<{ id: number; key: string }>(
    sql`select id, key from series where job_id = ${jobId} order by key`,
  );
  yield `${["step", "time", ...series.map((one) => csvField(one.key))].join(",")}\n`;
  const column = new Map(series.map((one, index) => [one.id, index]));
  const ids = sqlJson(series.map((one) => one.id));
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
    let text = "";
    let step = -1;
    let at = 0;
    let fields: string[] = [];
    const flush = () => {
      if (step >= 0) text += `${step},${new Date(at).toISOString()},${fields.join(",")}\n`;
    };
    for (const row of rows) {
      if (row.step !== step) {
        flush();
        step = row.step;
        at = row.at;
        fields = series.map(() => "");
      }
      if (row.value !== null) fields[column.get(row.s) ?? 0] = String(row.value);
    }
    flush();
    yield text;
  }
}
