/**
 * The list of jobs: newest first, paged, with any combination of filters. Each combination is prepared as a statement
 * once and then reused with new values.
 */

import { and, asc, desc, eq, isNull, type SQL, sql } from "drizzle-orm";
import { creatorId } from "../../accounts/organizations/creators.ts";
import type { JobState } from "../../contract/job.ts";
import type { JobKind } from "../../contract/spec.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { builtOnce, rowsOf } from "../../db/built.ts";
import { sqlJson } from "../../db/json.ts";
import { containing, like } from "../../db/paging.ts";
import { job } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { runFacts } from "./facts.ts";
import type { JobRow } from "./model.ts";
import { getJob } from "./store.ts";

export interface JobQuery {
  kind?: JobKind;
  state?: JobState | JobState[];
  /** Part of a name, id or model, in any case. */
  search?: string;
  /** Key-value pairs a job must have; null = jobs without metadata. */
  metadata?: Record<string, string> | null;
  parentId?: string;
  /** An id, or `me`. */
  createdBy?: string;
  datasetId?: string;
  /** Id of the base model. */
  base?: string;
  tag?: string;
  /** Only archived jobs, or only others. */
  archived?: boolean;
  /** A column, with `-` for descending; default `-created`. */
  sort?: string;
  after?: string;
  limit: number;
}

const { placeholder } = sql;
const matches = (text: SQL | typeof job.name) => like(text, placeholder("like"));

/** Every filter, by the name of its value. */
const FILTERS = {
  kind: eq(job.kind, placeholder("kind")),
  states: sql`${job.state} in (select value from json_each(${placeholder("states")}))`,
  parentId: eq(job.parentId, placeholder("parentId")),
  like: sql`(${matches(job.name)} or ${matches(sql`${job.id}`)} or ${matches(sql`json_extract(${job.spec}, '$.output_model')`)}
    or ${matches(sql`json_extract(${job.spec}, '$.base_model.id')`)})`,
  pairs: sql`not exists (select 1 from json_each(${placeholder("pairs")}) wanted where not exists
    (select 1 from json_each(${job.metadata}) m where m.key = wanted.key and m.value = wanted.value))`,
  metadata: sql`${job.metadata} = ${placeholder("metadata")}`,
  createdBy: eq(job.createdBy, placeholder("createdBy")),
  datasetId: sql`${job.spec} ->> '$.dataset.dataset_id' = ${placeholder("datasetId")}`,
  base: sql`json_extract(${job.spec}, '$.base_model.id') = ${placeholder("base")}`,
  tag: sql`exists (select 1 from json_each(${job.tags}) where value = ${placeholder("tag")})`,
  archived: sql`(${job.archivedAt} is not null) = ${placeholder("archived")}`,
  createdAt: sql`(${job.createdAt}, ${job.id}) < (${placeholder("createdAt")}, ${placeholder("id")})`,
} satisfies Record<string, SQL>;

/** Columns that the list can be sorted by. */
const COLUMNS: Record<string, SQL> = {
  name: sql`lower(${job.name})`,
  state: sql`${job.state}`,
  kind: sql`${job.kind}`,
  created: sql`${job.createdAt}`,
  duration: sql`coalesce(${job.finishedAt}, ${job.progressAt}) - ${job.startedAt}`,
  loss: runFacts.loss,
  eval_loss: runFacts.evalLoss,
  exact_match: runFacts.exactMatch,
  cost: runFacts.cost,
  dataset: runFacts.dataset,
  base: sql`json_extract(${job.spec}, '$.base_model.id')`,
  method: sql`json_extract(${job.spec}, '$.method.type')`,
  user: runFacts.user,
};

type Filter = keyof typeof FILTERS;
const isFilter = (name: string): name is Filter => name in FILTERS;

function buildList(db: Db, filters: Filter[]) {
  return db
    .select()
    .from(job)
    .where(and(eq(job.org, placeholder("org")), isNull(job.deletedAt), ...filters.map((name) => FILTERS[name])))
    .orderBy(desc(job.createdAt), desc(job.id))
    .limit(placeholder("limit"))
    .prepare();
}

