/** Fields that many requests share, and moments as answers have them. */
import * as v from "valibot";

export const seconds = (ms: number) => Math.floor(ms / 1000);

/** How a number arrives in a query or a form. */
export const whole = (min: number, max: number) =>
  v.pipe(
    v.union([v.number(), v.pipe(v.string(), v.regex(/^\d{1,15}$/, "must be a whole number"), v.transform(Number))]),
    v.integer(),
    v.minValue(min),
    v.maxValue(max),
  );

export const id = v.pipe(v.string(), v.maxLength(100));

export const text = (max: number) => v.pipe(v.string(), v.maxLength(max));
