/** Requests and tokens a minute of API keys: those of the key, of the keys that created it, and of the installation. */
import { type Actor, type Ctx, perContext } from "../../ctx.ts";
import { type Buckets, createBuckets } from "./buckets.ts";

type Kind = "requests" | "tokens";

const stateOf = perContext((): Record<Kind, Buckets> => ({ requests: createBuckets(), tokens: createBuckets() }));

/** What is left of the smallest limit; the bucket may be below 0. */
export interface Rate {
  perMinute: number;
  left: number;
}

/** The limits that hold for an actor: a bucket for each key. */
function limitsOf(ctx: Ctx, actor: Actor, kind: Kind): { key: string; perMinute: number }[] {
  const installed = kind === "requests" ? ctx.config.requests_per_minute : 0;
  const own = kind === "requests" ? "requestsPerMinute" : "tokensPerMinute";
  const limits = (actor.limits ?? []).flatMap((limit) => {
    const wanted = limit[own];
    if (wanted === null) return [];
    return { key: limit.keyId, perMinute: installed > 0 ? Math.min(installed, wanted) : wanted };
  });
  if (installed > 0 && actor.keyId && !limits.some(({ key }) => key === actor.keyId))
    limits.push({ key: actor.keyId, perMinute: installed });
  return limits;
}

/** What is left for an actor now; null when there is no limit. */
export function rateOf(ctx: Ctx, actor: Actor, kind: Kind, nowMs: number): Rate | null {
  const rates = limitsOf(ctx, actor, kind).map(({ key, perMinute }) => ({
    perMinute,
    left: stateOf(ctx)[kind].left(key, perMinute, nowMs),
  }));
  return rates.reduce<Rate | null>((least, rate) => (least && least.left <= rate.left ? least : rate), null);
}

/** Counts requests or tokens of an actor, also more than are left; a negative amount gives back. */
export function take(ctx: Ctx, actor: Actor, kind: Kind, nowMs: number, amount: number): void {
  for (const { key, perMinute } of limitsOf(ctx, actor, kind)) stateOf(ctx)[kind].take(key, perMinute, nowMs, amount);
}

/** Whether an actor's tokens are counted. */
export const countsTokens = (actor: Actor): boolean =>
  actor.limits?.some(({ tokensPerMinute }) => tokensPerMinute !== null) ?? false;
