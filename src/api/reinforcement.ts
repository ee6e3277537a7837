/**
 * OpenAI's `reinforcement` method: translates its grader and hyperparameters to GRPO settings and back. Unsupported
 * settings are refused by name.
 */
import type { TrainSpec } from "../contract/spec.ts";
import { AppError } from "../errors.ts";
import type { TrainRequest } from "../training/plan/request.ts";

/** Generations per prompt for a `compute_multiplier` of 1. */
const GENERATIONS = 8;
const MAX_GENERATIONS = 64;

/** OpenAI's hyperparameters with another name here. */
const RENAMED = { eval_interval: "eval_every", compute_multiplier: "num_generations" } as const;
/** Hyperparameters with a fixed value, and the reason. */
const FIXED: Record<string, { values: readonly unknown[]; reason: string }> = {
  eval_samples: { values: ["auto", 1], reason: "each validation prompt gets one completion, decoded greedily" },
  reasoning_effort: { values: ["default"], reason: "open models do not have this setting" },
};

const invalid = (param: string, reason: string) => new AppError("invalid", "invalid_value", reason, { param });

/**
 * Translates `method.reinforcement`; `names` maps fields back to their names in OpenAI's request.
 * @throws AppError naming the field
 */
export function fromReinforcement(
  { grader, response_format }: Record<string, unknown>,
  numbers: Record<string, unknown>,
  place: string,
): { request: Record<string, unknown>; names: Record<string, string> } {
  if (grader === undefined || grader === null)
    throw invalid("method.reinforcement.grader", "The method 'reinforcement' needs a grader that rewards completions.");
  if (response_format !== undefined && response_format !== null)
    throw invalid(
      "method.reinforcement.response_format",
      "Training does not constrain the format of completions. Leave 'response_format' out, and let the grader reward the format.",
    );
  const names: Record<string, string> = { grader: "method.reinforcement.grader" };
  const request: Record<string, unknown> = { grader };
  for (const [field, { values, reason }] of Object.entries(FIXED)) {
    const value = numbers[field];
    if (value !== undefined && value !== null && !values.includes(value))
      throw invalid(`${place}.${field}`, `'${field}' can only be ${JSON.stringify(values.at(-1))} here: ${reason}.`);
  }
  for (const [field, ours] of Object.entries(RENAMED)) names[ours] = `${place}.${field}`;
  if (numbers.eval_interval !== undefined) request.eval_every = numbers.eval_interval;
  const multiplier = numbers.compute_multiplier;
  if (multiplier !== undefined && multiplier !== null && multiplier !== "auto") {
    if (typeof multiplier !== "number" || !(multiplier > 0) || multiplier > MAX_GENERATIONS / GENERATIONS)
      throw invalid(
        `${place}.compute_multiplier`,
        `'compute_multiplier' must be a number above 0 and at most ${MAX_GENERATIONS / GENERATIONS}. It multiplies the ${GENERATIONS} generations per prompt.`,
      );
    request.num_generations = Math.max(2, Math.round(GENERATIONS * multiplier));
  }
  return { request, names };
}

/** OpenAI's method object for GRPO. `common`: the hyperparameters of all methods. `resolved`: whether the run's
 * settings are final; they are shown as requested until then. */
export function reinforcementView(
  spec: TrainSpec,
  request: Partial<TrainRequest>,
  common: Record<string, unknown>,
  resolved: boolean,
) {
  const { method } = spec;
  if (method.type !== "grpo") throw new Error("not a GRPO run");
  const { beta, ...hyperparameters } = common;
  const open = { num_generations: request.num_generations ?? "auto", eval_every: request.eval_every ?? "auto" };
  const { num_generations: generations, eval_every } = resolved
    ? { num_generations: method.num_generations, eval_every: spec.schedule.eval_every }
    : open;
  return {
    type: "reinforcement",
    reinforcement: {
      grader: method.grader,
      hyperparameters: {
        ...hyperparameters,
        compute_multiplier: generations === "auto" ? "auto" : generations / GENERATIONS,
        eval_interval: eval_every,
        eval_samples: 1,
        reasoning_effort: "default",
      },
    },
  };
}
