/** A clock that tests can replace: wall time in milliseconds, a sleep that can be aborted, and the length of a day. */

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
