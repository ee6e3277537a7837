/** Finds the price of a use: the most specific item of the organization's list, otherwise of the installation's. */
import type { MeterName } from "../meters/meters.ts";

/** A price for what matches all of its fields that are not null. */
export interface PriceItem {
  meter: MeterName;
  gpu_model: string | null;
  provider: string | null;
  model: string | null;
  /** Micro-dollars for one priced unit of the meter; null when it follows the provider's price. */
  unit_micros: number | null;
  /** For `gpu_seconds`: what the provider charges, and this percentage on top. */
  cost_plus_percent: number | null;
}

/** Units of a meter that an organization uses for free in every month. */
interface Allowance {
  meter: MeterName;
  quantity: number;
}

export interface Prices {
  items: readonly PriceItem[];
  free: readonly Allowance[];
}

/** A list with its id; null = none is in force. `effectiveAt`: since when, in milliseconds since 1970. */
export type Listed = { id: string; prices: Prices; effectiveAt?: number } | null;

/** What a price depends on. */
interface Priced {
  meter: MeterName;
  gpuModel: string | null;
  provider: string | null;
  model: string | null;
  /** What the provider charges for one GPU-hour, in micro-dollars; null = not known, or own machines. */
  costMicros: number | null;
}

interface Rate {
  priceListId: string;
  unitMicros: number;
}

const FIELDS = [
  ["gpu_model", "gpuModel"],
  ["provider", "provider"],
  ["model", "model"],
] as const;

/** How specific an item is for a use; -1 when it does not match. */
function matched(item: PriceItem, use: Omit<Priced, "costMicros">): number {
  if (item.meter !== use.meter) return -1;
  if (FIELDS.some(([field, of]) => item[field] !== null && item[field] !== use[of])) return -1;
  return FIELDS.filter(([field]) => item[field] !== null).length;
}

/** The item that applies to a use, and its list; null when none does. The first of equally specific items wins. */
export function itemOf(
  lists: { org: Listed; base: Listed },
  use: Omit<Priced, "costMicros">,
): { priceListId: string; item: PriceItem } | null {
  for (const list of [lists.org, lists.base]) {
    let [best, rank]: [PriceItem | null, number] = [null, -1];
    for (const item of list?.prices.items ?? []) {
      const found = matched(item, use);
      if (found > rank) [best, rank] = [item, found];
    }
    if (list && best) return { priceListId: list.id, item: best };
  }
  return null;
}

/** The price that applies; null when no list has one. */
export function rateOf(lists: { org: Listed; base: Listed }, use: Priced): Rate | null {
  const found = itemOf(lists, use);
  if (!found) return null;
  const { unit_micros: fixed, cost_plus_percent: percent } = found.item;
  const unitMicros = fixed ?? Math.round(((use.costMicros ?? 0) * (100 + (percent ?? 0))) / 100);
  return { priceListId: found.priceListId, unitMicros };
}

/** Free units of a meter in a month: the organization's own, otherwise those of the installation. */
export function allowanceOf(lists: { org: Listed; base: Listed }, meter: MeterName): number {
  for (const list of [lists.org, lists.base]) {
    const found = list?.prices.free.find((one) => one.meter === meter);
    if (found) return found.quantity;
  }
  return 0;
}
