/** One rate limiter per API key: requests wait for their turn, and a vendor's "slow down" holds for all of them. */
import type { ProviderHost } from "../../src/contract/provider.ts";

/** Requests that would wait longer fail as `rate_limited`, so that the host can do something else meanwhile. */
const LONGEST_WAIT_MS = 30_000;

export interface Limiter {
  /**
   * Waits for the next turn of all the `names`, each with its own gap. Throws `rate_limited` when that takes too
   * long.
   */
  turn(...names: string[]): Promise<void>;
  /** Nothing is sent for `seconds`. */
  pause(seconds: number): void;
}

/** @param gaps milliseconds between two requests of a name */
export function createLimiter(host: ProviderHost, gaps: Readonly<Record<string, number>>): Limiter {
  const next = new Map<string, number>();
  let pausedUntil = 0;
  return {
    async turn(...names) {
      const now = host.clock.now();
      const at = Math.max(now, pausedUntil, ...names.map((name) => next.get(name) ?? 0));
      if (at - now > LONGEST_WAIT_MS)
        throw host.error("rate_limited", "The vendor's rate limit for this API key is used up.", {
          retryAfterS: Math.ceil((at - now) / 1000),
          vendorCode: "429",
        });
      for (const name of names) next.set(name, at + (gaps[name] ?? 0));
      if (at > now) await host.clock.sleep(at - now, host.signal);
    },
    pause(seconds) {
      pausedUntil = Math.max(pausedUntil, host.clock.now() + seconds * 1000);
    },
  };
}
