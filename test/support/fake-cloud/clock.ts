/**
 * A virtual clock for tests with a fake cloud: a sleep moves time to its end at once, so that hours pass in an
 * instant.
 */
import type { Clock } from "../../../src/lib/clock.ts";

export interface VirtualClock extends Clock {
  /** Moves time forward by milliseconds. */
  advance(ms: number): void;
}

/**
 * Starts at `startAt` (milliseconds since 1970). Sleeps that overlap end at their own times: the sum of two sleeps of
 * ten seconds in parallel is ten seconds.
 */
export function virtualClock(startAt = Date.UTC(2026, 10, 30, 12)): VirtualClock {
  let now = startAt;
  return {
    now: () => now,
    monotonic: () => now - startAt,
    async sleep(ms, signal) {
      if (signal?.aborted) return;
      const until = now + Math.max(0, ms);
      await Promise.resolve();
      now = Math.max(now, until);
    },
    advance(ms) {
      now += ms;
    },
  };
}

/** Real time, `factor` times as fast: for tests whose machines are real processes. */
export function fastClock(factor: number): Clock {
  const begin = Date.now();
  const from = performance.now();
  const passed = () => (performance.now() - from) * factor;
  return {
    now: () => begin + passed(),
    monotonic: passed,
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        if (signal?.aborted) return resolve();
        const timer = setTimeout(resolve, ms / factor);
        signal?.addEventListener("abort", () => {
          clearTimeout(timer);
          resolve();
        });
      }),
  };
}
