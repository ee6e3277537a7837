/** What callers send and see of sweeps. */
import * as v from "valibot";
import type { Decision, Space, SweepRequest, TrialValues } from "../../contract/sweep.ts";
import type { sweep, trial } from "../../db/schema/sweeps.ts";
import { nameText } from "../../lib/text/names.ts";
import { TrainRequest } from "../plan/request.ts";

export type SweepRow = typeof sweep.$inferSelect;
export type TrialRow = typeof trial.$inferSelect;

/** Trials of one sweep at most. */
export const MOST_TRIALS = 100;
const MOST_PARALLEL = 16;
const MOST_FIELDS = 6;

/** Fields of a training request that can be tried with several values. */
export const FIELDS = [
  "learning_rate",
  "learning_rate_multiplier",
  "n_epochs",
  "max_steps",
  "batch_size",
  "max_length",
  "seed",
  "lora_r",
  "lora_alpha",
  "lora_dropout",
  "lora_layers",
  "rslora",
  "dora",
  "adapter",
  "quantization",
  "precision",
  "model",
  "method",
  "loss_on",
  "loss",
  "beta",
  "label_smoothing",
  "desirable_weight",
  "undesirable_weight",
  "center",
  "loss_type",
  "num_generations",
  "temperature",
  "neftune_alpha",
  "packing",
  "padding_free",
  "scheduler",
  "warmup_ratio",
  "weight_decay",
  "max_grad_norm",
] as const satisfies (keyof TrainRequest)[];

const whole = (min: number, max: number) =>
  v.pipe(
    v.number("must be a number"),
    v.integer("must be a whole number"),
    v.minValue(min, `must be at least ${min}`),
    v.maxValue(max, `must be at most ${max}`),
  );
const finite = v.pipe(v.number("must be a number"), v.finite("must be a finite number"));

const Values = v.pipe(
  v.array(v.union([finite, v.boolean(), v.pipe(v.string(), v.minLength(1), v.maxLength(200))])),
  v.minLength(1, "needs at least one value"),
  v.maxLength(MOST_TRIALS, `has at most ${MOST_TRIALS} values`),
);
const Range = v.pipe(
  v.strictObject({
    min: finite,
    max: finite,
    scale: v.optional(v.picklist(["linear", "log"], "must be linear or log"), "linear"),
    /** How many a grid takes. */
    points: v.optional(whole(2, 20), 3),
  }),
  v.check(({ min, max }) => min < max, "needs a min below its max"),
  v.check(({ min, scale }) => scale === "linear" || min > 0, "needs a min above 0 with the scale log"),
);
const seed = v.optional(whole(0, 2_147_483_647), 42);
const trials = whole(1, MOST_TRIALS);

export const CreateSweep = v.strictObject({
  name: v.optional(v.nullable(nameText(200))),
  /** What every trial begins from. */
  training: TrainRequest,
  /** By field: a list of values, or a range. */
  space: v.pipe(
    v.record(v.picklist(FIELDS, `must be one of ${FIELDS.join(", ")}`), v.union([Values, Range])),
    v.check((space) => Object.keys(space).length > 0, "needs at least one field"),
    v.check((space) => Object.keys(space).length <= MOST_FIELDS, `has at most ${MOST_FIELDS} fields`),
  ),
  /**
   * `grid`: every combination. `random`: draws by the seed. `halving`: the same, and the worse ones are stopped early.
   */
  strategy: v.optional(
    v.variant("type", [
      v.strictObject({ type: v.literal("grid") }),
      v.strictObject({ type: v.literal("random"), trials, seed }),
      v.strictObject({ type: v.literal("halving"), trials, seed, eta: v.optional(whole(2, 10), 3) }),
    ]),
    { type: "grid" },
  ),
  /**
   * What trials are compared by; left out: the loss on held-out rows (the reward of reinforcement), or of training
   * without such rows.
   */
  metric: v.optional(v.nullable(v.pipe(v.string(), v.regex(/^(eval|train)\/[a-z_]{1,60}$/, "is no metric")))),
  direction: v.optional(v.nullable(v.picklist(["min", "max"], "must be min or max"))),
  /** Trials in the queue or at work at a time; the others wait without holding up anybody. */
  parallel: v.optional(whole(1, MOST_PARALLEL), 2),
});
export type CreateSweep = v.InferOutput<typeof CreateSweep>;

export interface TrialView {
  number: number;
  values: TrialValues;
  state: TrialRow["state"];
  /** Why it was refused, stopped or failed. */
  reason: string | null;
  job_id: string | null;
  model: string | null;
  step: number | null;
  total_steps: number | null;
  /** The metric at its end; while it trains, as it was last reported. */
  score: number | null;
  seconds: number | null;
  cost_usd: number | null;
  rungs: number[];
  decisions: Decision[];
}

export interface SweepView {
  object: "sweep";
  id: string;
  name: string;
  state: SweepRow["state"];
  error: string | null;
  training: Record<string, unknown>;
  space: Space;
  strategy: SweepRequest["strategy"];
  metric: string;
  direction: "min" | "max";
  parallel: number;
  counts: { trials: number; ended: number; succeeded: number };
  /** Number of the best trial that was trained to its end. */
  best: number | null;
  trials: TrialView[];
  created_by: string;
  created_at: number;
  finished_at: number | null;
}

export interface PlannedTrial {
  number: number;
  values: TrialValues;
  refused: string | null;
  steps: number | null;
  seconds_range: [low: number, high: number] | null;
  memory_mb: number | null;
  rungs: number[];
}

/** What a sweep would do and take. */
export interface SweepPlan {
  object: "sweep.plan";
  metric: string;
  direction: "min" | "max";
  trials: PlannedTrial[];
  refused: number;
  /** Of all trials after each other, at least and at most; stopping trials early makes the least less. */
  seconds_range: [low: number, high: number] | null;
  cost_range_usd: [low: number, high: number] | null;
}
