/** Price lists as clients send and see them: decimal dollars, and amounts in the units that people know. */

import * as v from "valibot";
import type { priceList } from "../../db/schema/billing.ts";
import { AppError } from "../../errors.ts";
import { PageQuery } from "../../lib/page.ts";
import { id, seconds } from "../../lib/request-fields.ts";
import { METERS } from "../meters/meters.ts";
import { microsFrom, usdOf } from "../meters/money.ts";
import { dayAt } from "../meters/months.ts";
import { amountUpTo } from "../meters/usd.ts";
import type { PriceItem, Prices } from "./rate.ts";

export type PriceListRow = typeof priceList.$inferSelect;

/** What has a price, in the order in which it is shown. */
export const PRICED = [
  "gpu_seconds",
  "cpu_seconds",
  "endpoint_seconds",
  "input_tokens",
  "output_tokens",
  "training_tokens",
  "byte_hours",
] as const;
type PricedMeter = (typeof PRICED)[number];

/** What a price can depend on. */
export const MATCHES = ["gpu_model", "provider", "model"] as const;
const ONLY_MODEL: readonly string[] = ["model"];
const DEPENDS_ON: Record<PricedMeter, readonly string[]> = {
  gpu_seconds: MATCHES,
  cpu_seconds: ["provider", "model"],
  endpoint_seconds: MATCHES,
  input_tokens: ONLY_MODEL,
  output_tokens: ONLY_MODEL,
  training_tokens: ONLY_MODEL,
  byte_hours: ONLY_MODEL,
};

const MAX_ITEMS = 100;
const MAX_PERCENT = 1000;
/** Below 2^53 micro-dollars. */
const MAX_USD = 9_000_000_000;

const amount = amountUpTo(MAX_USD);
const percent = v.pipe(
  v.number("must be a number"),
  v.integer("must be a whole number"),
  v.minValue(0, "must not be negative"),
  v.maxValue(MAX_PERCENT, `must be at most ${MAX_PERCENT}`),
);
const matched = v.optional(
  v.nullable(v.pipe(v.string(), v.trim(), v.minLength(1, "must not be empty"), v.maxLength(200))),
  null,
);
const meter = v.picklist(PRICED, `must be one of ${PRICED.join(", ")}`);
/** The day on which a list takes effect, at 00:00 UTC. */
const day = v.pipe(
  v.string(),
  v.maxLength(10, "must be a day such as 2026-12-31"),
  v.check((text) => dayOf(text) !== null, "must be a day such as 2026-12-31"),
);

/** Milliseconds since 1970 of the beginning of a day in UTC, written `2026-12-31`; null when there is no such day. */
export function dayOf(text: string): number | null {
  const at = Date.parse(`${text}T00:00:00Z`);
  return Number.isFinite(at) && dayAt(at) === text ? at : null;
}

/** The prices of the installation, or with `organization` what differs for one. */
export const CreatePriceList = v.strictObject({
  organization: v.optional(v.nullable(id), null),
  /** All prices are in US dollars. */
  currency: v.optional(
    v.pipe(v.string(), v.maxLength(10), v.toLowerCase(), v.picklist(["usd"], "must be usd: there are no other ones")),
    "usd",
  ),
  items: v.pipe(
    v.array(
      v.strictObject({
        meter,
        /** Null = any. */
        gpu_model: matched,
        /** Id of a provider, such as `docker`. */
        provider: matched,
        /** A base model, the name that answers requests, or what is stored (`datasets`, `models`, …). */
        model: matched,
        /** For one unit of the meter, such as a GPU-hour. */
        price_usd: v.optional(v.nullable(amount), null),
        /** Instead, for `gpu_seconds`: what the provider charges, and this percentage on top. */
        cost_plus_percent: v.optional(v.nullable(percent), null),
      }),
    ),
    v.maxLength(MAX_ITEMS, `has at most ${MAX_ITEMS} prices`),
  ),
  /** Free in every month, in units of the meter such as GPU-hours. */
  free: v.optional(v.pipe(v.array(v.strictObject({ meter, amount })), v.maxLength(PRICED.length)), []),
  /** What is different, for the notice and the page. */
  note: v.optional(v.pipe(v.string(), v.trim(), v.maxLength(500)), ""),
  /** As `2026-12-31`, from 00:00 UTC on; today when absent. */
  effective_date: v.optional(v.nullable(day), null),
});
export type CreatePriceList = v.InferOutput<typeof CreatePriceList>;

