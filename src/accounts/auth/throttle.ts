/**
 * Slows down guessing: failed attempts are counted for an account, an address, and the two together, in a window of
 * fifteen minutes.
 */
import { type Ctx, perContext } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { type Lru, lruOf } from "../../lib/lru.ts";

const WINDOW_MS = 15 * 60_000;
/**
 * The pair is strict; the account alone is lenient, so that a stranger cannot easily lock its owner out; an address may
 * be a whole office.
 */
const LIMITS = { pair: 8, account: 50, address: 100 } as const;
const REMEMBERED = 20_000;

interface Count {
  failures: number;
  until: number;
}
const countsOf = perContext((): Lru<Count> => lruOf(REMEMBERED));

function keysOf(account: string, address: string): [string, number][] {
  return [
    [`pair ${address} ${account}`, LIMITS.pair],
    [`account ${account}`, LIMITS.account],
    [`address ${address}`, LIMITS.address],
  ];
}

/**
 * Counts one attempt as failed before it is made, so that parallel guesses count too; `success` takes it back. @throws
 * AppError `too_many_attempts`
 */
export function attempt(ctx: Ctx, account: string, address: string): { success(): void } {
  const table = countsOf(ctx);
  const now = ctx.clock.now();
  const entries = keysOf(account, address).map(([key, limit]) => {
    const found = table.get(key);
    return { key, limit, count: found && found.until > now ? found : { failures: 0, until: now + WINDOW_MS } };
  });
  const full = entries.find((entry) => entry.count.failures >= entry.limit);
  if (full) {
    const seconds = Math.ceil((full.count.until - now) / 1000);
    throw new AppError(
      "rate_limited",
      "too_many_attempts",
      `Too many failed attempts. Try again in ${Math.ceil(seconds / 60)} minutes.`,
      { retryAfterS: seconds },
    );
  }
  for (const { key, count } of entries) {
    count.failures++;
    table.set(key, count);
  }
  return {
    success() {
      for (const { key, count } of entries) {
        count.failures--;
        if (key.startsWith("pair ")) table.delete(key);
      }
    },
  };
}
