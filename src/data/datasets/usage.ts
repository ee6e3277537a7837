/** The jobs that use datasets: those of one for its page, and their number for the list. */
import { and, count, desc, eq, inArray, isNull, sql } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";

const MAX = 20;
/** The expression of the index `job_dataset`. */
const datasetId = sql<string>`${job.spec} ->> '$.dataset.dataset_id'`;
/** The training jobs of the organization that are shown. */
const shown = (actor: Actor) => and(eq(job.org, actor.org), eq(job.kind, "train"), isNull(job.deletedAt));

/** The newest training jobs of the organization that use any version of the dataset. */
export function jobsUsing(ctx: Ctx, actor: Actor, id: string) {
  return ctx.db
    .select({ id: job.id, name: job.name, state: job.state, createdAt: job.createdAt })
    .from(job)
    .where(and(shown(actor), eq(datasetId, id)))
    .orderBy(desc(job.createdAt), desc(job.id))
    .limit(MAX);
}

/** The number of training jobs that use any version, by dataset id; without the datasets that no job uses. */
export async function usesOf(ctx: Ctx, actor: Actor, ids: string[]): Promise<Map<string, number>> {
  if (ids.length === 0) return new Map();
  const rows = await ctx.db
    .select({ id: datasetId, jobs: count() })
    .from(job)
    .where(and(shown(actor), inArray(datasetId, ids)))
    .groupBy(datasetId);
  return new Map(rows.map(({ id, jobs }) => [id, jobs]));
}
