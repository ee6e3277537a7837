/** The usage ledger: one line per attempt, and monthly totals by user, model, key, kind or provider. */
import { and, eq, gte, inArray, lt, type SQL, sql } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { usageLine } from "../../db/schema/billing.ts";
import { inference } from "../../db/schema/gateway.ts";
import { job } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import { newId } from "../../lib/ids.ts";
import { can } from "../../roles.ts";
import { monthAt, monthRange } from "../meters/months.ts";
import type { UsageGroup, UsageSummary } from "./model.ts";

const HOUR_MS = 3_600_000;
const MAX_GROUPS = 500;

/** What an attempt used. Times in milliseconds; the price in USD per hour is for the whole offer. */
interface UsageInput {
  org: string;
  jobId: string;
  attemptId: string;
  userId: string;
  kind: string;
  provider: string;
  gpus: number;
  startedAt: number;
  endedAt: number;
  tokens: number;
  pricePerHour: number;
}

/**
 * Writes the ledger line of an attempt in the transaction that ends it; a second call for the same attempt has no
 * effect.
 */
export async function writeUsageLine(tx: Db, usage: UsageInput): Promise<void> {
  const { startedAt, endedAt, ...rest } = usage;
  const durationMs = Math.max(0, endedAt - startedAt);
  await tx
    .insert(usageLine)
    .values({
      id: newId("usage"),
      ...rest,
      tokens: Math.max(0, Math.round(usage.tokens)),
      durationMs,
      costUsd: (durationMs / HOUR_MS) * usage.pricePerHour,
      at: endedAt,
    })
    .onConflictDoNothing({ target: usageLine.attemptId });
}

const WORK_GROUPS: Record<UsageGroup, SQL> = {
  user: sql`${usageLine.userId}`,
  model: sql`coalesce(json_extract(${job.spec}, '$.base_model.id'), 'erased')`,
  key: sql`${job.keyId}`,
  kind: sql`${usageLine.kind}`,
  provider: sql`${usageLine.provider}`,
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
  return (
    ctx.db
      .select({
        key: WORK_GROUPS[groupBy].mapWith(String).as("grouped"),
        attempts: sql<number>`count(*)`,
        durationMs: sql<number>`sum(${usageLine.durationMs})`,
        gpuMs: sql<number>`sum(${usageLine.durationMs} * ${usageLine.gpus})`,
        tokens: sql<number>`sum(${usageLine.tokens})`,
        costUsd: sql<number>`sum(${usageLine.costUsd})`,
      })
      .from(usageLine)
      // A job is gone after its team was erased; its usage counts.
      .leftJoin(job, eq(job.id, usageLine.jobId))
      .where(
        and(
          eq(usageLine.org, org),
          gte(usageLine.at, from),
          lt(usageLine.at, to),
          userId === null ? undefined : eq(usageLine.userId, userId),
        ),
      )
      .groupBy(sql`grouped`)
      .orderBy(sql`sum(${usageLine.costUsd}) desc, sum(${usageLine.durationMs}) desc`)
      .limit(MAX_GROUPS)
  );
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
    work: work.map((row) => ({
      group: row.key,
      attempts: row.attempts,
      hours: row.durationMs / HOUR_MS,
      gpu_hours: row.gpuMs / HOUR_MS,
      tokens: row.tokens,
      cost_usd: row.costUsd,
    })),
    requests: requests.map((row) => ({
      group: row.key,
      requests: row.requests,
      prompt_tokens: row.promptTokens,
      completion_tokens: row.completionTokens,
    })),
    total_cost_usd: work.reduce((sum, row) => sum + row.costUsd, 0),
  };
}

interface JobUsage {
  durationMs: number;
  tokens: number;
  costUsd: number;
}

/** Usage of the ended attempts of jobs so far, by job; jobs without attempts are omitted. */
export async function usageOfJobs(ctx: Ctx, actor: Actor, jobIds: string[]): Promise<Map<string, JobUsage>> {
  if (jobIds.length === 0) return new Map();
  const rows = await ctx.db
    .select({
      jobId: usageLine.jobId,
      durationMs: sql<number>`sum(${usageLine.durationMs})`,
      tokens: sql<number>`sum(${usageLine.tokens})`,
      costUsd: sql<number>`sum(${usageLine.costUsd})`,
    })
    .from(usageLine)
    .where(and(eq(usageLine.org, actor.org), inArray(usageLine.jobId, jobIds)))
    .groupBy(usageLine.jobId);
  return new Map(rows.map(({ jobId, ...usage }) => [jobId, usage]));
}

/** The same for one job. */
export async function usageOfJob(ctx: Ctx, actor: Actor, jobId: string): Promise<JobUsage> {
  const found = await usageOfJobs(ctx, actor, [jobId]);
  return found.get(jobId) ?? { durationMs: 0, tokens: 0, costUsd: 0 };
}
