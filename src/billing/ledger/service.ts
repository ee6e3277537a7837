/** Monthly usage by user, model, key, kind or provider, and the use of jobs: sums of intervals, running ones too. */
import { and, eq, gte, inArray, isNotNull, lt, type SQL, sql } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { meterInterval } from "../../db/schema/billing.ts";
import { inference } from "../../db/schema/gateway.ts";
import { can } from "../../roles.ts";
import { monthAt, monthRange } from "../meters/months.ts";
import type { UsageGroup, UsageSummary } from "./model.ts";

const HOUR_MS = 3_600_000;
const MAX_GROUPS = 500;

const row = meterInterval;
/** Rows that say how long work ran: one for each piece of an attempt. */
const isTime = sql`${row.meter} in ('gpu_seconds', 'cpu_seconds')`;
/** Wall-clock milliseconds of rows that also meet a condition. */
const timeOf = (which: SQL) => sql<number>`sum(iif(${isTime} and ${which}, ${row.to} - ${row.from}, 0))`;
const original = sql`${row.reverses} is null`;
const sumOf = (meter: string) => sql<number>`sum(iif(${row.meter} = ${meter}, ${row.quantity}, 0))`;
const costUsd = sql<number>`sum(${row.micros}) / 1e6`;

const WORK_GROUPS: Record<UsageGroup, SQL> = {
  user: sql`${row.userId}`,
  // Usage of earlier versions does not name the model of a job that was erased.
  model: sql`coalesce(${row.model}, 'erased')`,
  key: sql`${row.keyId}`,
  kind: sql`${row.kind}`,
  provider: sql`${row.provider}`,
};
const REQUEST_GROUPS: Record<UsageGroup, SQL> = {
  user: sql`${inference.userId}`,
  model: sql`case ${inference.model} when '' then 'no such model' else ${inference.model} end`,
  key: sql`${inference.keyId}`,
  kind: sql`'inference'`,
  provider: sql`'gateway'`,
};

/** The rows of a month that the actor may see. */
interface Scope {
  org: string;
  /** Null for administrators, who see everybody's. */
  userId: string | null;
  /** Milliseconds since 1970; `to` is exclusive. */
  from: number;
  to: number;
}

function workOf(ctx: Ctx, { org, userId, from, to }: Scope, groupBy: UsageGroup) {
  return ctx.db
    .select({
      key: WORK_GROUPS[groupBy].mapWith(String).as("grouped"),
      attempts: sql<number>`count(distinct ${row.attemptId})`,
      durationMs: timeOf(original),
      gpuSeconds: sumOf("gpu_seconds"),
      tokens: sumOf("training_tokens"),
      costUsd,
    })
    .from(row)
    .where(
      and(
        eq(row.org, org),
        gte(row.from, from),
        lt(row.from, to),
        isNotNull(row.attemptId),
        userId === null ? undefined : eq(row.userId, userId),
      ),
    )
    .groupBy(sql`grouped`)
    .orderBy(sql`sum(${row.micros}) desc, ${timeOf(original)} desc`)
    .limit(MAX_GROUPS);
}

function requestsOf(ctx: Ctx, { org, userId, from, to }: Scope, groupBy: UsageGroup) {
  return ctx.db
    .select({
      key: REQUEST_GROUPS[groupBy].mapWith(String).as("grouped"),
      requests: sql<number>`count(*)`,
      promptTokens: sql<number>`sum(${inference.promptTokens})`,
      completionTokens: sql<number>`sum(${inference.completionTokens})`,
    })
    .from(inference)
    .where(
      and(
        eq(inference.org, org),
        gte(inference.at, from),
        lt(inference.at, to),
        userId === null ? undefined : eq(inference.userId, userId),
      ),
    )
    .groupBy(sql`grouped`)
    .orderBy(sql`count(*) desc`)
    .limit(MAX_GROUPS);
}

/**
 * The usage of the actor's organization in a month, grouped: work (training, evaluation, endpoints) and requests to
 * models. A member sees their own, other roles everybody's.
 * @param month `YYYY-MM`, UTC; the current month when absent
 */
export async function usageSummary(
  ctx: Ctx,
  actor: Actor,
  query: { month?: string; groupBy: UsageGroup },
): Promise<UsageSummary> {
  const month = query.month ?? monthAt(ctx.clock.now());
  const userId = can(actor, "usage.team") ? null : actor.userId;
  const scope: Scope = { org: actor.org, userId, ...monthRange(month) };
  const work = await workOf(ctx, scope, query.groupBy);
  const requests = await requestsOf(ctx, scope, query.groupBy);
  return {
    object: "usage.summary",
    month,
    group_by: query.groupBy,
    work: work.map((one) => ({
      group: one.key,
      attempts: one.attempts,
      hours: one.durationMs / HOUR_MS,
      gpu_hours: one.gpuSeconds / 3600,
      tokens: one.tokens,
      cost_usd: one.costUsd,
    })),
    requests: requests.map((one) => ({
      group: one.key,
      requests: one.requests,
      prompt_tokens: one.promptTokens,
      completion_tokens: one.completionTokens,
    })),
    total_cost_usd: work.reduce((sum, one) => sum + one.costUsd, 0),
  };
}

/** What the attempts of a job used so far. Times are wall-clock time. */
export interface JobUsage {
  attempts: number;
  durationMs: number;
  /** Not charged: start-up, downloads, the memory test. */
  freeMs: number;
  /** Taken back, because the work was lost. */
  discardedMs: number;
  /** Net of what was taken back. */
  gpuSeconds: number;
  tokens: number;
  costUsd: number;
  /** What the discarded time had cost. */
  discardedUsd: number;
  /** Energy, sampled on GPUs and estimated for CPU cores; all of it, also of free and discarded time. */
  joules: number;
}

const NOTHING: JobUsage = {
  attempts: 0,
  durationMs: 0,
  freeMs: 0,
  discardedMs: 0,
  gpuSeconds: 0,
  tokens: 0,
  costUsd: 0,
  discardedUsd: 0,
  joules: 0,
};

/** Usage of jobs so far, by job; jobs that never ran are omitted. */
export async function usageOfJobs(ctx: Ctx, actor: Actor, jobIds: string[]): Promise<Map<string, JobUsage>> {
  if (jobIds.length === 0) return new Map();
  const rows = await ctx.db
    .select({
      jobId: sql<string>`${row.jobId}`,
      attempts: sql<number>`count(distinct ${row.attemptId})`,
      durationMs: timeOf(original),
      freeMs: timeOf(sql`${original} and ${row.free} > 0 and ${row.freeReason} <> 'allowance'`),
      discardedMs: timeOf(sql`not (${original})`),
      gpuSeconds: sumOf("gpu_seconds"),
      tokens: sumOf("training_tokens"),
      costUsd,
      joules: sumOf("joules"),
      discardedUsd: sql<number>`-sum(iif(${original}, 0, ${row.micros})) / 1e6`,
    })
    .from(row)
    .where(and(eq(row.org, actor.org), inArray(row.jobId, jobIds)))
    .groupBy(row.jobId);
  return new Map(rows.map(({ jobId, ...usage }) => [jobId, usage]));
}

/** The same for one job. */
export async function usageOfJob(ctx: Ctx, actor: Actor, jobId: string): Promise<JobUsage> {
  const found = await usageOfJobs(ctx, actor, [jobId]);
  return found.get(jobId) ?? NOTHING;
}
