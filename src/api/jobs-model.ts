/** Answers of /v1/jobs besides the job itself: its details, attempts, output and deleted files. */
import * as v from "valibot";
import { JobCost } from "../training/jobs/cost.ts";
import { AttemptView, JobView } from "../training/jobs/model.ts";

const text = v.string();
const number = v.number();
const time = v.nullable(number);

/** A job with its place in the queue, its comparison with the original if it reproduces one, and its usage. */
export const JobDetails = v.strictObject({
  ...JobView.entries,
  waiting_for: v.nullable(
    v.strictObject({ code: text, message: text, until: time, host: v.nullable(text), jobs: v.array(text) }),
  ),
  predicted_start: v.nullable(v.strictObject({ earliest: time, latest: time, why: v.nullable(text) })),
  position: v.nullable(number),
  /** The largest cost that its owner allows; null = no limit. */
  max_cost_usd: v.nullable(number),
  reproduction: v.nullable(
    v.strictObject({
      original: text,
      steps: number,
      same: v.boolean(),
      first_difference: v.nullable(
        v.strictObject({ step: number, original: v.nullable(number), again: v.nullable(number) }),
      ),
      differences: v.array(text),
    }),
  ),
  cost: JobCost,
  /** So far, also while it runs. Seconds of wall-clock time: `seconds` is the sum of the three below it. */
  usage: v.strictObject({
    seconds: number,
    captured_seconds: v.pipe(number, v.description("Charged, at the prices in force.")),
    free_seconds: v.pipe(number, v.description("Start-up, downloads and the memory test: never charged.")),
    discarded_seconds: v.pipe(number, v.description("Work that was lost and is not charged.")),
    tokens: number,
    cost_usd: number,
    discarded_usd: v.pipe(number, v.description("What the discarded time had cost before it was taken back.")),
    energy_kwh: v.pipe(number, v.description("Sampled on GPUs, estimated for CPU cores.")),
    carbon_g: v.pipe(number, v.description("Grams of CO2, from the energy and the installation's grams per kWh.")),
  }),
});
export type JobDetails = v.InferOutput<typeof JobDetails>;

export const AttemptList = v.strictObject({
  object: v.literal("list"),
  data: v.array(AttemptView),
  has_more: v.boolean(),
});
export type AttemptList = v.InferOutput<typeof AttemptList>;

/** Deleted files of a run: the number of checkpoints, the freed bytes, and the ids of what was kept. */
export const ClearedView = v.strictObject({
  object: v.literal("job.cleared"),
  id: text,
  checkpoints: number,
  bytes: number,
  kept: v.array(text),
});
export type ClearedView = v.InferOutput<typeof ClearedView>;

export const DeletedJob = v.strictObject({ object: v.literal("job"), id: text, deleted: v.literal(true) });
export type DeletedJob = v.InferOutput<typeof DeletedJob>;

export const OutputView = v.strictObject({ object: v.literal("job.output"), lines: v.array(text) });
export type OutputView = v.InferOutput<typeof OutputView>;
