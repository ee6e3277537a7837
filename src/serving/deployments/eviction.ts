/** Frees a serving slot: puts the deployment that has been idle for longest to sleep. */
import { eq, inArray, sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { job } from "../../db/schema/jobs.ts";
import type { DeploymentRow } from "./model.ts";
import { move } from "./records.ts";
import { runtimeOf } from "./runtime.ts";

/** A deployment used within this time is not put to sleep for another one. */
const MIN_IDLE_MS = 3_000;

/**
 * Puts the longest idle deployment to sleep when every slot is taken and one waits. Deployments that never sleep are
 * left alone.
 * @param onGpus whether the waiting one needs GPUs; GPUs and CPU slots are freed separately
 */
export async function evictIdle(ctx: Ctx, onGpus: boolean): Promise<void> {
  const runtime = runtimeOf(ctx);
  const found = await ctx.db
    .select({ row: deployment, gpus: sql<number>`json_extract(${job.spec}, '$.need.gpus')` })
    .from(deployment)
    .leftJoin(job, eq(job.id, deployment.jobId))
    .where(inArray(deployment.state, ["ready", "stopping"]))
    .limit(500);
  const rows = found.filter(({ gpus }) => (gpus ?? 0) > 0 === onGpus).map(({ row }) => row);
  if (rows.some((row) => row.state === "stopping" || row.wanted !== "running")) return;
  const engines = [...Map.groupBy(rows, (row) => row.jobId ?? row.id).values()];
  if (!onGpus && engines.length < ctx.config.serve_slots) return;
  const lastUse = (row: DeploymentRow) => Math.max(row.lastRequestAt ?? 0, runtime.used.get(row.id) ?? 0);
  // An engine that several deployments share is idle when all of them are.
  const lastUseOf = (sharing: DeploymentRow[]) => Math.max(...sharing.map(lastUse));
  const [longest = []] = engines
    .filter((sharing) => sharing.every((row) => row.idleAfterS !== null && !runtime.active.has(row.id)))
    .filter((sharing) => ctx.clock.now() - lastUseOf(sharing) > MIN_IDLE_MS)
    .sort((a, b) => lastUseOf(a) - lastUseOf(b));
  for (const row of longest) await move(ctx, row, { wanted: "asleep" });
}
