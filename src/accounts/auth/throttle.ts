/**
 * Limits guessing: counts failed attempts in the database, so that a restart does not reset them. There is no limit for
 * an account alone: strangers could keep its owner out.
 */
import { inArray, lte, sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { failedAttempt } from "../../db/schema/sign-in.ts";
import { AppError } from "../../errors.ts";
import { networkOf } from "../../lib/net/network.ts";

const WINDOW_MS = 15 * 60_000;
/**
 * Failures within a window. `pair` is an account from one network, `device` an account in a browser that has signed in
 * before: its owner behind a shared address. A network may belong to a whole office.
 */
const LIMITS = { pair: 8, device: 8, network: 100 } as const;

interface Attempt {
  /** Takes the count back after a correct answer, and forgets the failures of the account here. */
  success(): Promise<void>;
  /** Takes the count back when nothing was checked, as when the server is overloaded. */
  undo(): Promise<void>;
  /** This failure reached a limit: the next attempt is refused. */
  readonly last: boolean;
}

interface Who {
  /** What is guessed: an address, or `code` and a user id. */
  account: string;
  address: string;
  /** Id of a browser that is known to the account; its failures count apart. */
  device?: string | null;
}

function bucketsOf({ account, address, device }: Who): [keyof typeof LIMITS, string][] {
  if (device) return [["device", `${device} ${account}`]];
  const network = networkOf(address);
  return [
    ["pair", `${network} ${account}`],
    ["network", network],
  ];
}

const keyOf = (ctx: Ctx, kind: string, text: string) =>
  new Bun.CryptoHasher("sha256", ctx.secret).update(`attempt ${kind} ${text}`).digest("base64url");

function tooMany(untilMs: number): AppError {
  const seconds = Math.ceil(untilMs / 1000);
  return new AppError(
    "rate_limited",
    "too_many_attempts",
    `Too many failed attempts. Try again in ${Math.ceil(seconds / 60)} minutes.`,
    { retryAfterS: seconds },
  );
}

/**
 * Counts an attempt as failed before it is checked, so that parallel guesses count too; `success` undoes it.
 * @throws AppError `too_many_attempts`
 */
export async function attempt(ctx: Ctx, who: Who): Promise<Attempt> {
  const buckets = bucketsOf(who).map(([kind, text]) => ({ kind, limit: LIMITS[kind], key: keyOf(ctx, kind, text) }));
  const keys = buckets.map((each) => each.key);
  const now = ctx.clock.now();
  const last = await ctx.write(
    async (tx) => {
      await tx.delete(failedAttempt).where(lte(failedAttempt.until, now));
      const rows = await tx.select().from(failedAttempt).where(inArray(failedAttempt.key, keys));
      const failuresOf = (key: string) => rows.find((row) => row.key === key)?.failures ?? 0;
      const full = buckets.find((each) => failuresOf(each.key) >= each.limit);
      if (full) throw tooMany((rows.find((row) => row.key === full.key)?.until ?? now) - now);
      await tx
        .insert(failedAttempt)
        .values(keys.map((key) => ({ key, failures: 1, until: now + WINDOW_MS })))
        .onConflictDoUpdate({ target: failedAttempt.key, set: { failures: sql`${failedAttempt.failures} + 1` } });
      return buckets.some((each) => failuresOf(each.key) + 1 >= each.limit);
    },
    { relaxed: true },
  );
  const takeBack = (tx: Parameters<Parameters<Ctx["write"]>[0]>[0], which: string[]) =>
    tx
      .update(failedAttempt)
      .set({ failures: sql`max(0, ${failedAttempt.failures} - 1)` })
      .where(inArray(failedAttempt.key, which));
  return {
    last,
    async success() {
      const [own = "", ...shared] = keys;
      await ctx.write(
        async (tx) => {
          await tx.delete(failedAttempt).where(inArray(failedAttempt.key, [own]));
          if (shared.length > 0) await takeBack(tx, shared);
        },
        { relaxed: true },
      );
    },
    async undo() {
      await ctx.write((tx) => takeBack(tx, keys), { relaxed: true });
    },
  };
}
