/** What work on a machine will be charged: for plans, reservations and the running part of a job. */
import { METERS, type MeterName } from "../meters/meters.ts";
import { amountOf, microsFrom, usdOf } from "../meters/money.ts";
import type { Lists } from "./lists.ts";
import { rateOf } from "./rate.ts";

/** Work as it is metered. */
export interface Work {
  provider: string | null;
  gpus: number;
  gpuModel: string | null;
  /** Cores that are metered when there are no GPUs. */
  cores: number;
  /** The base model. */
  model: string | null;
  /** What the provider charges for the whole machine, in USD per hour. */
  pricePerHour: number;
  /** The name that answers requests, for an endpoint; null for other work. */
  endpoint: string | null;
}

/** Micro-dollars of what a provider charges, from a price that may have any number of decimals. */
const microsOf = (usd: number) => microsFrom(Math.round(usd * 1e6) / 1e6) ?? 0;

function amountFor(lists: Lists, work: Work, meter: MeterName, quantity: number): number {
  const { provider, gpuModel, gpus, cores, pricePerHour } = work;
  const units = gpus > 0 ? gpus : Math.max(1, cores);
  const cost = microsOf(pricePerHour);
  const model = meter === "endpoint_seconds" ? work.endpoint : work.model;
  const costMicros = cost > 0 ? Math.round(cost / units) : null;
  const rate = rateOf(lists, { meter, provider, gpuModel, model, costMicros });
  return rate ? amountOf(Math.max(0, Math.ceil(quantity)), rate.unitMicros, METERS[meter].priced?.per ?? 1) : 0;
}

/**
 * Micro-dollars for work of a length, before free allowances.
 * @param tokens that a training processes
 */
export function chargeOf(lists: Lists, work: Work, seconds: number, tokens = 0): number {
  const device = work.gpus > 0 ? ("gpu_seconds" as const) : ("cpu_seconds" as const);
  const units = work.gpus > 0 ? work.gpus : Math.max(1, work.cores);
  return (
    amountFor(lists, work, device, Math.ceil(seconds) * units) +
    amountFor(lists, work, "training_tokens", tokens) +
    (work.endpoint === null ? 0 : amountFor(lists, work, "endpoint_seconds", seconds))
  );
}

/** Nothing has a price. */
export const isFree = ({ org, base }: Lists): boolean => org === null && base === null;

/** The same in US dollars, as a range. */
export const chargeRange = (
  lists: Lists,
  work: Work,
  seconds: readonly [number, number],
  tokens = 0,
): [low: number, high: number] => [
  usdOf(chargeOf(lists, work, seconds[0], tokens)),
  usdOf(chargeOf(lists, work, seconds[1], tokens)),
];
