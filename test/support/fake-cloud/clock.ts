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
 * Starts at `startAt` (milliseconds since 1970). Sleeps end in the order of their times, and what follows one runs
 * before the next ends: two sleeps of ten seconds in parallel take ten seconds.
 */
export function virtualClock(startAt = Date.UTC(2026, 10, 30, 12)): VirtualClock {
  let now = startAt;
  let sleepers: { until: number; wake: () => void }[] = [];
  let waking = false;
  function wakeNext(): void {
    const first = sleepers.reduce((a, b) => (b.until < a.until ? b : a), sleepers[0] as (typeof sleepers)[number]);
    sleepers = sleepers.filter((one) => one !== first);
    now = Math.max(now, first.until);
    first.wake();
    if (sleepers.length > 0) setImmediate(wakeNext);
    else waking = false;
  }
  return {
    now: () => now,
    monotonic: () => now - startAt,
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        if (signal?.aborted || ms <= 0) return resolve();
        sleepers.push({ until: now + ms, wake: resolve });
        if (!waking) {
          waking = true;
          setImmediate(wakeNext);
        }
      }),
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
