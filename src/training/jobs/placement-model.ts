/** Scheduling options of a job: priority, earliest start, time window, deadline and burst policy. */
import * as v from "valibot";
import { over, whole } from "../../lib/number-fields.ts";
import { BURST_TYPES, MAX_COST_USD, MAX_WAIT_S } from "../../lib/text/burst-policy.ts";
import { isTimeZone } from "../scheduler/window.ts";

/** Range of priorities. 0 is normal; only administrators may set a higher one. */
const PRIORITY = { lowest: -100, normal: 0, highest: 100 } as const;

/** A point in time: Unix seconds, or ISO 8601 with an offset; parsed to Unix seconds. */
const Moment = v.pipe(
  v.union(
    [
      v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(253_402_300_799)),
      v.pipe(
        v.string(),
        v.maxLength(40),
        v.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/),
        v.transform((text) => Math.floor(Date.parse(text) / 1000)),
        v.finite(),
      ),
    ],
    "must be Unix seconds, or a date and time with an offset such as 2026-11-24T22:00:00+01:00",
  ),
);

const clock = v.pipe(v.string(), v.regex(/^([01]\d|2[0-3]):[0-5]\d$/, "must be a time of day such as 22:00"));

/** A daily time window: from, until, time zone, and the weekdays on which it opens (0 = Sunday). */
const Window = v.pipe(
  v.strictObject({
    from: clock,
    until: clock,
    tz: v.pipe(
      v.string(),
      v.maxLength(60),
      v.check(isTimeZone, "must be an IANA time zone such as Europe/Berlin or UTC"),
    ),
    days: v.optional(
      v.pipe(
        v.array(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(6))),
        v.minLength(1, "must have at least one day, from 0 (Sunday) to 6 (Saturday)"),
        v.maxLength(7),
      ),
    ),
  }),
  v.check((window) => window.from !== window.until, "must open and close at different times"),
);

/** When a job leaves own machines for rented ones; see docs/providers.md. */
export const Burst = v.variant(
  "type",
  [
    v.strictObject({ type: v.literal("local_only") }),
    v.strictObject({
      type: v.literal("burst"),
      /** It stays while the predicted wait for own machines is not longer. */
      wait_over_s: v.optional(whole(0, MAX_WAIT_S), 0),
      /** It stays while every offer is predicted to cost this much or more in total; null = no limit. */
      cost_under_usd: v.optional(v.nullable(over(MAX_COST_USD)), null),
    }),
    v.strictObject({ type: v.literal("cheapest") }),
    v.strictObject({ type: v.literal("fastest") }),
  ],
  `must have one of the types ${BURST_TYPES.join(", ")}`,
);

/** The fields in a training request and in a change to a queued or running job. */
export const QUEUE_FIELDS = {
  /** -100 to 100; 0 is normal, only administrators may set more than 0. */
  priority: v.optional(v.nullable(whole(PRIORITY.lowest, PRIORITY.highest))),
  /** The job does not start before this time. */
  not_before: v.optional(v.nullable(Moment)),
  /** The job runs only within this window. When it closes, the job saves a checkpoint and waits for the next one. */
  window: v.optional(v.nullable(Window)),
  /** The job moves ahead of its team's other jobs when time runs short, and is shown as late when it will miss this. */
  deadline: v.optional(v.nullable(Moment)),
  /** When it leaves own machines for rented ones; null = as its team does. */
  burst: v.optional(v.nullable(Burst)),
} as const;

export const QueueChange = v.pipe(
  v.strictObject(QUEUE_FIELDS),
  v.check(
    (change) => Object.keys(change).length > 0,
    "must have at least one of priority, not_before, window, deadline and burst",
  ),
);
export type QueueChange = v.InferOutput<typeof QueueChange>;
