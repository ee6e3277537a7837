/** The rate limit of API keys: how many requests a key may make a minute, counted in memory. */
import { lruOf } from "../lib/lru.ts";

interface Bucket {
  /** Requests left; a fraction while the bucket refills. */
  left: number;
  /** Monotonic milliseconds of the last refill. */
  at: number;
}

const MINUTE_MS = 60_000;
const MAX_BUCKETS = 20_000;

interface Turn {
  allowed: boolean;
  /** Whole seconds until the next request is allowed. */
  retryAfterS: number;
  /** The `x-ratelimit-*` headers that OpenAI's clients read. */
  headers: Record<string, string>;
}

/** A duration as OpenAI's headers write it, rounded up: `120ms`, `2.5s`, `6m0s`. */
export function shortDuration(ms: number): string {
  const whole = Math.round(ms);
  if (whole < 1000) return `${whole}ms`;
  const tenths = Math.ceil(whole / 100);
  if (tenths < 600) return `${tenths / 10}s`;
  const seconds = Math.ceil(tenths / 10);
  return `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}

/**
 * A token bucket for each key: `perMinute` requests at once, refilled evenly. Each call takes one request.
 * @returns null when there is no limit
 */
export function rateLimiter(perMinute: number): ((key: string, nowMs: number) => Turn) | null {
  if (perMinute === 0) return null;
  const buckets = lruOf<Bucket>(MAX_BUCKETS);
  const perMs = perMinute / MINUTE_MS;
  return (key, nowMs) => {
    const bucket = buckets.get(key) ?? { left: perMinute, at: nowMs };
    bucket.left = Math.min(perMinute, bucket.left + Math.max(0, nowMs - bucket.at) * perMs);
    bucket.at = nowMs;
    const allowed = bucket.left >= 1;
    if (allowed) bucket.left -= 1;
    buckets.set(key, bucket);
    return {
      allowed,
      retryAfterS: Math.ceil(Math.round((1 - bucket.left) / perMs) / 1000),
      headers: {
        "x-ratelimit-limit-requests": String(perMinute),
        "x-ratelimit-remaining-requests": String(Math.floor(bucket.left)),
        "x-ratelimit-reset-requests": shortDuration((perMinute - bucket.left) / perMs),
      },
    };
  };
}
