/** Requests a minute for each API key: a bucket that refills evenly, kept in memory. */
import { type Actor, type Ctx, perContext } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { lruOf } from "../../lib/lru.ts";

interface Bucket {
  /** Requests left; a fraction while it refills. */
  left: number;
  /** Monotonic milliseconds of the last look. */
  at: number;
}

const MAX_BUCKETS = 50_000;
const bucketsOf = perContext(() => lruOf<Bucket>(MAX_BUCKETS));

/** `1m30s`, `2.5s`, `120ms`: durations as OpenAI's headers write them. */
export function shortDuration(ms: number): string {
  if (ms < 1000) return `${Math.ceil(ms)}ms`;
  const seconds = Math.ceil(ms / 100) / 10;
  if (seconds < 60) return `${seconds}s`;
  return `${Math.floor(seconds / 60)}m${Math.round(seconds % 60)}s`;
}

/**
 * Takes one request from the asker's bucket.
 * @returns the `x-ratelimit-*` headers, or null where no limit is set
 * @throws AppError `rate_limit_exceeded` with the seconds to wait
 */
export function takeRequest(ctx: Ctx, actor: Actor): Record<string, string> | null {
  const limit = ctx.config.requests_per_minute;
  if (limit === 0) return null;
  const all = bucketsOf(ctx);
  const key = actor.keyId ?? actor.userId;
  const now = ctx.clock.monotonic();
  const perMs = limit / 60_000;
  const bucket = all.get(key) ?? { left: limit, at: now };
  bucket.left = Math.min(limit, bucket.left + (now - bucket.at) * perMs);
  bucket.at = now;
  all.set(key, bucket);
  if (bucket.left < 1) {
    const waitMs = (1 - bucket.left) / perMs;
    throw new AppError(
      "rate_limited",
      "rate_limit_exceeded",
      `This key may make ${limit} requests a minute. Try again in ${shortDuration(waitMs)}.`,
      { retryAfterS: waitMs / 1000 },
    );
  }
  bucket.left -= 1;
  return {
    "x-ratelimit-limit-requests": String(limit),
    "x-ratelimit-remaining-requests": String(Math.floor(bucket.left)),
    "x-ratelimit-reset-requests": shortDuration((limit - bucket.left) / perMs),
  };
}
