/** Money in micro-dollars (USD × 1,000,000): whole numbers, exact products, and amounts as texts. */
import { AppError } from "../../errors.ts";

/** Micro-dollars of a dollar, and of a cent. */
export const MICROS = 1_000_000;
export const MICROS_PER_CENT = 10_000;

/**
 * `quantity` units at `unitMicros` for every `per` units, rounded half to even. Exact for products of any size.
 * @throws AppError `amount_too_large` above 2^53 - 1 micro-dollars (about nine billion dollars)
 */
export function amountOf(quantity: number, unitMicros: number, per: number): number {
  return divided(BigInt(quantity) * BigInt(unitMicros), BigInt(per));
}

/** Micro-dollars as cents, rounded half to even. */
export const centsOf = (micros: number): number => divided(BigInt(micros), BigInt(MICROS_PER_CENT));

function divided(product: bigint, per: bigint): number {
  const [whole, rest] = [product / per, product % per];
  const twice = (rest < 0n ? -rest : rest) * 2n;
  const up = twice > per || (twice === per && whole % 2n !== 0n);
  return safe(up ? whole + (product < 0n ? -1n : 1n) : whole);
}

function safe(value: bigint): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number))
    throw new AppError("invalid", "amount_too_large", "The amount is larger than nine billion dollars");
  return number;
}

/** A decimal number of dollars as micro-dollars; null unless it is finite and has at most six decimals. */
export function microsFrom(usd: number): number | null {
  const micros = Math.round(usd * MICROS);
  // Division rounds correctly: a decimal number with at most six decimals comes back as it was.
  return Number.isSafeInteger(micros) && micros / MICROS === usd ? micros : null;
}

/** Micro-dollars as a number of dollars. */
export const usdOf = (micros: number): number => micros / MICROS;

/** A quantity as people read it on an invoice: `12,000`, `0.25`, at most six decimals. */
export const quantityText = (quantity: number): string =>
  quantity.toLocaleString("en-US", { maximumFractionDigits: 6 });

/** A unit price in dollars, which may be a fraction of a cent: `$0.80`, `$0.000125`. */
export const unitPriceText = (usd: number): string =>
  `$${usd.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 6 })}`;

/** Cents as people read them: `$1,234.50`. */
export const dollars = (cents: number): string =>
  `${cents < 0 ? "-" : ""}$${(Math.abs(cents) / 100).toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
