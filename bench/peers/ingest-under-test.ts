/**
 * Our server in a separate process with running attempts, for the benchmarks of ingestion and chart reads. Prints
 * address, key and tokens.
 */
import { sql } from "drizzle-orm";
import { createTestApp } from "../../test/support/app.ts";
import { makeTrainer } from "../../test/support/attempt.ts";

const count = Number(process.argv[2] ?? 1);
const t = await createTestApp();
const trainers = [];
for (let n = 0; n < count; n++) trainers.push(await makeTrainer(t));
/**
 * Every point of a job as JSON, which a chart would read without thinning. Part of the benchmark, not of the product.
 */
async function everyPoint(jobId: string): Promise<Response> {
  const rows = await t.ctx.db.all<{ key: string; step: number; value: number }>(
    sql`select s.key, p.step, p.value from series s join point p on p.series_id = s.id where s.job_id = ${jobId} order by s.id, p.step`,
  );
  const series: Record<string, [number, number][]> = {};
  for (const { key, step, value } of rows) {
    const points = series[key] ?? [];
    series[key] = points;
    points.push([step, value]);
  }
  return Response.json(series);
}

const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  development: false,
  fetch(request) {
    const { pathname } = new URL(request.url);
    return pathname.startsWith("/naive/") ? everyPoint(pathname.slice(7)) : t.app.fetch(request);
  },
});
t.app.server = server;
process.stdout.write(
  `${JSON.stringify({
    url: `http://127.0.0.1:${server.port}`,
    key: t.keys.admin,
    dir: t.dir,
    trainers: trainers.map(({ jobId, token }) => ({ jobId, token })),
  })}\n`,
);
process.on("SIGTERM", async () => {
  await server.stop(true);
  await t.close();
  process.exit(0);
});
