/** Password hashing with argon2id: at most two hashes at a time, with a bounded queue. */
import { type Ctx, perContext } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { PASSWORD_MAX } from "./password-rules.ts";

/** 19 MiB, two passes: OWASP's parameters for argon2id. */
const ARGON = { algorithm: "argon2id", memoryCost: 19_456, timeCost: 2 } as const;
const AT_ONCE = 2;
const MAX_WAITING = 64;

interface Hashing {
  running: number;
  peak: number;
  waiting: (() => void)[];
  /** A hash that no password matches. */
  decoy: Promise<string> | null;
}
const hashingOf = perContext((): Hashing => ({ running: 0, peak: 0, waiting: [], decoy: null }));

/** How many hashes run and wait now, and the most that ran at once since the start. */
export function hashingLoad(ctx: Ctx): { running: number; waiting: number; peak: number } {
  const { running, waiting, peak } = hashingOf(ctx);
  return { running, waiting: waiting.length, peak };
}

/**
 * Runs a hash when it is its turn. Each costs memory and a core for tens of milliseconds: more than two at once would
 * let sign-ins starve everything else.
 */
async function limited<T>(ctx: Ctx, work: () => Promise<T>): Promise<T> {
  const hashing = hashingOf(ctx);
  if (hashing.running >= AT_ONCE) {
    if (hashing.waiting.length >= MAX_WAITING)
      throw new AppError(
        "rate_limited",
        "too_many_sign_ins",
        "Too many people are signing in right now. Try again in a few seconds.",
        { retryAfterS: 3 },
      );
    // The slot is handed over: `running` stays as it is.
    await new Promise<void>((resolve) => hashing.waiting.push(resolve));
  } else hashing.running++;
  hashing.peak = Math.max(hashing.peak, hashing.running);
  try {
    return await work();
  } finally {
    const next = hashing.waiting.shift();
    if (next) next();
    else hashing.running--;
  }
}

/** @throws AppError `too_many_sign_ins` when the queue is full */
export function hashPassword(ctx: Ctx, password: string): Promise<string> {
  return limited(ctx, () => Bun.password.hash(password, ARGON));
}

/** @throws AppError `too_many_sign_ins` when the queue is full */
export function verifyPassword(ctx: Ctx, password: string, hash: string): Promise<boolean> {
  if (password.length > PASSWORD_MAX) return Promise.resolve(false);
  return limited(ctx, () => Bun.password.verify(password, hash));
}

/** Takes as long as a real check, so that the time of the answer does not reveal whether an account exists. */
export async function verifyNothing(ctx: Ctx, password: string): Promise<false> {
  const hashing = hashingOf(ctx);
  hashing.decoy ??= hashPassword(ctx, "no account has this password");
  await verifyPassword(ctx, password, await hashing.decoy);
  return false;
}
