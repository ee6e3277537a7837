/** What the compute room takes. */
import * as v from "valibot";
import { eitherOf } from "../../lib/request-fields.ts";
import { nameText } from "../../lib/text/names.ts";

const note = v.optional(v.nullable(nameText(200)));
/** Milliseconds since 1970. */
const moment = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(8.64e15));

export const HostId = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
export const GpuId = v.strictObject({ uuid: v.pipe(v.string(), v.maxLength(100)) });

export const ChangeHost = eitherOf(
  [
    v.strictObject({ state: v.picklist(["ready", "cordoned", "draining"]), note }),
    v.strictObject({ maintenance: v.nullable(v.strictObject({ from: moment, until: moment })), note }),
  ],
  "give either `state` (ready, cordoned or draining) or `maintenance` ({from, until} in milliseconds, or null)",
);

export const ChangeGpu = v.strictObject({ shares: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(16)) });

export const Hours = v.strictObject({
  hours: v.optional(v.pipe(v.string(), v.regex(/^\d{1,3}$/), v.transform(Number), v.minValue(1), v.maxValue(168)), "6"),
  /** Which of the host's GPUs; without it the host itself. */
  gpu: v.optional(v.pipe(v.string(), v.maxLength(100))),
});
