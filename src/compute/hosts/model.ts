/** Requests and answers of hosts: valibot schemas. */
import * as v from "valibot";
import { eitherOf } from "../../lib/request-fields.ts";
import { filledName, nameText } from "../../lib/text/names.ts";

const note = v.optional(v.nullable(nameText(200)));
/** Milliseconds since 1970. */
const moment = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(8.64e15));

export const HostId = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
export const GpuId = v.strictObject({ uuid: v.pipe(v.string(), v.maxLength(100)) });

export const ChangeHost = eitherOf(
  [
    v.strictObject({ state: v.picklist(["ready", "cordoned", "draining"]), note }),
    v.strictObject({ maintenance: v.nullable(v.strictObject({ from: moment, until: moment })), note }),
    v.strictObject({ name: v.nullable(filledName(200)) }),
  ],
  "give `state` (ready, cordoned or draining), `maintenance` ({from, until} in milliseconds, or null) or `name` (null = as its provider reports it)",
);

export const ChangeGpu = v.strictObject({ shares: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(16)) });

export const SamplesQuery = v.strictObject({
  hours: v.optional(v.pipe(v.string(), v.regex(/^\d{1,3}$/), v.transform(Number), v.minValue(1), v.maxValue(168)), "6"),
  /** One of the GPUs of the host; by default the host itself. */
  gpu: v.optional(v.pipe(v.string(), v.maxLength(100))),
});

export const GpuView = v.strictObject({
  uuid: v.string(),
  position: v.number(),
  model: v.string(),
  memory_mb: v.number(),
  memory_used_mb: v.nullable(v.number()),
  /** Percent. */
  utilization: v.nullable(v.number()),
  temperature_c: v.nullable(v.number()),
  power_w: v.nullable(v.number()),
  power_limit_w: v.nullable(v.number()),
  ecc_errors: v.nullable(v.number()),
  mig: v.nullable(v.strictObject({ parent: v.string(), profile: v.nullable(v.string()) })),
  shares: v.number(),
  lost: v.boolean(),
  /** In use, but not by work of this server: another program runs on it. */
  used_outside: v.boolean(),
  /** The jobs that hold the GPU; `id` and `name` are null for jobs of other organizations. */
  held_by: v.array(v.strictObject({ id: v.nullable(v.string()), name: v.nullable(v.string()) })),
});
export type GpuView = v.InferOutput<typeof GpuView>;

const space = v.strictObject({ total_bytes: v.number(), free_bytes: v.number() });
const slots = v.strictObject({ used: v.number(), total: v.number() });

export const HostView = v.strictObject({
  object: v.literal("host"),
  id: v.string(),
  provider: v.string(),
  name: v.string(),
  /** The name that its provider reports; differs from `name` when an administrator renamed the host. */
  reported_name: v.string(),
  /** `silent`: unreachable, no heartbeat for a minute. */
  state: v.picklist(["ready", "cordoned", "draining", "silent"]),
  note: v.nullable(v.string()),
  /** Milliseconds since 1970. */
  maintenance: v.nullable(v.strictObject({ from: v.number(), until: v.number() })),
  problem: v.nullable(v.string()),
  remedy: v.nullable(v.string()),
  /** Milliseconds since 1970. */
  seen_at: v.number(),
  driver: v.nullable(v.string()),
  cuda: v.nullable(v.string()),
  cpu: v.strictObject({ cores: v.number(), load: v.nullable(v.number()) }),
  memory: space,
  disk: space,
  gpus: v.array(GpuView),
  /** Running jobs and endpoints of all organizations. */
  running: v.number(),
  /** CPU slots of this machine; null for hosts without slots. */
  slots: v.nullable(v.strictObject({ train: slots, serve: slots })),
});
export type HostView = v.InferOutput<typeof HostView>;

/** Highest values of a time bucket; `at` is its start in milliseconds since 1970. */
export const SamplePoint = v.strictObject({
  at: v.number(),
  utilization: v.nullable(v.number()),
  memory_used_mb: v.nullable(v.number()),
  temperature_c: v.nullable(v.number()),
  power_w: v.nullable(v.number()),
});
export type SamplePoint = v.InferOutput<typeof SamplePoint>;

export const DeletedHost = v.strictObject({ object: v.literal("host"), id: v.string(), deleted: v.literal(true) });
export const GpuShares = v.strictObject({ object: v.literal("gpu"), uuid: v.string(), shares: v.number() });
