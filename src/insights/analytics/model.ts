/** What the analytics room takes and gives. Latencies in milliseconds. */
import * as v from "valibot";

/** Percentiles of a sample; null where nothing was measured. */
export interface Percentiles {
  p50: number | null;
  p95: number | null;
  p99: number | null;
}

/** Numbers of one stretch of time. */
export interface WindowStats {
  seconds: number;
  requests: number;
  /** Answered with 400 or more, or broken off by the engine; a client that left is no error. */
  errors: number;
  left: number;
  prompt_tokens: number;
  completion_tokens: number;
  latency_ms: Percentiles;
  first_token_ms: Percentiles;
  overhead_ms: Percentiles;
  /** Tokens a second of one answer, at the median. */
  tokens_per_second: number | null;
}

export interface SeriesPoint {
  at: number;
  requests: number;
  errors: number;
  completion_tokens: number;
}

export interface DeploymentStats {
  object: "deployment.stats";
  deployment_id: string;
  last_hour: WindowStats;
  last_day: WindowStats;
  /** The last hour by the minute. */
  minutes: SeriesPoint[];
  /** The last day by the hour. */
  hours: SeriesPoint[];
}

const GROUPS = ["model", "key", "user", "day"] as const;
export type Group = (typeof GROUPS)[number];
const Seconds = v.pipe(v.string(), v.regex(/^\d{1,12}$/), v.transform(Number));
export const UsageQuery = v.strictObject({
  /** Unix seconds; the last 30 days when absent. */
  from: v.optional(Seconds),
  to: v.optional(Seconds),
  group_by: v.optional(v.picklist(GROUPS), "model"),
});

export interface UsageGroup {
  object: "inference.usage";
  /** Model id, key id, user id, or day (`2026-01-31`). */
  id: string;
  /** Name of the key or e-mail of the user, where there is one. */
  name: string | null;
  requests: number;
  errors: number;
  prompt_tokens: number;
  completion_tokens: number;
}

export interface HomeSummary {
  jobs: { running: number; queued: number; failed_last_day: number };
  deployments: { ready: number; asleep: number; failed: number };
  last_day: { requests: number; errors: number; prompt_tokens: number; completion_tokens: number };
}

/** The value below which `share` of a sorted sample lies. */
export function percentile(sorted: readonly number[], share: number): number | null {
  if (sorted.length === 0) return null;
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? null;
}
