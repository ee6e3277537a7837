/** A clock that stands still until a test moves it. */
import type { Clock } from "../../src/lib/clock.ts";

export interface FakeClock extends Clock {
  /** Moves time and wakes the sleepers whose time has come. */
  advance(ms: number): void;
}

export function fakeClock(startAt = Date.UTC(2026, 0, 5, 9)): FakeClock {
  let now = startAt;
  const sleepers = new Set<{ at: number; wake: () => void }>();
  return {
    now: () => now,
    monotonic: () => now - startAt,
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        if (signal?.aborted || ms <= 0) return resolve();
        const sleeper = {
          at: now + ms,
          wake: () => {
            sleepers.delete(sleeper);
            resolve();
          },
        };
        sleepers.add(sleeper);
        signal?.addEventListener("abort", sleeper.wake);
      }),
    advance(ms) {
      now += ms;
      for (const sleeper of [...sleepers].sort((a, b) => a.at - b.at)) if (sleeper.at <= now) sleeper.wake();
    },
  };
}
