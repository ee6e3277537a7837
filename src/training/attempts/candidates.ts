/** Offers that a job may start at now: asked from providers that are not paused or stopped, within every limit. */
import { type Limits, offerRefusal, providerRefusal, usd } from "../../compute/limits/check.ts";
import {
  type Failure,
  failureText,
  pausedProviders,
  pauseText,
  readFailure,
  recordFailure,
} from "../../compute/limits/pauses.ts";
import { limitsOf, useOf } from "../../compute/limits/service.ts";
import type { Offer, Provider, ProviderPlugin } from "../../contract/provider.ts";
import type { Need } from "../../contract/spec.ts";
import type { Ctx } from "../../ctx.ts";
import { emitAll } from "../../lib/bus.ts";
import type { JobRow } from "../jobs/model.ts";

/** How long a job waits before providers are asked again, unless a provider names a delay; own and rented machines. */
export const WAIT_MS = 3000;
export const RENTED_WAIT_MS = 15_000;

/** Where to start a job: on a host with the given GPUs, or at providers that are asked for offers. */
export interface Target {
  providers: readonly { plugin: ProviderPlugin; provider: Provider }[];
  /** `<provider>.<offer>`; null = any offer. */
  hostId: string | null;
  gpus: readonly string[];
  /** They are asked for offers because nothing else is free: a wait for them holds up nothing else. */
  asked?: true;
  /** Why the burst policy lets it leave own machines, for its history. */
  why?: string;
}

export interface Candidate {
  plugin: ProviderPlugin;
  provider: Provider;
  offer: Offer;
}

interface Collected {
  candidates: Candidate[];
  /** Why there is none; null when no provider could ever run the job. */
  waiting: string | null;
  retryAfterMs: number;
  /** The same by provider, for those without an offer that can be used now. */
  delays: ReadonlyMap<string, number>;
}

const ANY_PRICE = { maxPricePerHour: null };

/** Providers are asked without the job's limit: an offer above it is a reason to wait, not a job that can never run. */
export const anyPrice = (need: Need): Need => ({ ...need, max_price_per_hour: null });

export const priceLimitOf = (need: Need) => ({ maxPricePerHour: need.max_price_per_hour });

/** Records a failed request outside of a transaction of the job. */
export async function noteFailure(ctx: Ctx, provider: string, request: string, failure: Failure): Promise<void> {
  emitAll(ctx.bus, await ctx.write((tx) => recordFailure(tx, ctx, provider, request, failure)));
}

/** Whether the vendor still stands by an offer. */
export const isCurrent = ({ quoteExpiresAt }: Offer, now: number) => quoteExpiresAt === null || quoteExpiresAt > now;

/** What was found while providers were asked. */
interface Finds {
  candidates: Candidate[];
  /** Reasons that may end by themselves, and offers that are out. */
  waits: string[];
  refusals: string[];
  delays: Map<string, number>;
  /** Prices that are out for the job's own limit alone. */
  tooDear: number[];
}

/** The shortest delay of a provider counts. */
const delay = ({ delays }: Finds, provider: string, ms: number) =>
  delays.set(provider, Math.max(500, Math.min(delays.get(provider) ?? RENTED_WAIT_MS, ms)));

function sortOffers(
  ctx: Ctx,
  row: JobRow,
  target: Target,
  entry: Target["providers"][number],
  offers: readonly Offer[],
  limits: Limits,
  finds: Finds,
): void {
  const { need } = row.spec;
  const { id, title, capabilities } = entry.plugin;
  const wait = capabilities.priced ? RENTED_WAIT_MS : WAIT_MS;
  for (const offer of offers) {
    if (target.hostId !== null && `${id}.${offer.id}` !== target.hostId) continue;
    const refusal = offerRefusal(title, offer, limits, priceLimitOf(need));
    // GPUs that the scheduler assigned are free, whatever the provider reports about shared ones.
    const free = target.gpus.length > 0 || offer.available;
    if (refusal !== null) {
      finds.refusals.push(refusal);
      if (offerRefusal(title, offer, limits, ANY_PRICE) === null) finds.tooDear.push(offer.pricePerHour);
    } else if (!isCurrent(offer, ctx.clock.now())) finds.waits.push(`${title} is asked for a current price`);
    else if (free) finds.candidates.push({ ...entry, offer });
    else finds.waits.push(`Waiting for capacity at ${title}`);
    if (refusal !== null || !free) delay(finds, id, wait);
  }
}

/** Offers of the target's providers that are available now, in no order. */
export async function collectCandidates(ctx: Ctx, row: JobRow, target: Target): Promise<Collected> {
  const { need } = row.spec;
  const finds: Finds = { candidates: [], waits: [], refusals: [], delays: new Map(), tooDear: [] };
  const paused = await pausedProviders(ctx.db, ctx.clock.now());
  for (const entry of target.providers) {
    const { id, title, capabilities } = entry.plugin;
    if (need.provider && id !== need.provider) continue;
    const wait = capabilities.priced ? RENTED_WAIT_MS : WAIT_MS;
    const pause = paused.get(id);
    const limits = await limitsOf(ctx.db, id);
    const closed = pause
      ? pauseText(title, pause)
      : providerRefusal(title, limits, await useOf(ctx.db, id, ctx.clock.now()));
    if (closed) {
      finds.waits.push(closed);
      delay(finds, id, wait);
      continue;
    }
    try {
      sortOffers(ctx, row, target, entry, await entry.provider.offers(anyPrice(need)), limits, finds);
    } catch (error) {
      const failure = readFailure(error);
      await noteFailure(ctx, id, "offers", failure);
      finds.waits.push(capabilities.priced ? failureText(title, failure) : failure.message);
      delay(finds, id, failure.retryAfterMs ?? wait);
    }
  }
  const { candidates, waits, refusals, delays, tooDear } = finds;
  const more = refusals.length > 1 ? `; ${refusals.length - 1} more offers are out` : "";
  const limit = need.max_price_per_hour;
  const dear =
    limit !== null && tooDear.length > 0 && tooDear.length === refusals.length
      ? `Every offer costs more than the job's max_price_per_hour of ${usd(limit)}; the cheapest costs ${usd(Math.min(...tooDear))} now`
      : null;
  const waiting = waits[0] ?? dear ?? (refusals[0] ? `${refusals[0]}${more}` : null);
  return { candidates, waiting, retryAfterMs: Math.min(...delays.values(), RENTED_WAIT_MS), delays };
}
