/** The rate limits of API keys over HTTP: the headers that OpenAI's clients read, and the 429. */
import { type Rate, rateOf, take } from "../accounts/keys/rates.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { AppError } from "../errors.ts";

const MINUTE_MS = 60_000;

/** A duration as OpenAI's headers write it, rounded up: `120ms`, `2.5s`, `6m0s`. */
export function shortDuration(ms: number): string {
  const whole = Math.round(ms);
  if (whole < 1000) return `${whole}ms`;
  const tenths = Math.ceil(whole / 100);
  if (tenths < 600) return `${tenths / 10}s`;
  const seconds = Math.ceil(tenths / 10);
  return `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}

/** Milliseconds until `amount` more are in the bucket. */
const timeFor = ({ perMinute }: Rate, amount: number) => (amount * MINUTE_MS) / perMinute;

function headersOf(kind: "requests" | "tokens", rate: Rate): Record<string, string> {
  return {
    [`x-ratelimit-limit-${kind}`]: String(rate.perMinute),
    [`x-ratelimit-remaining-${kind}`]: String(Math.max(0, Math.floor(rate.left))),
    [`x-ratelimit-reset-${kind}`]: shortDuration(timeFor(rate, rate.perMinute - rate.left)),
  };
}

function exceeded(kind: "requests" | "tokens", rate: Rate): AppError {
  const retryAfterS = Math.ceil(Math.round(timeFor(rate, 1 - rate.left)) / 1000);
  const what = kind === "requests" ? "make" : "use";
  return new AppError(
    "rate_limited",
    "rate_limit_exceeded",
    `This key may ${what} ${rate.perMinute} ${kind} a minute. Try again in ${shortDuration(retryAfterS * 1000)}.`,
    { retryAfterS },
  );
}

/**
 * Counts a request of a key, and checks that tokens are left where the request uses some.
 * @param usesTokens the tokens themselves are counted where the answer is known
 * @param headers get the limits, also of a refused request
 * @throws AppError `rate_limit_exceeded` (429)
 */
export function checkRates(
  ctx: Ctx,
  actor: Actor,
  usesTokens: boolean,
  nowMs: number,
  headers: Record<string, unknown>,
): void {
  const rate = rateOf(ctx, actor, "requests", nowMs);
  if (rate) {
    const allowed = rate.left >= 1;
    if (allowed) take(ctx, actor, "requests", nowMs, 1);
    Object.assign(headers, headersOf("requests", allowed ? { ...rate, left: rate.left - 1 } : rate));
    if (!allowed) throw exceeded("requests", rate);
  }
  const tokens = usesTokens ? rateOf(ctx, actor, "tokens", nowMs) : null;
  if (!tokens) return;
  Object.assign(headers, headersOf("tokens", tokens));
  if (tokens.left < 1) throw exceeded("tokens", tokens);
}
