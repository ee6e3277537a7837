/** Requests and answers of the sweeps API. */
import * as v from "valibot";
import { MaxCostUsd } from "../../billing/budgets/max-cost.ts";
import type { sweep, trial } from "../../db/schema/sweeps.ts";
import { nameText } from "../../lib/text/names.ts";
import { TrainRequest } from "../plan/request.ts";

export type SweepRow = typeof sweep.$inferSelect;
export type TrialRow = typeof trial.$inferSelect;

/** Limits of one sweep. */
export const MAX_TRIALS = 100;
const MAX_PARALLEL = 16;
const MAX_FIELDS = 6;

/** Fields of a training request that a sweep can vary. */
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
  "optimizer",
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
  v.maxLength(MAX_TRIALS, `has at most ${MAX_TRIALS} values`),
);
const Range = v.pipe(
  v.strictObject({
    min: finite,
    max: finite,
    scale: v.optional(v.picklist(["linear", "log"], "must be linear or log"), "linear"),
    /** Number of values in a grid. */
    points: v.optional(whole(2, 20), 3),
  }),
  v.check(({ min, max }) => min < max, "needs a min below its max"),
  v.check(({ min, scale }) => scale === "linear" || min > 0, "needs a min above 0 with the scale log"),
);
const TRIAL_STATES = [
  "waiting",
  "running",
  "succeeded",
  "stopped",
  "failed",
  "cancelled",
  "refused",
] as const satisfies TrialRow["state"][];
const SWEEP_STATES = ["running", "stopping", "succeeded", "failed", "cancelled"] as const satisfies SweepRow["state"][];

const seed = v.optional(whole(0, 2_147_483_647), 42);
const trials = whole(1, MAX_TRIALS);

export const CreateSweep = v.strictObject({
  name: v.optional(v.nullable(nameText(200))),
  /** The training request that all trials share. */
  training: TrainRequest,
  /** By field: a list of values, or a range. */
  space: v.pipe(
    v.record(v.picklist(FIELDS, `must be one of ${FIELDS.join(", ")}`), v.union([Values, Range])),
    v.check((space) => Object.keys(space).length > 0, "needs at least one field"),
    v.check((space) => Object.keys(space).length <= MAX_FIELDS, `has at most ${MAX_FIELDS} fields`),
  ),
  /**
   * `grid`: every combination. `random`: draws by the seed. `halving`: like `random`, and the worse trials are stopped
   * early.
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
   * The metric that trials are compared by. Default: the loss on validation rows (the reward for reinforcement
   * learning), or of training without validation rows.
   */
  metric: v.optional(
    v.nullable(v.pipe(v.string(), v.regex(/^(eval|train)\/[a-z_]{1,60}$/, "must be a metric such as eval/loss"))),
  ),
  direction: v.optional(v.nullable(v.picklist(["min", "max"], "must be min or max"))),
  /** Most trials that are queued or running at a time. The others wait outside the queue. */
  parallel: v.optional(whole(1, MAX_PARALLEL), 2),
  /** In USD for all trials together: a total budget of the sweep. */
  max_cost_usd: v.optional(MaxCostUsd),
});
export type CreateSweep = v.InferOutput<typeof CreateSweep>;

const range = v.nullable(v.tuple([v.number(), v.number()]));
const direction = v.picklist(["min", "max"]);
const values = v.record(v.string(), v.union([v.string(), v.number(), v.boolean()]));

const DecisionView = v.strictObject({
  rung: v.number(),
  step: v.number(),
  value: v.number(),
  rank: v.number(),
  of: v.number(),
  kept: v.boolean(),
  at: v.number(),
});

/**
 * A trial. `reason` says why it was refused, stopped or failed. `score` is the final metric, or the last reported one
 * while it trains.
 */
const TrialView = v.strictObject({
  number: v.number(),
  values,
  state: v.picklist(TRIAL_STATES),
  reason: v.nullable(v.string()),
  job_id: v.nullable(v.string()),
  model: v.nullable(v.string()),
  step: v.nullable(v.number()),
  total_steps: v.nullable(v.number()),
  score: v.nullable(v.number()),
  seconds: v.nullable(v.number()),
  cost_usd: v.nullable(v.number()),
  rungs: v.array(v.number()),
  decisions: v.array(DecisionView),
});
export type TrialView = v.InferOutput<typeof TrialView>;

const StrategyView = v.variant("type", [
  v.strictObject({ type: v.literal("grid") }),
  v.strictObject({ type: v.literal("random"), trials: v.number(), seed: v.number() }),
  v.strictObject({ type: v.literal("halving"), trials: v.number(), seed: v.number(), eta: v.number() }),
]);
const RangeView = v.strictObject({
  min: v.number(),
  max: v.number(),
  scale: v.picklist(["linear", "log"]),
  points: v.number(),
});

/** A sweep. `best` is the number of the best trial that completed its training. */
export const SweepView = v.strictObject({
  object: v.literal("sweep"),
  id: v.string(),
  name: v.string(),
  state: v.picklist(SWEEP_STATES),
  error: v.nullable(v.string()),
  training: v.record(v.string(), v.unknown()),
  space: v.record(v.string(), v.union([v.array(v.union([v.string(), v.number(), v.boolean()])), RangeView])),
  strategy: StrategyView,
  metric: v.string(),
  direction,
  parallel: v.number(),
  counts: v.strictObject({ trials: v.number(), ended: v.number(), succeeded: v.number() }),
  best: v.nullable(v.number()),
  trials: v.array(TrialView),
  created_by: v.string(),
  created_at: v.number(),
  finished_at: v.nullable(v.number()),
});
export type SweepView = v.InferOutput<typeof SweepView>;

const PlannedTrial = v.strictObject({
  number: v.number(),
  values,
  refused: v.nullable(v.string()),
  steps: v.nullable(v.number()),
  seconds_range: range,
  memory_mb: v.nullable(v.number()),
  rungs: v.array(v.number()),
});
export type PlannedTrial = v.InferOutput<typeof PlannedTrial>;

/** What a sweep would do. The ranges are lower and upper bounds for all trials in sequence. */
export const SweepPlan = v.strictObject({
  object: v.literal("sweep.plan"),
  metric: v.string(),
  direction,
  trials: v.array(PlannedTrial),
  refused: v.number(),
  seconds_range: range,
  /** What the provider charges. */
  cost_range_usd: range,
  /** What you are charged, before free allowances. */
  cost_usd: range,
  /** The maximum cost of the request; null = none. */
  max_cost_usd: v.nullable(v.number()),
});
export type SweepPlan = v.InferOutput<typeof SweepPlan>;

export const DeletedSweep = v.strictObject({
  object: v.literal("sweep"),
  id: v.string(),
  deleted: v.literal(true),
  /** Jobs of trials that stay, because their model, an endpoint or another job needs them. */
  kept_jobs: v.array(v.string()),
});