const builtLists = builtOnce(() => new Map<string, ReturnType<typeof buildList>>());

/** The values of the filters of a query, by their names. */
function valuesOf(actor: Actor, query: JobQuery): Record<string, string | number> {
  const values: Record<string, string | number> = { org: actor.org, limit: query.limit + 1 };
  if (query.kind) values.kind = query.kind;
  if (query.state) values.states = sqlJson([query.state].flat());
  if (query.createdBy) values.createdBy = creatorId(actor, query.createdBy);
  for (const name of ["parentId", "datasetId", "base", "tag"] as const) {
    const value = query[name];
    if (value) values[name] = value;
  }
  if (query.archived !== undefined) values.archived = query.archived ? 1 : 0;
  if (query.search) values.like = containing(query.search);
  if (query.metadata === null) values.metadata = "{}";
  else if (query.metadata) values.pairs = sqlJson(query.metadata);
  return values;
}

/** Newest first; returns one row more than `limit` when there are more. `after`: id of the last row seen. */
export async function listJobs(ctx: Ctx, actor: Actor, query: JobQuery): Promise<JobRow[]> {
  const values = valuesOf(actor, query);
  if (query.sort && query.sort !== "-created") return sortedJobs(ctx, actor, query, values);
  if (query.after) {
    const { createdAt, id } = await getJob(ctx, actor, query.after);
    Object.assign(values, { createdAt, id });
  }
  const filters = Object.keys(values).filter(isFilter);
  const key = filters.join();
  const lists = builtLists(ctx.db);
  let list = lists.get(key);
  if (!list) {
    list = buildList(ctx.db, filters);
    lists.set(key, list);
  }
  return rowsOf(job, await list.values(values));
}

/** Jobs in the order of a column, nulls last; the newest first among equals. */
async function sortedJobs(ctx: Ctx, actor: Actor, query: JobQuery, values: Record<string, string | number>) {
  const sort = query.sort ?? "";
  const column = COLUMNS[sort.replace(/^-/, "")];
  if (!column) {
    const names = Object.keys(COLUMNS).join(", ");
    throw new AppError("invalid", "invalid_value", `sort must be one of ${names}, or one of them with - before it.`, {
      param: "sort",
    });
  }
  const down = sort.startsWith("-");
  let beyond: SQL | undefined;
  if (query.after) {
    const { createdAt, id } = await getJob(ctx, actor, query.after);
    const [last] = await ctx.db.select({ value: column }).from(job).where(eq(job.id, id));
    const older = sql`(${job.createdAt}, ${job.id}) < (${createdAt}, ${id})`;
    const value = last?.value ?? null;
    beyond =
      value === null
        ? sql`(${column} is null and ${older})`
        : sql`(${column} is null or ${column} ${sql.raw(down ? "<" : ">")} ${value} or (${column} = ${value} and ${older}))`;
  }
  const filters = Object.keys(values)
    .filter(isFilter)
    .map((name) => FILTERS[name]);
  return ctx.db
    .select()
    .from(job)
    .where(and(eq(job.org, placeholder("org")), isNull(job.deletedAt), ...filters, beyond))
    .orderBy(sql`${column} is null`, down ? desc(column) : asc(column), desc(job.createdAt), desc(job.id))
    .limit(placeholder("limit"))
    .prepare()
    .execute(values);
}

/** The number of jobs that match, counted up to `most`. */
export async function countJobs(ctx: Ctx, actor: Actor, query: Omit<JobQuery, "limit">, most: number): Promise<number> {
  const { limit: _, ...values } = valuesOf(actor, { ...query, limit: 0 });
  const filters = Object.keys(values)
    .filter(isFilter)
    .map((name) => FILTERS[name]);
  const found = ctx.db
    .select({ one: sql`1`.as("one") })
    .from(job)
    .where(and(eq(job.org, placeholder("org")), isNull(job.deletedAt), ...filters))
    .limit(most)
    .as("found");
  const [row] = await ctx.db.select({ n: sql<number>`count(*)` }).from(found).prepare().execute(values);
  return row?.n ?? 0;
}
