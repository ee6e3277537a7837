/** Whether limits and budgets allow a launch at an offer, in the transaction that stores it. */
import { budgetMarks } from "../../billing/budgets/limits.ts";
import { ceilingOf, refusalOf } from "../../compute/limits/check.ts";
import { pausedProviders, pauseText } from "../../compute/limits/pauses.ts";
import { limitsOf, useOf } from "../../compute/limits/service.ts";
import type { Ctx } from "../../ctx.ts";
import type { Db } from "../../db/types.ts";
import type { JobRow } from "../jobs/model.ts";
import { keptHere, keptHereMessage } from "../jobs/stays-local.ts";
import { reserveAttempt } from "./budget.ts";
import { type Candidate, isCurrent, priceLimitOf } from "./candidates.ts";
import { isElsewhere } from "./first-contact.ts";

/** What a launch at an offer may cost, and the provider's rules for it now; a text when they forbid it. */
async function allowed(tx: Db, ctx: Ctx, row: JobRow, { plugin, offer }: Candidate, without?: string) {
  const kept = await keptHere(tx, row.spec, row);
  if (kept.any && isElsewhere(ctx, { provider: plugin.id, offer })) return keptHereMessage(kept);
  const now = ctx.clock.now();
  const pause = (await pausedProviders(tx, now)).get(plugin.id);
  if (pause) return pauseText(plugin.title, pause);
  const limits = await limitsOf(tx, plugin.id);
  const price = priceLimitOf(row.spec.need);
  const refusal = refusalOf(plugin.title, offer, limits, await useOf(tx, plugin.id, now, without), price);
  if (refusal !== null) return refusal;
  // What is reserved is the most that the launch may cost.
  const most = ceilingOf(offer, limits, price) ?? offer.pricePerHour;
  return reserveAttempt(tx, ctx, row, { provider: plugin.id, offer: { ...offer, pricePerHour: most } });
}

/** The first of the candidates that limits and budgets allow, with those after it; or why none is. */
export async function firstAllowed(tx: Db, ctx: Ctx, row: JobRow, candidates: readonly Candidate[], without?: string) {
  let why: string | null = null;
  for (const [n, candidate] of candidates.entries()) {
    if (!isCurrent(candidate.offer, ctx.clock.now())) continue;
    const short = await allowed(tx, ctx, row, candidate, without);
    if (short === null) {
      budgetMarks(ctx).waiting.delete(row.id);
      return { candidate, rest: candidates.slice(n + 1) };
    }
    why ??= short;
  }
  return why ?? "The price of every offer has expired; providers are asked again";
}