const refuse = (param: string, message: string) => new AppError("invalid", "invalid_price", message, { param });

/**
 * The prices of a request as they are stored.
 * @throws AppError `invalid_price` with the field: no price or two, a match that the meter does not have, duplicates
 */
export function pricesOf({ items, free }: Pick<CreatePriceList, "items" | "free">): Prices {
  const seen = new Set<string>();
  const priced = items.map((item, n): PriceItem => {
    const { price_usd, cost_plus_percent, ...of } = item;
    const [at, unit] = [`items.${n}`, METERS[item.meter].priced.unit];
    if ((price_usd === null) === (cost_plus_percent === null))
      throw refuse(`${at}.price_usd`, `Price ${n + 1} needs either price_usd or cost_plus_percent.`);
    if (cost_plus_percent !== null && item.meter !== "gpu_seconds")
      throw refuse(
        `${at}.cost_plus_percent`,
        `Price ${n + 1}: only GPUs have a provider's price. Give a price for one ${unit}.`,
      );
    const wrong = MATCHES.find((field) => item[field] !== null && !DEPENDS_ON[item.meter].includes(field));
    if (wrong) throw refuse(`${at}.${wrong}`, `Price ${n + 1}: the price of a ${unit} does not depend on ${wrong}.`);
    const key = JSON.stringify([item.meter, ...MATCHES.map((field) => item[field])]);
    if (seen.has(key)) throw refuse(at, `Price ${n + 1} is for the same as an earlier one. Keep one of them.`);
    seen.add(key);
    return { ...of, unit_micros: price_usd === null ? null : (microsFrom(price_usd) ?? 0), cost_plus_percent };
  });
  const granted = free.map(({ meter, amount }, n) => {
    const { unit, per } = METERS[meter].priced;
    if (free.findIndex((other) => other.meter === meter) < n)
      throw refuse(`free.${n}.meter`, `Free allowance ${n + 1} is for the same as an earlier one. Keep one of them.`);
    const quantity = Math.round(amount * per);
    if (!Number.isSafeInteger(quantity))
      throw refuse(`free.${n}.amount`, `Free allowance ${n + 1} is too large: at most ${mostOf(per)} (${unit}).`);
    return { meter, quantity };
  });
  return { items: priced, free: granted };
}

const mostOf = (per: number) => Math.floor(Number.MAX_SAFE_INTEGER / per).toLocaleString("en-US");

/** Units of a meter as people know them: GPU-hours of GPU-seconds. At most six decimals. */
const unitsOf = (meter: PricedMeter, quantity: number) => Number((quantity / METERS[meter].priced.per).toFixed(6));

const nullableText = v.nullable(v.string());
const ItemView = v.strictObject({
  meter: v.picklist(PRICED),
  /** What the price is for: `GPU-hour`. */
  unit: v.string(),
  gpu_model: nullableText,
  provider: nullableText,
  model: nullableText,
  price_usd: v.nullable(v.number()),
  cost_plus_percent: v.nullable(v.number()),
});
export type ItemView = v.InferOutput<typeof ItemView>;
const FreeView = v.strictObject({ meter: v.picklist(PRICED), unit: v.string(), amount: v.number() });
export type FreeView = v.InferOutput<typeof FreeView>;

