/** Streams all metrics of a job as CSV, with one line per step and one column per series. */
import type { Ctx } from "../../ctx.ts";
import { csvField } from "../../lib/text/csv.ts";
import { readSteps } from "./steps.ts";

/** Lines `step,time,<series…>`. Times are ISO 8601; missing and non-finite values are empty. */
export async function* metricsCsv(ctx: Ctx, jobId: string): AsyncGenerator<string> {
  const { keys, pieces } = await readSteps(ctx, jobId);
  yield `${["step", "time", ...keys.map(csvField)].join(",")}\n`;
  for await (const steps of pieces)
    yield steps
      .map(
        ({ step, at, values }) => `${step},${new Date(at).toISOString()},${values.map((one) => one ?? "").join(",")}\n`,
      )
      .join("");
}
