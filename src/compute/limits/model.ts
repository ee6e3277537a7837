/** Limits of a provider as clients read and change them. */
import * as v from "valibot";
import { whole } from "../../lib/number-fields.ts";

const names = v.pipe(
  v.array(v.pipe(v.string(), v.trim(), v.minLength(1, "must not be empty"), v.maxLength(100))),
  v.maxLength(200),
);
const dollars = v.nullable(v.pipe(v.number("must be a number"), v.minValue(0, "must be 0 or more"), v.maxValue(1e9)));

/** A change of limits: fields that are absent stay as they are, null removes a limit. */
export const LimitsChange = v.pipe(
  v.strictObject({
    /** The vendor's names of regions and machine types; an empty list allows all. */
    regions: v.optional(names),
    machine_types: v.optional(names),
    /** US dollars for a whole machine. */
    max_price_per_hour: v.optional(dollars),
    max_machines: v.optional(v.nullable(whole(0, 100_000))),
    /** US dollars in a calendar month (UTC). */
    month_usd: v.optional(dollars),
  }),
  v.check((change) => Object.keys(change).length > 0, "must have at least one limit"),
);
export type LimitsChange = v.InferOutput<typeof LimitsChange>;

export const LimitsView = v.strictObject({
  object: v.literal("provider_limits"),
  provider: v.string(),
  regions: v.array(v.string()),
  machine_types: v.array(v.string()),
  max_price_per_hour: v.nullable(v.number()),
  max_machines: v.nullable(v.number()),
  month_usd: v.nullable(v.number()),
  /** Nothing runs or starts there, since this time (milliseconds since 1970). */
  stopped_at: v.nullable(v.number()),
});
export type LimitsView = v.InferOutput<typeof LimitsView>;
