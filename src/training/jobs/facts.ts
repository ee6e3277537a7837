/** Facts about jobs that lists show beside the job itself: scores, cost, dataset and user. */
import { and, eq, inArray, isNull, type SQL, sql } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { user } from "../../db/schema/auth.ts";
import { meterInterval } from "../../db/schema/billing.ts";
import { dataset } from "../../db/schema/datasets.ts";
import { evaluation } from "../../db/schema/evaluations.ts";
import { job } from "../../db/schema/jobs.ts";

const own = sql`json_extract(${job.result}, '$.tuned.exact_match.mean')`;
/** As SQL over a row of jobs, also to sort by. Losses in nats per token, cost in USD. */
export const runFacts = {
  loss: sql`coalesce(json_extract(${job.result}, '$.train_loss'), json_extract(${job.progress}, '$.loss'))`,
  evalLoss: sql`coalesce(json_extract(${job.result}, '$.eval_loss'), json_extract(${job.progress}, '$.eval_loss'))`,
  exactMatch: sql`coalesce(${own}, (select json_extract(e.result, '$.tuned.exact_match.mean') from ${evaluation} e
    where e.train_job_id = ${job.id} and e.result is not null order by e.created_at desc limit 1))`,
  cost: sql`(select sum(u.micros) / 1e6 from ${meterInterval} u where u.job_id = ${job.id})`,
  dataset: sql`(select d.name from ${dataset} d where d.id = json_extract(${job.spec}, '$.dataset.dataset_id'))`,
  user: sql`iif(${job.createdBy} = 'system', 'the server',
    (select coalesce(nullif(w.name, ''), w.email) from ${user} w where w.id = ${job.createdBy}))`,
} satisfies Record<string, SQL>;

export interface RunFacts {
  loss: number | null;
  evalLoss: number | null;
  exactMatch: number | null;
  cost: number | null;
  dataset: string | null;
  /** Name of who created it, else the e-mail address; null for an account that was erased. */
  user: string | null;
}

/** The facts of jobs by id. */
export async function factsOf(ctx: Ctx, ids: string[]): Promise<Map<string, RunFacts>> {
  if (ids.length === 0) return new Map();
  const number = (value: SQL) => sql<number | null>`${value}`;
  const text = (value: SQL) => sql<string | null>`${value}`;
  const rows = await ctx.db
    .select({
      id: job.id,
      loss: number(runFacts.loss),
      evalLoss: number(runFacts.evalLoss),
      exactMatch: number(runFacts.exactMatch),
      cost: number(runFacts.cost),
      dataset: text(runFacts.dataset),
      user: text(runFacts.user),
    })
    .from(job)
    .where(inArray(job.id, ids));
  return new Map(rows.map(({ id, ...facts }) => [id, facts]));
}

/** Most choices of a filter. */
const CHOICES = 100;

/** What the jobs of an organization can be filtered by: users and datasets with their names, base models, tags. */
export async function filterOptions(ctx: Ctx, actor: Actor) {
  const mine = and(eq(job.org, actor.org), isNull(job.deletedAt));
  const datasetId = sql<string | null>`json_extract(${job.spec}, '$.dataset.dataset_id')`;
  const base = sql<string | null>`json_extract(${job.spec}, '$.base_model.id')`;
  const users = await ctx.db
    .selectDistinct({ id: job.createdBy, name: sql<string | null>`${runFacts.user}` })
    .from(job)
    .where(mine)
    .limit(CHOICES);
  const datasets = await ctx.db
    .selectDistinct({ id: datasetId, name: sql<string | null>`${runFacts.dataset}` })
    .from(job)
    .where(mine)
    .limit(CHOICES);
  const bases = await ctx.db.selectDistinct({ id: base }).from(job).where(mine).limit(CHOICES);
  const tags = await ctx.db.all<{ tag: string }>(
    sql`select distinct t.value as tag from ${job}, json_each(${job.tags}) t where ${mine} order by 1 limit ${CHOICES}`,
  );
  const named = (rows: { id: string | null; name: string | null }[]) =>
    rows.flatMap(({ id, name }): [string, string][] => (id && name ? [[id, name]] : []));
  return {
    users: named(users),
    datasets: named(datasets),
    bases: bases.flatMap(({ id }): [string, string][] => (id ? [[id, id]] : [])),
    tags: tags.map((row) => row.tag),
  };
}
