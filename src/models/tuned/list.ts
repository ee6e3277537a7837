/** The list of fine-tuned models on the models page, searched and paged on the server. */
import { and, desc, eq, inArray, isNull, sql } from "drizzle-orm";
import { creatorId } from "../../accounts/organizations/creators.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { olderThan } from "../../db/paging.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { job } from "../../db/schema/jobs.ts";
import { checkpoint, model } from "../../db/schema/models.ts";
import type { Listed } from "../../lib/page.ts";

export interface TunedModelItem {
  id: string;
  name: string;
  base: string;
  jobId: string;
  /** It stays on this server, as some of its training data does. */
  staysLocal: boolean;
  step: number;
  /** Validation loss of the model's checkpoint; null when it was not measured. */
  evalLoss: number | null;
  createdAt: number;
  createdBy: string;
  /** State of the newest endpoint. */
  deployment: string | null;
}

/**
 * One page of the organization's fine-tuned models, newest first.
 * @param query `after` is the last id of the previous page, `search` a part of the id, `createdBy` an id or `me`
 */
export async function listTuned(
  ctx: Ctx,
  actor: Actor,
  query: { search?: string; after?: string; limit: number; createdBy?: string },
): Promise<Listed<TunedModelItem>> {
  const [cursor] = query.after
    ? await ctx.db
        .select({ createdAt: model.createdAt, id: model.id })
        .from(model)
        .where(and(eq(model.id, query.after), eq(model.org, actor.org)))
        .limit(1)
    : [];
  const rows = await ctx.db
    .select({
      id: model.id,
      name: model.name,
      base: model.baseModelId,
      jobId: model.jobId,
      staysLocal: job.staysLocal,
      step: checkpoint.step,
      metrics: checkpoint.metrics,
      createdAt: model.createdAt,
      createdBy: model.createdBy,
    })
    .from(model)
    .innerJoin(checkpoint, eq(checkpoint.id, model.checkpointId))
    .leftJoin(job, eq(job.id, model.jobId))
    .where(
      and(
        eq(model.org, actor.org),
        isNull(model.deletedAt),
        query.search ? sql`instr(lower(${model.id}), ${query.search.toLowerCase()}) > 0` : undefined,
        query.createdBy ? eq(model.createdBy, creatorId(actor, query.createdBy)) : undefined,
        olderThan(model, cursor),
      ),
    )
    .orderBy(desc(model.createdAt), desc(model.id))
    .limit(query.limit + 1);
  const shown = rows.slice(0, query.limit);
  const states = shown.length
    ? await ctx.db
        .select({ model: deployment.model, state: deployment.state })
        .from(deployment)
        .where(
          and(
            eq(deployment.org, actor.org),
            isNull(deployment.deletedAt),
            inArray(
              deployment.model,
              shown.map((row) => row.id),
            ),
          ),
        )
        .orderBy(deployment.createdAt)
    : [];
  const stateOf = new Map(states.map((row) => [row.model, row.state]));
  return {
    items: shown.map(({ metrics, ...row }) => {
      const loss = metrics["eval/loss"];
      return {
        ...row,
        staysLocal: row.staysLocal ?? false,
        evalLoss: typeof loss === "number" ? loss : null,
        deployment: stateOf.get(row.id) ?? null,
      };
    }),
    hasMore: rows.length > query.limit,
    last: shown.at(-1)?.id ?? null,
  };
}
