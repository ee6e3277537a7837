/** Passwords: the rules, and argon2id with at most two hashes at a time and a bounded queue behind them. */
import { AppError } from "../../errors.ts";
import { isCommonPassword } from "./common-passwords.ts";

export const PASSWORD_MIN = 8;
export const PASSWORD_MAX = 256;
/** 19 MiB, two passes: OWASP's parameters for argon2id. */
const ARGON = { algorithm: "argon2id", memoryCost: 19_456, timeCost: 2 } as const;
const AT_ONCE = 2;
const MAX_WAITING = 64;

let running = 0;
let peak = 0;
const waiting: (() => void)[] = [];

/** How many hashes ran at once at most since the start, and how many run and wait now. */
export function hashingLoad(): { running: number; waiting: number; peak: number } {
  return { running, waiting: waiting.length, peak };
}

/**
 * Each hash costs memory and a core for tens of milliseconds; more than two at once would let sign-ins starve
 * everything else.
 */
async function limited<T>(work: () => Promise<T>): Promise<T> {
  if (running >= AT_ONCE) {
    if (waiting.length >= MAX_WAITING)
      throw new AppError(
        "rate_limited",
        "too_many_sign_ins",
        "Too many people are signing in right now. Try again in a few seconds.",
        {
          retryAfterS: 3,
        },
      );
    // The slot is handed over: whoever frees it leaves `running` as it is.
    await new Promise<void>((resolve) => waiting.push(resolve));
  } else running++;
  peak = Math.max(peak, running);
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next) next();
    else running--;
  }
}

/** @throws AppError `weak_password` when the password breaks a rule */
export function checkPassword(password: string, email: string): void {
  const refuse = (message: string) => new AppError("invalid", "weak_password", message, { param: "password" });
  if (password.length < PASSWORD_MIN) throw refuse(`The password needs at least ${PASSWORD_MIN} characters.`);
  if (password.length > PASSWORD_MAX) throw refuse(`The password may have at most ${PASSWORD_MAX} characters.`);
  if (isCommonPassword(password) || password.toLowerCase() === email.toLowerCase())
    throw refuse("This password is among the first that attackers try. Choose another one.");
}

export function hashPassword(password: string): Promise<string> {
  return limited(() => Bun.password.hash(password, ARGON));
}

export function verifyPassword(password: string, hash: string): Promise<boolean> {
  if (password.length > PASSWORD_MAX) return Promise.resolve(false);
  return limited(() => Bun.password.verify(password, hash));
}

let decoy: Promise<string> | null = null;
/** Takes as long as a real check: so that an unknown e-mail cannot be told by the time of the answer. */
export async function verifyNothing(password: string): Promise<false> {
  decoy ??= hashPassword("no account has this password");
  await verifyPassword(password, await decoy);
  return false;
}
