/** What callers ask of the queue as a whole, and what an administrator says about teams. */
import * as v from "valibot";
import { whole } from "../../lib/number-fields.ts";
import { pageLimit } from "../../lib/page.ts";

export const QueueQuery = v.strictObject({
  limit: pageLimit(50),
  /** Position or id of the last job seen; other teams' jobs have a position alone. */
  after: v.optional(v.pipe(v.string(), v.maxLength(100))),
  /** Only the asker's own organization. */
  mine: v.optional(v.picklist(["true", "false"])),
});

export const ShareChange = v.strictObject({
  weight: v.optional(v.pipe(v.number("must be a number"), v.minValue(0.1, "must be at least 0.1"), v.maxValue(1000))),
  max_gpus: v.optional(v.nullable(whole(0, 100_000))),
  gpu_hours_per_month: v.optional(v.nullable(v.pipe(v.number("must be a number"), v.minValue(0), v.maxValue(1e9)))),
});
export type ShareChange = v.InferOutput<typeof ShareChange>;
