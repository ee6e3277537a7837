/**
 * What a new price list changes, and whether it makes anything dearer. Compared are all uses at which a pair of old and
 * new prices applies, not the items alone: a specific price above a general one is a raise, and so is a removed one
 * below it.
 */
import { METERS } from "../meters/meters.ts";
import { usdOf } from "../meters/money.ts";
import type { Lists } from "./lists.ts";
import { type ChangeView, MATCHES, PRICED } from "./model.ts";
import { allowanceOf, itemOf, type PriceItem } from "./rate.ts";

type Meter = (typeof PRICED)[number];
type Match = Pick<PriceItem, "gpu_model" | "provider" | "model">;

const ANY: Match = { gpu_model: null, provider: null, model: null };
const itemsOf = ({ org, base }: Lists, meter: Meter) =>
  [org, base].flatMap((list) => list?.prices.items ?? []).filter((item) => item.meter === meter);
const matchOf = ({ gpu_model, provider, model }: Match): Match => ({ gpu_model, provider, model });
const keyOf = (match: Match) => JSON.stringify(MATCHES.map((field) => match[field]));

/** A use that both items match and as few others as possible; null when none matches both. */
function both(a: Match, b: Match): Match | null {
  if (MATCHES.some((field) => a[field] !== null && b[field] !== null && a[field] !== b[field])) return null;
  return {
    gpu_model: a.gpu_model ?? b.gpu_model,
    provider: a.provider ?? b.provider,
    model: a.model ?? b.model,
  };
}

/** Whether a price is dearer than another at some price of a provider. Null = free. */
function isDearer(after: PriceItem | null, before: PriceItem | null): boolean {
  if (!after) return false;
  if (after.unit_micros !== null) {
    // What a provider charges may be 0.
    return after.unit_micros > (before?.unit_micros ?? 0);
  }
  if (before?.unit_micros !== null || before.cost_plus_percent === null) return true;
  return (after.cost_plus_percent ?? 0) > before.cost_plus_percent;
}

const isSame = (a: PriceItem | null, b: PriceItem | null) =>
  (a?.unit_micros ?? 0) === (b?.unit_micros ?? 0) && (a?.cost_plus_percent ?? null) === (b?.cost_plus_percent ?? null);

const usdOrNull = (micros: number | null | undefined) => (micros == null ? null : usdOf(micros));

function priceChanges(before: Lists, after: Lists, meter: Meter): ChangeView[] {
  const [old, next] = [itemsOf(before, meter), itemsOf(after, meter)];
  const singles = new Map([ANY, ...next, ...old].map((item) => [keyOf(item), matchOf(item)]));
  const pairs = new Map(
    old.flatMap((a) => next.flatMap((b) => both(a, b) ?? [])).map((match) => [keyOf(match), match]),
  );
  const found: (ChangeView & Match)[] = [];
  for (const [key, match] of new Map([...singles, ...pairs])) {
    const use = { meter, gpuModel: match.gpu_model, provider: match.provider, model: match.model };
    const [was, is] = [itemOf(before, use)?.item ?? null, itemOf(after, use)?.item ?? null];
    if (isSame(was, is)) continue;
    const raise = isDearer(is, was);
    // What a pair has in common shows only when it is dearer and no single price says so.
    const covered = () => found.some((one) => one.raise && both(one, match) && keyOf(both(one, match) ?? ANY) === key);
    if (!singles.has(key) && (!raise || covered())) continue;
    found.push({
      kind: "price",
      meter,
      unit: METERS[meter].priced.unit,
      ...match,
      before: usdOrNull(was?.unit_micros),
      before_percent: was?.cost_plus_percent ?? null,
      after: usdOrNull(is?.unit_micros),
      after_percent: is?.cost_plus_percent ?? null,
      raise,
    });
  }
  return found;
}

function freeChange(before: Lists, after: Lists, meter: Meter): ChangeView[] {
  const [was, is] = [allowanceOf(before, meter), allowanceOf(after, meter)];
  if (was === is) return [];
  const { unit, per } = METERS[meter].priced;
  const units = (quantity: number) => Number((quantity / per).toFixed(6));
  const charged = itemsOf(after, meter).some((item) => item.unit_micros !== 0);
  return [
    {
      kind: "free",
      meter,
      unit,
      ...ANY,
      before: units(was),
      before_percent: null,
      after: units(is),
      after_percent: null,
      raise: is < was && charged,
    },
  ];
}

/** Every difference between the lists that applied before and those that apply after, by meter. */
export function changesOf(before: Lists, after: Lists): ChangeView[] {
  return PRICED.flatMap((meter) => [...priceChanges(before, after, meter), ...freeChange(before, after, meter)]);
}