/** A version of the prices. Times in seconds since 1970. */
export const PriceListView = v.strictObject({
  object: v.literal("price_list"),
  id: v.string(),
  /** Null = of the installation. */
  organization: nullableText,
  currency: v.literal("usd"),
  /** `announced`: a raise that users were notified of; `scheduled`: other lists that take effect later. */
  state: v.picklist(["announced", "scheduled", "in_force", "past", "withdrawn"]),
  items: v.array(ItemView),
  free: v.array(FreeView),
  note: v.string(),
  effective_date: v.string(),
  effective_at: v.number(),
  announced_at: v.nullable(v.number()),
  withdrawn_at: v.nullable(v.number()),
  created_at: v.number(),
});
export type PriceListView = v.InferOutput<typeof PriceListView>;

/** One difference between two versions; null = nothing is charged, or free. */
const ChangeView = v.strictObject({
  kind: v.picklist(["price", "free"]),
  meter: v.picklist(PRICED),
  unit: v.string(),
  gpu_model: nullableText,
  provider: nullableText,
  model: nullableText,
  before: v.nullable(v.number()),
  before_percent: v.nullable(v.number()),
  after: v.nullable(v.number()),
  after_percent: v.nullable(v.number()),
  /** It makes something dearer. */
  raise: v.boolean(),
});
export type ChangeView = v.InferOutput<typeof ChangeView>;

/** What a price list would change. */
export const PriceChanges = v.strictObject({
  object: v.literal("price_list.changes"),
  changes: v.array(ChangeView),
  /** Whether it has to be announced 30 days ahead. */
  raise: v.boolean(),
  /** The first day on which it may take effect. */
  earliest_date: v.string(),
});
export type PriceChanges = v.InferOutput<typeof PriceChanges>;

/** The prices that apply to the caller. Without lists everything costs 0. */
export const CurrentPrices = v.strictObject({
  object: v.literal("prices"),
  currency: v.literal("usd"),
  /** Of the installation. */
  list: v.nullable(PriceListView),
  /** What differs for the organization of the caller: its prices come first. */
  own: v.nullable(PriceListView),
  /** Lists that take effect later, the next one first. */
  upcoming: v.array(PriceListView),
});
export type CurrentPrices = v.InferOutput<typeof CurrentPrices>;

export const ListQuery = v.strictObject({
  ...PageQuery.entries,
  /** Id of an organization: what differs for it. Absent = the prices of the installation. */
  organization: v.optional(id),
});

const isPriced = (meter: string): meter is PricedMeter => PRICED.some((one) => one === meter);

/** The state of a list. @param inForce the list of the same scope that is in force */
function stateOf(row: PriceListRow, inForce: string | null, now: number): PriceListView["state"] {
  if (row.withdrawnAt !== null) return "withdrawn";
  if (row.effectiveAt > now) return row.announcedAt === null ? "scheduled" : "announced";
  return row.id === inForce ? "in_force" : "past";
}

export function priceListView(row: PriceListRow, inForce: string | null, now: number): PriceListView {
  const { items, free } = row.prices as Prices;
  return {
    object: "price_list",
    id: row.id,
    organization: row.org,
    currency: "usd",
    state: stateOf(row, inForce, now),
    items: items.flatMap(({ meter, unit_micros, ...item }) =>
      isPriced(meter)
        ? [
            {
              ...item,
              meter,
              unit: METERS[meter].priced.unit,
              price_usd: unit_micros === null ? null : usdOf(unit_micros),
            },
          ]
        : [],
    ),
    free: free.flatMap(({ meter, quantity }) =>
      isPriced(meter) ? [{ meter, unit: METERS[meter].priced.unit, amount: unitsOf(meter, quantity) }] : [],
    ),
    note: row.note,
    effective_date: dayAt(row.effectiveAt),
    effective_at: seconds(row.effectiveAt),
    announced_at: seconds(row.announcedAt),
    withdrawn_at: seconds(row.withdrawnAt),
    created_at: seconds(row.createdAt),
  };
}
