/** Amounts in requests: one schema for dollars, and for the units of an allowance, which are as exact. */
import * as v from "valibot";
import { microsFrom } from "./money.ts";

/** A number from 0 to `max`, which is below nine billion, with at most six decimals. */
export const amountUpTo = (max: number) =>
  v.pipe(
    v.number("must be a number"),
    v.finite("must be a finite number"),
    v.minValue(0, "must not be negative"),
    v.maxValue(max, `must be at most ${max.toLocaleString("en-US")}`),
    v.check((amount) => microsFrom(amount) !== null, "must have at most six decimals"),
  );
