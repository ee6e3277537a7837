/** The jobs that use a dataset, for its page. */
import { and, desc, eq, isNull, sql } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";

const MAX = 20;

/** The newest training jobs of the organization that use the dataset. */
export function jobsUsing(ctx: Ctx, actor: Actor, datasetId: string) {
  return ctx.db
    .select({ id: job.id, name: job.name, state: job.state, createdAt: job.createdAt })
    .from(job)
    .where(
      and(
        eq(job.org, actor.org),
        eq(job.kind, "train"),
        isNull(job.deletedAt),
        sql`json_extract(${job.spec}, '$.dataset.dataset_id') = ${datasetId}`,
      ),
    )
    .orderBy(desc(job.createdAt), desc(job.id))
    .limit(MAX);
}
