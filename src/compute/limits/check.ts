/** Whether the limits of a provider allow one more machine: a pure function of limits, offer and use. */
import type { Offer } from "../../contract/provider.ts";

export interface Limits {
  regions: readonly string[];
  machineTypes: readonly string[];
  maxPricePerHour: number | null;
  maxMachines: number | null;
  monthUsd: number | null;
  stopped: boolean;
  /** Why it is stopped; null = not said. */
  stopReason: string | null;
}

export const NO_LIMITS: Limits = {
  regions: [],
  machineTypes: [],
  maxPricePerHour: null,
  maxMachines: null,
  monthUsd: null,
  stopped: false,
  stopReason: null,
};

/** What a provider runs for this installation now. */
export interface ProviderUse {
  machines: number;
  /** US dollars charged this month (UTC). */
  monthUsd: number;
  /** US dollars per hour of the machines that run. */
  perHourUsd: number;
}

/** The highest prices that may be paid for an hour of a job. */
interface PriceLimit {
  /** The job's own limit in US dollars; null = none. */
  maxPricePerHour: number | null;
}

/** An amount of US dollars for people; four digits where cents would say nothing. */
export const usd = (amount: number) => `$${amount.toFixed(Math.abs(amount) < 0.1 && amount !== 0 ? 4 : 2)}`;

/** Spot prices move: a launch may cost this much more than its offer. On-demand prices are firm. */
const SPOT_MARGIN = 1.2;

/**
 * The highest price per hour in US dollars that a launch at an offer may cost, and that is reserved for it; null for
 * machines without a price.
 */
export function ceilingOf(offer: Offer, limits: Limits, job: PriceLimit): number | null {
  if (offer.pricePerHour === 0) return null;
  const asked = offer.market === "spot" ? offer.pricePerHour * SPOT_MARGIN : offer.pricePerHour;
  return Math.min(
    asked,
    limits.maxPricePerHour ?? Number.POSITIVE_INFINITY,
    job.maxPricePerHour ?? Number.POSITIVE_INFINITY,
  );
}

/** Why an offer is out whatever runs now: its price, currency, region or machine type. Null = it is not. */
export function offerRefusal(title: string, offer: Offer, limits: Limits, job: PriceLimit): string | null {
  const { pricePerHour: price, currency, region, machineType } = offer;
  if (!Number.isFinite(price) || price < 0) return `${title} names no valid price for ${offer.location}`;
  if (price > 0 && currency !== "USD")
    return `${title} charges ${currency} for ${offer.location}; only offers in USD are used`;
  if (price > 0 && job.maxPricePerHour !== null && price > job.maxPricePerHour)
    return `${offer.location} at ${title} costs ${usd(price)} per hour, more than the job's maximum of ${usd(job.maxPricePerHour)}`;
  if (limits.maxPricePerHour !== null && price > limits.maxPricePerHour)
    return `${offer.location} at ${title} costs ${usd(price)} per hour, more than the provider's limit of ${usd(limits.maxPricePerHour)}`;
  if (limits.regions.length > 0 && !limits.regions.includes(region ?? ""))
    return `${region ?? offer.location} is not an allowed region of ${title}`;
  if (limits.machineTypes.length > 0 && !limits.machineTypes.includes(machineType ?? ""))
    return `${machineType ?? offer.location} is not an allowed machine type of ${title}`;
  return null;
}

/** That an administrator stopped everything at a provider, and why. */
export const stoppedText = (title: string, { stopReason }: Limits): string =>
  `${title} is stopped by an administrator${stopReason ? `: ${stopReason}` : ""}`;

/** Why a provider starts no work at all now: it is stopped, or its month is used up. Null = it may. */
export function providerRefusal(title: string, limits: Limits, use: ProviderUse): string | null {
  if (limits.stopped) return stoppedText(title, limits);
  if (limits.monthUsd !== null && use.monthUsd >= limits.monthUsd)
    return `${title} has charged ${usd(use.monthUsd)} of ${usd(limits.monthUsd)} this month`;
  if (limits.maxMachines !== null && use.machines >= limits.maxMachines)
    return `${title} runs ${use.machines} of ${limits.maxMachines} machines`;
  return null;
}

/**
 * Why the limits of a provider forbid a launch at an offer now, in words; null = they allow it. What runs there and the
 * new machine must be able to run for an hour within the month's limit.
 */
export function refusalOf(
  title: string,
  offer: Offer,
  limits: Limits,
  use: ProviderUse,
  job: PriceLimit,
): string | null {
  const found = providerRefusal(title, limits, use) ?? offerRefusal(title, offer, limits, job);
  if (found !== null || limits.monthUsd === null || offer.pricePerHour === 0) return found;
  const ahead = use.perHourUsd + (ceilingOf(offer, limits, job) ?? 0);
  if (use.monthUsd + ahead <= limits.monthUsd) return null;
  return `an hour of what would run at ${title} costs ${usd(ahead)}, and ${usd(Math.max(0, limits.monthUsd - use.monthUsd))} are left this month`;
}
