/**
 * The list of jobs: newest first, paged, with any combination of filters. Each combination is prepared as a statement
 * once and then reused with new values.
 */

import { and, desc, eq, type SQL, sql } from "drizzle-orm";
import type { JobState } from "../../contract/job.ts";
import type { JobKind } from "../../contract/spec.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { builtOnce, rowsOf } from "../../db/built.ts";
import { sqlJson } from "../../db/json.ts";
import { containing, like } from "../../db/paging.ts";
import { job } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
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
  createdAt: sql`(${job.createdAt}, ${job.id}) < (${placeholder("createdAt")}, ${placeholder("id")})`,
} satisfies Record<string, SQL>;

type Filter = keyof typeof FILTERS;
const isFilter = (name: string): name is Filter => name in FILTERS;

function buildList(db: Db, filters: Filter[]) {
  return db
    .select()
    .from(job)
    .where(and(eq(job.org, placeholder("org")), ...filters.map((name) => FILTERS[name])))
    .orderBy(desc(job.createdAt), desc(job.id))
    .limit(placeholder("limit"))
    .prepare();
}

const builtLists = builtOnce(() => new Map<string, ReturnType<typeof buildList>>());

/** Newest first; returns one row more than `limit` when there are more. `after`: id of the last row seen. */
export async function listJobs(ctx: Ctx, actor: Actor, query: JobQuery): Promise<JobRow[]> {
  const values: Record<string, string | number> = { org: actor.org, limit: query.limit + 1 };
  if (query.kind) values.kind = query.kind;
  if (query.state) values.states = sqlJson([query.state].flat());
  if (query.parentId) values.parentId = query.parentId;
  if (query.search) values.like = containing(query.search);
  if (query.metadata === null) values.metadata = "{}";
  else if (query.metadata) values.pairs = sqlJson(query.metadata);
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
