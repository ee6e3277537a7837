/** What callers say about a job's place in the queue: priority, start, hours and deadline. */
import * as v from "valibot";
import { whole } from "../../lib/number-fields.ts";
import { knownZone } from "../scheduler/window.ts";

/** Scale of priorities: 0 is normal, above it only administrators may go. */
const PRIORITY = { lowest: -100, normal: 0, highest: 100 } as const;

/** A moment: seconds since 1970, or ISO 8601 with its offset; read as seconds. */
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
    "must be seconds since 1970, or a date and time with its offset such as 2026-11-24T22:00:00+01:00",
  ),
);

const clock = v.pipe(v.string(), v.regex(/^([01]\d|2[0-3]):[0-5]\d$/, "must be a time of day such as 22:00"));

/** Hours of the day: from, until, time zone, and the days on which they begin (0 = Sunday). */
const Window = v.pipe(
  v.strictObject({
    from: clock,
    until: clock,
    tz: v.pipe(
      v.string(),
      v.maxLength(60),
      v.check(knownZone, "must be the name of a time zone such as Europe/Berlin or UTC"),
    ),
    days: v.optional(
      v.pipe(
        v.array(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(6))),
        v.minLength(1, "must name at least one day, 0 for Sunday to 6"),
        v.maxLength(7),
      ),
    ),
  }),
  v.check((window) => window.from !== window.until, "must begin and end at different times"),
);

/** Fields of a training request, and of a change to a job that waits or runs. */
export const QUEUE_FIELDS = {
  /** -100 to 100, 0 is normal; above 0 by administrators. */
  priority: v.optional(v.nullable(whole(PRIORITY.lowest, PRIORITY.highest))),
  /** It does not begin before then. */
  not_before: v.optional(v.nullable(Moment)),
  /** It runs within these hours alone: at their end it saves a checkpoint and waits for the next ones. */
  window: v.optional(v.nullable(Window)),
  /**
   * It is wanted by then: goes before other work of its team when time gets short, and is said to be late when it will
   * be.
   */
  deadline: v.optional(v.nullable(Moment)),
} as const;

export const QueueChange = v.pipe(
  v.strictObject(QUEUE_FIELDS),
  v.check((change) => Object.keys(change).length > 0, "give at least one of priority, not_before, window, deadline"),
);
export type QueueChange = v.InferOutput<typeof QueueChange>;
