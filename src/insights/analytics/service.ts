/** Usage analytics: statistics of a deployment, tokens by model, key, user or day, and the figures of the home page. */
import { and, desc, eq, gte, inArray, lt, sql } from "drizzle-orm";
import { type Actor, type Ctx, perContext } from "../../ctx.ts";
import { accountName } from "../../db/accounts.ts";
import { apiKey, user } from "../../db/schema/auth.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { inference } from "../../db/schema/gateway.ts";
import { job } from "../../db/schema/jobs.ts";
import { lruOf } from "../../lib/lru.ts";
import { can } from "../../roles.ts";
import { getDeployment } from "../../serving/deployments/service.ts";
import {
  type DeploymentStats,
  type Group,
  type HomeSummary,
  type Percentiles,
  percentile,
  type SeriesPoint,
  type UsageGroup,
  type WindowStats,
} from "./model.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** Number of newest requests that percentiles are computed from. */
const SAMPLE = 5_000;
const MAX_GROUPS = 500;
/** Pages poll every few seconds; they share one cached answer. */
const CACHE_MS = 3_000;
const cacheOf = perContext(() => lruOf<{ at: number; value: Promise<unknown> }>(1000));

/** Computes `make` at most once every three seconds for a key. */
async function cached<T>(ctx: Ctx, key: string, make: () => Promise<T>): Promise<T> {
  const all = cacheOf(ctx);
  const now = ctx.clock.monotonic();
  const known = all.get(key);
  if (known && now - known.at < CACHE_MS) return known.value as Promise<T>;
  const value = make();
  all.set(key, { at: now, value });
  value.catch(() => all.delete(key));
  return value;
}

const isError = sql`(${inference.status} >= 400 and ${inference.status} <> 499 or ${inference.finish} = 'error')`;
const sums = {
  requests: sql<number>`count(*)`,
  errors: sql<number>`coalesce(sum(${isError}), 0)`,
  left: sql<number>`coalesce(sum(${inference.status} = 499), 0)`,
  promptTokens: sql<number>`coalesce(sum(${inference.promptTokens}), 0)`,
  completionTokens: sql<number>`coalesce(sum(${inference.completionTokens}), 0)`,
};

function percentiles(values: (number | null)[]): Percentiles {
  const sorted = values.filter((value) => value !== null).sort((a, b) => a - b);
  return { p50: percentile(sorted, 0.5), p95: percentile(sorted, 0.95), p99: percentile(sorted, 0.99) };
}

async function windowStats(ctx: Ctx, deploymentId: string, ms: number): Promise<WindowStats> {
  const since = and(eq(inference.deploymentId, deploymentId), gte(inference.at, ctx.clock.now() - ms));
  const [total] = await ctx.db.select(sums).from(inference).where(since);
  const sample = await ctx.db
    .select({
      total: inference.totalMs,
      first: inference.firstTokenMs,
      overhead: inference.overheadMs,
      tokens: inference.completionTokens,
    })
    .from(inference)
    .where(and(since, eq(inference.status, 200)))
    .orderBy(desc(inference.at))
    .limit(SAMPLE);
  // Generation speed: without the wait for the first token, where that is known.
  const speeds = sample.map((row) => {
    const ms = row.total - (row.first ?? 0);
    return row.tokens > 1 && ms > 0 ? ((row.tokens - (row.first === null ? 0 : 1)) / ms) * 1000 : null;
  });
  return {
    seconds: ms / 1000,
    requests: total?.requests ?? 0,
    errors: total?.errors ?? 0,
    left: total?.left ?? 0,
    prompt_tokens: total?.promptTokens ?? 0,
    completion_tokens: total?.completionTokens ?? 0,
    latency_ms: percentiles(sample.map((row) => row.total)),
    first_token_ms: percentiles(sample.map((row) => row.first)),
    overhead_ms: percentiles(sample.map((row) => row.overhead)),
    tokens_per_second: percentiles(speeds).p50,
  };
}

async function series(ctx: Ctx, deploymentId: string, ms: number, stepMs: number): Promise<SeriesPoint[]> {
  const now = ctx.clock.now();
  const first = Math.floor((now - ms) / stepMs) + 1;
  const bucket = sql<number>`${inference.at} / ${sql.raw(String(stepMs))}`;
  const rows = await ctx.db
    .select({ bucket, ...sums })
    .from(inference)
    .where(and(eq(inference.deploymentId, deploymentId), gte(inference.at, first * stepMs)))
    .groupBy(bucket);
  const found = new Map(rows.map((row) => [row.bucket, row]));
  return Array.from({ length: Math.round(ms / stepMs) }, (_, n) => {
    const row = found.get(first + n);
    return {
      at: ((first + n) * stepMs) / 1000,
      requests: row?.requests ?? 0,
      errors: row?.errors ?? 0,
      completion_tokens: row?.completionTokens ?? 0,
    };
  });
}

/**
 * Statistics of the last hour and day. Percentiles are computed from the newest 5,000 successful answers of the window.
 */
