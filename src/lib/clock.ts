/** Time: a clock that tests can replace, one that stays on its course, and waiting for a limited time. */

/** Milliseconds of a day. */
export const DAY_MS = 86_400_000;

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Milliseconds on a clock that never goes back; for durations. */
  monotonic(): number;
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Milliseconds since 1970 by the machine's clock, where `now` may not follow it yet. */
  wall?(): number;
  /** Makes `now` follow a machine's clock that was set. */
  follow?(): void;
}

/** Smaller differences between wall and monotonic clock are normal drift. */
export const CLOCK_JUMP_MS = 2000;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal?.addEventListener("abort", done);
    }),
};

/**
 * A clock that stays on its course when the machine's clock is set, until `follow` is called: whoever does that shifts
 * stored times along, so that nothing is metered or times out for hours that never passed.
 */
export function steadyClock(source: Clock): Clock {
  const read = () => ({ wall: source.now(), up: source.monotonic() });
  let last = read();
  return {
    ...source,
    now() {
      const current = read();
      const expected = last.wall + current.up - last.up;
      if (Math.abs(current.wall - expected) > CLOCK_JUMP_MS) return Math.round(expected);
      last = current;
      return current.wall;
    },
    wall: source.now,
    follow() {
      last = read();
    },
  };
}

/** What `work` gives. @throws Error `no answer within N s` when it takes longer than `ms` milliseconds */
export async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no answer within ${ms / 1000} s`)), ms);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}
