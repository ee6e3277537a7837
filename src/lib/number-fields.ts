/** Schemas of numbers in requests; their messages name the limits. */
import * as v from "valibot";

/** A whole number from `min` to `max`. */
export const whole = (min: number, max: number) =>
  v.pipe(
    v.number("must be a number"),
    v.integer("must be a whole number"),
    v.minValue(min, `must be at least ${min}`),
    v.maxValue(max, `must be at most ${max}`),
  );

/** A finite number from `min` to `max`. */
export const between = (min: number, max: number) =>
  v.pipe(
    v.number("must be a number"),
    v.finite("must be a finite number"),
    v.minValue(min, `must be at least ${min}`),
    v.maxValue(max, `must be at most ${max}`),
  );

/** A finite number above 0, up to `max`. */
export const over = (max: number) =>
  v.pipe(
    v.number("must be a number"),
    v.finite("must be a finite number"),
    v.gtValue(0, "must be greater than 0"),
    v.maxValue(max, `must be at most ${max}`),
  );