export async function deploymentStats(ctx: Ctx, actor: Actor, id: string): Promise<DeploymentStats> {
  await getDeployment(ctx, actor, id);
  return cached(ctx, `stats ${id}`, async () => ({
    object: "deployment.stats",
    deployment_id: id,
    last_hour: await windowStats(ctx, id, HOUR),
    last_day: await windowStats(ctx, id, DAY),
    minutes: await series(ctx, id, HOUR, 60_000),
    hours: await series(ctx, id, DAY, HOUR),
  }));
}

const GROUP_BY = {
  model: sql<string>`case ${inference.model} when '' then 'no such model' else ${inference.model} end`,
  key: sql<string>`coalesce(${inference.keyId}, 'session')`,
  user: sql<string>`${inference.userId}`,
  day: sql<string>`date(${inference.at} / 1000, 'unixepoch')`,
} as const;

/**
 * Tokens and requests of the organization by model, key, user or day, most requests first (days: newest first).
 * Members see their own; administrators see everybody's.
 * @param range milliseconds since 1970; the last 30 days when absent
 */
export async function inferenceUsage(
  ctx: Ctx,
  actor: Actor,
  range: { from?: number; to?: number; groupBy: Group },
): Promise<UsageGroup[]> {
  const to = range.to ?? ctx.clock.now() + 1;
  const from = range.from ?? to - 30 * DAY;
  const id = GROUP_BY[range.groupBy];
  const rows = await ctx.db
    .select({ id, ...sums })
    .from(inference)
    .where(
      and(
        eq(inference.org, actor.org),
        gte(inference.at, from),
        lt(inference.at, to),
        can(actor, "usage.team") ? undefined : eq(inference.userId, actor.userId),
      ),
    )
    .groupBy(id)
    .orderBy(range.groupBy === "day" ? desc(id) : desc(sums.requests))
    .limit(MAX_GROUPS);
  const names = await namesOf(
    ctx,
    range.groupBy,
    rows.map((row) => row.id),
  );
  return rows.map((row) => ({
    object: "inference.usage",
    id: row.id,
    name: names.get(row.id) ?? null,
    requests: row.requests,
    errors: row.errors,
    prompt_tokens: row.promptTokens,
    completion_tokens: row.completionTokens,
  }));
}

async function namesOf(ctx: Ctx, group: Group, ids: string[]): Promise<Map<string, string>> {
  if (ids.length === 0 || group === "model" || group === "day") return new Map();
  const rows =
    group === "key"
      ? await ctx.db.select({ id: apiKey.id, name: apiKey.name }).from(apiKey).where(inArray(apiKey.id, ids))
      : await ctx.db.select({ id: user.id, name: accountName }).from(user).where(inArray(user.id, ids));
  return new Map(rows.map((row) => [row.id, row.name]));
}

/** The figures of the home page. */
export function homeSummary(ctx: Ctx, actor: Actor): Promise<HomeSummary> {
  return cached(ctx, `home ${actor.org}`, async () => {
    const yesterday = ctx.clock.now() - DAY;
    const [jobs] = await ctx.db
      .select({
        running: sql<number>`coalesce(sum(${job.state} in ('starting', 'running', 'pausing', 'stopping')), 0)`,
        queued: sql<number>`coalesce(sum(${job.state} in ('validating', 'queued')), 0)`,
        failed: sql<number>`coalesce(sum(${job.state} = 'failed' and ${job.finishedAt} >= ${yesterday}), 0)`,
      })
      .from(job)
      .where(
        and(
          eq(job.org, actor.org),
          inArray(job.kind, ["train", "evaluate", "export"]),
          inArray(job.state, ["validating", "queued", "starting", "running", "pausing", "stopping", "failed"]),
        ),
      );
    const [endpoints] = await ctx.db
      .select({
        ready: sql<number>`coalesce(sum(${deployment.state} = 'ready'), 0)`,
        asleep: sql<number>`coalesce(sum(${deployment.state} = 'asleep'), 0)`,
        failed: sql<number>`coalesce(sum(${deployment.state} = 'failed'), 0)`,
      })
      .from(deployment)
      .where(and(eq(deployment.org, actor.org), sql`${deployment.deletedAt} is null`));
    const [use] = await ctx.db
      .select(sums)
      .from(inference)
      .where(and(eq(inference.org, actor.org), gte(inference.at, yesterday)));
    return {
      jobs: { running: jobs?.running ?? 0, queued: jobs?.queued ?? 0, failed_last_day: jobs?.failed ?? 0 },
      deployments: {
        ready: endpoints?.ready ?? 0,
        asleep: endpoints?.asleep ?? 0,
        failed: endpoints?.failed ?? 0,
      },
      last_day: {
        requests: use?.requests ?? 0,
        errors: use?.errors ?? 0,
        prompt_tokens: use?.promptTokens ?? 0,
        completion_tokens: use?.completionTokens ?? 0,
      },
    };
  });
}
