/** Endpoints that cost money although nobody asks them. */
import { desc, eq } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { attempt, job } from "../../db/schema/jobs.ts";
import { formatDuration, formatMoney } from "../../lib/text/format.ts";
import type { DeploymentRow } from "./model.ts";
import { runtimeOf } from "./runtime.ts";

/** The last use of an endpoint that this server or its row knows of, in milliseconds since 1970. */
export function lastUseOf(ctx: Ctx, { id, lastRequestAt, createdAt }: DeploymentRow): number {
  const { used, since } = runtimeOf(ctx);
  return Math.max(lastRequestAt ?? 0, used.get(id) ?? 0, since.get(id) ?? 0) || createdAt;
}

/**
 * Why a ready endpoint is stopped: nobody asked its engine for `paid_idle_after_s`, and its machine has a price.
 * @returns a sentence without a period; null = it stays
 */
export async function idleAtCost(ctx: Ctx, row: DeploymentRow): Promise<string | null> {
  const limitS = ctx.config.paid_idle_after_s;
  const since = ctx.clock.now() - limitS * 1000;
  if (limitS === 0 || row.state !== "ready" || row.jobId === null || lastUseOf(ctx, row) > since) return null;
  // Endpoints that share an engine stop together: one of them alone saves nothing.
  const sharing = await ctx.db.select().from(deployment).where(eq(deployment.jobId, row.jobId));
  const { active } = runtimeOf(ctx);
  if (sharing.some((each) => active.has(each.id) || lastUseOf(ctx, each) > since)) return null;
  const [engine] = await ctx.db
    .select({ offer: attempt.offer, provider: attempt.provider, startedAt: job.startedAt })
    .from(attempt)
    .innerJoin(job, eq(job.id, attempt.jobId))
    .where(eq(attempt.jobId, row.jobId))
    .orderBy(desc(attempt.number))
    .limit(1);
  if (!engine || engine.offer.pricePerHour <= 0 || (engine.startedAt ?? 0) > since) return null;
  const machine = ctx.compute.get(engine.provider)?.plugin.title ?? engine.provider;
  const price = formatMoney(engine.offer.pricePerHour);
  return `It had no request for ${formatDuration(limitS)} on a machine of ${machine} for ${price} an hour`;
}
