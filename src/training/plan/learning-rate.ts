/** The learning rate of a run and its warm-up, by the rules in docs/hyperparameters.md. */
import type { MethodSettings, Optimizer, TrainSpec } from "../../contract/spec.ts";
import { AppError } from "../../errors.ts";
import { type Choose, rateShare } from "./method-defaults.ts";
import type { TrainRequest } from "./request.ts";

/** LoRA learning rate by size of the base model: small models need a higher one. */
function autoLearningRate(parameters: number): number {
  if (parameters <= 3e8) return 1e-3;
  if (parameters <= 1e9) return 5e-4;
  if (parameters <= 4e9) return 3e-4;
  if (parameters <= 1.2e10) return 2e-4;
  return 1e-4;
}

/** The same for full fine-tuning: LoRA's rates would destroy what the model knows. */
function autoFullLearningRate(parameters: number): number {
  if (parameters <= 3e8) return 5e-5;
  return parameters <= 4e9 ? 2e-5 : 1e-5;
}

/** Learning rate by optimizer, as a share of AdamW's. */
const OPTIMIZER_SHARE: Record<Optimizer, number> = { adamw: 1, adamw_8bit: 1, adafactor: 1, lion: 0.3, sgd: 1000 };

/** What the learning rate depends on, besides the base model. */
interface RateKind extends Pick<MethodSettings, "type" | "adapter"> {
  /** Absent = adamw. */
  optimizer?: Optimizer;
}

/**
 * The learning rate that a multiplier of 1 stands for: by the size of the base model, the adapter, the method and the
 * optimizer.
 */
export function automaticRate(parameters: number, { type, adapter, optimizer = "adamw" }: RateKind): number {
  const usual = adapter.type === "full" ? autoFullLearningRate : autoLearningRate;
  return usual(parameters) * rateShare(type) * OPTIMIZER_SHARE[optimizer];
}

/** The learning rate. @throws AppError when it is given twice: as a rate and as a multiplier of the automatic one */
export function rateOf(request: TrainRequest, parameters: number, method: RateKind, pick: Choose): number {
  const asked = typeof request.learning_rate_multiplier === "number" ? request.learning_rate_multiplier : null;
  if (asked !== null && typeof request.learning_rate === "number")
    throw new AppError(
      "invalid",
      "invalid_value",
      "'learning_rate_multiplier' scales the automatic learning rate, so it cannot be combined with 'learning_rate'. Leave one of them out.",
      { param: "learning_rate_multiplier" },
    );
  const multiplier = asked ?? 1;
  const share = rateShare(method.type);
  const full = method.adapter.type === "full";
  const { optimizer = "adamw" } = method;
  const byOptimizer = OPTIMIZER_SHARE[optimizer];
  return pick(
    "learning_rate",
    request.learning_rate,
    () => Number((automaticRate(parameters, method) * multiplier).toPrecision(4)),
    `${full ? "full fine-tuning of" : "LoRA on"} a model of this size${share === 1 ? "" : `, ${share} of it for ${method.type}`}${byOptimizer === 1 ? "" : `, ${byOptimizer} of it for ${optimizer}`}${multiplier === 1 ? "" : `, times ${multiplier}`}`,
  );
}

/** Runs of fewer steps have no warm-up, as in the trainer: training/warmup.py has the same number. */
const NO_WARMUP_BELOW = 10;

/** The warm-up as a share of the steps. */
export function warmupRatio(request: TrainRequest, steps: number, pick: Choose): number {
  const ratio = pick("warmup_ratio", request.warmup_ratio, () => (steps < 200 ? 0.1 : 0.03), `by ${steps} steps`);
  return steps < NO_WARMUP_BELOW ? 0 : ratio;
}

/** Steps in which the learning rate rises to its full value. */
export const warmupSteps = ({ hyperparameters: h, schedule: s }: Pick<TrainSpec, "hyperparameters" | "schedule">) =>
  s.total_steps < NO_WARMUP_BELOW ? 0 : Math.ceil(h.warmup_ratio * s.total_steps);
