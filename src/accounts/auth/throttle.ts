/**
 * Limits password guessing: counts failed attempts of an account, of an address, and of the two together within 15
 * minutes.
 */
import { type Ctx, perContext } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { type Lru, lruOf } from "../../lib/lru.ts";

const WINDOW_MS = 15 * 60_000;
/**
 * The pair has a strict limit. The account has a lenient one, so that a stranger cannot easily lock out its owner. An
 * address may belong to a whole office.
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
 * Counts an attempt as failed before the password is checked, so that parallel guesses count too; `success` undoes it.
 * @throws AppError `too_many_attempts`
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
