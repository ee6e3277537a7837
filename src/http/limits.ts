/** How often a key may ask. */
import { lruOf } from "../lib/lru.ts";

interface Bucket {
  tokens: number;
  at: number;
}

/**
 * A token bucket a key: `perMinute` requests at once, refilled evenly. Answers the headers OpenAI's clients read.
 * @returns null when there is no limit
 */
export function rateLimiter(
  perMinute: number,
): ((key: string, now: number) => { allowed: boolean; retryAfterS: number; headers: Record<string, string> }) | null {
  if (perMinute === 0) return null;
  const buckets = lruOf<Bucket>(20_000);
  const perMs = perMinute / 60_000;
  return (key, now) => {
    const bucket = buckets.get(key) ?? { tokens: perMinute, at: now };
    bucket.tokens = Math.min(perMinute, bucket.tokens + Math.max(0, now - bucket.at) * perMs);
    bucket.at = now;
    const allowed = bucket.tokens >= 1;
    if (allowed) bucket.tokens -= 1;
    buckets.set(key, bucket);
    return {
      allowed,
      retryAfterS: Math.ceil((1 - bucket.tokens) / perMs / 1000),
      headers: {
        "x-ratelimit-limit-requests": String(perMinute),
        "x-ratelimit-remaining-requests": String(Math.floor(bucket.tokens)),
        "x-ratelimit-reset-requests": `${Math.ceil((perMinute - bucket.tokens) / perMs / 1000)}s`,
      },
    };
  };
}
