/** Token buckets by key, in memory: an amount a minute at once, refilled evenly. */
import { lruOf } from "../../lib/lru.ts";

interface Bucket {
  /** What is left; a fraction while it refills, below 0 while more was taken than there was. */
  left: number;
  /** Monotonic milliseconds of the last refill. */
  at: number;
}

const MINUTE_MS = 60_000;
const MAX_BUCKETS = 20_000;

export interface Buckets {
  /** What is left of `perMinute` now. */
  left(key: string, perMinute: number, nowMs: number): number;
  /** Takes an amount, also more than is left; a negative one gives back. */
  take(key: string, perMinute: number, nowMs: number, amount: number): void;
}

export function createBuckets(): Buckets {
  const buckets = lruOf<Bucket>(MAX_BUCKETS);
  const refilled = (key: string, perMinute: number, nowMs: number): Bucket => {
    const bucket = buckets.get(key) ?? { left: perMinute, at: nowMs };
    const gained = (Math.max(0, nowMs - bucket.at) * perMinute) / MINUTE_MS;
    bucket.left = Math.min(perMinute, bucket.left + gained);
    bucket.at = nowMs;
    buckets.set(key, bucket);
    return bucket;
  };
  return {
    left: (key, perMinute, nowMs) => refilled(key, perMinute, nowMs).left,
    take(key, perMinute, nowMs, amount) {
      const bucket = refilled(key, perMinute, nowMs);
      bucket.left = Math.min(perMinute, bucket.left - amount);
    },
  };
}
