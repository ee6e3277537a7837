/** Queries and answers of usage analytics. Latencies in milliseconds, times in seconds since 1970. */
import * as v from "valibot";
import { PageQuery } from "../../lib/page.ts";
import { id } from "../../lib/request-fields.ts";

const number = v.nullable(v.number());
/** Percentiles of a sample; null where nothing was measured. */
const Percentiles = v.strictObject({ p50: number, p95: number, p99: number });
export type Percentiles = v.InferOutput<typeof Percentiles>;

/** Statistics of one time window. */
const WindowStats = v.strictObject({
  seconds: v.number(),
  requests: v.number(),
  /** Requests with status 400 or higher, or aborted by the engine; client disconnects are not errors. */
  errors: v.number(),
  /** Requests whose client disconnected. */
  left: v.number(),
  prompt_tokens: v.number(),
  completion_tokens: v.number(),
  latency_ms: Percentiles,
  first_token_ms: Percentiles,
  overhead_ms: Percentiles,
  /** Median tokens per second of one answer. */
  tokens_per_second: number,
});
export type WindowStats = v.InferOutput<typeof WindowStats>;

const SeriesPoint = v.strictObject({
  at: v.number(),
  requests: v.number(),
  errors: v.number(),
  completion_tokens: v.number(),
});
export type SeriesPoint = v.InferOutput<typeof SeriesPoint>;

/** `minutes`: the last hour by the minute. `hours`: the last day by the hour. */
export const DeploymentStats = v.strictObject({
  object: v.literal("deployment.stats"),
  deployment_id: v.string(),
  last_hour: WindowStats,
  last_day: WindowStats,
  minutes: v.array(SeriesPoint),
  hours: v.array(SeriesPoint),
});
export type DeploymentStats = v.InferOutput<typeof DeploymentStats>;

/** Which requests of a deployment: `status` is a code or a class such as `5xx`, `key` a key id or `session`. */
const REQUEST_FILTER = {
  status: v.optional(v.pipe(v.string(), v.regex(/^[1-5](?:xx|\d\d)$/, "must be a status such as 200 or 5xx"))),
  key: v.optional(id),
};
export const RequestsQuery = v.strictObject({
  ...PageQuery.entries,
  after: v.optional(v.pipe(v.string(), v.regex(/^\d{1,15}$/, "must be the id of a request in this list"))),
  ...REQUEST_FILTER,
});
export interface RequestFilter {
  status?: string;
  key?: string;
}

/** One request to a deployment, without its contents. Latencies in milliseconds. */
export const DeploymentRequest = v.strictObject({
  object: v.literal("deployment.request"),
  /** Its place in the list, for `after`. */
  id: v.string(),
  /** The `x-request-id` of the answer. */
  request_id: v.string(),
  created_at: v.number(),
  model: v.string(),
  /** Null for a browser session; the name also for a deleted key. */
  key_id: v.nullable(v.string()),
  key_name: v.nullable(v.string()),
  user_id: v.string(),
  /** The address of a person, or the name of a service account. */
  user_email: v.nullable(v.string()),
  /** 499: the client disconnected. */
  status: v.number(),
  streamed: v.boolean(),
  prompt_tokens: v.number(),
  completion_tokens: v.number(),
  first_token_ms: number,
  latency_ms: v.number(),
  /** Why the answer ended: `stop`, `length`, `tool_calls`, or `error` when the engine broke it off. */
  finish_reason: v.nullable(v.string()),
});
export type DeploymentRequest = v.InferOutput<typeof DeploymentRequest>;

const GROUPS = ["model", "key", "user", "day"] as const;
export type Group = (typeof GROUPS)[number];
const Seconds = v.pipe(v.string(), v.regex(/^\d{1,12}$/), v.transform(Number));
export const UsageQuery = v.strictObject({
  /** Seconds since 1970; the last 30 days when absent. */
  from: v.optional(Seconds),
  to: v.optional(Seconds),
  group_by: v.optional(v.picklist(GROUPS), "model"),
});

/**
 * `id` is a model id, key id, user id, or day (`2026-01-31`); `name` is the key's name or the user's e-mail, where
 * there is one.
 */
const UsageGroup = v.strictObject({
  object: v.literal("inference.usage"),
  id: v.string(),
  name: v.nullable(v.string()),
  requests: v.number(),
  errors: v.number(),
  prompt_tokens: v.number(),
  completion_tokens: v.number(),
});
export type UsageGroup = v.InferOutput<typeof UsageGroup>;

export const UsageGroups = v.strictObject({
  object: v.literal("list"),
  data: v.array(UsageGroup),
  has_more: v.literal(false),
});
export type UsageGroups = v.InferOutput<typeof UsageGroups>;

export interface HomeSummary {
  jobs: { running: number; queued: number; failed_last_day: number };
  deployments: { ready: number; asleep: number; failed: number };
  last_day: { requests: number; errors: number; prompt_tokens: number; completion_tokens: number };
}

/** The smallest value of a sorted sample that at least `share` of it do not exceed; null for an empty sample. */
export function percentile(sorted: readonly number[], share: number): number | null {
  if (sorted.length === 0) return null;
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? null;
}
