/**
 * OpenAI's `reinforcement` method: its grader and hyperparameters as settings of GRPO, and back. What cannot be honored
 * is refused by name.
 */
import type { TrainSpec } from "../contract/spec.ts";
import { AppError } from "../errors.ts";
import type { TrainRequest } from "../training/plan/request.ts";

/** Answers a prompt gets at a `compute_multiplier` of 1. */
const GENERATIONS = 8;
const MOST = 64;

/** OpenAI's hyperparameters that are ours by another name. */
const RENAMED = { eval_interval: "eval_every", compute_multiplier: "num_generations" } as const;
/** Those that are only taken where they change nothing, and why. */
const FIXED: Record<string, { values: readonly unknown[]; reason: string }> = {
  eval_samples: { values: ["auto", 1], reason: "hold-out prompts are answered once each, by the likeliest words" },
  reasoning_effort: { values: ["default"], reason: "open models have no such setting" },
};

const invalid = (param: string, reason: string) => new AppError("invalid", "invalid_value", reason, { param });

/**
 * The training request's part of `method.reinforcement`, and what its fields are called there.
 * @throws AppError naming the field
 */
export function fromReinforcement(
  { grader, response_format }: Record<string, unknown>,
  numbers: Record<string, unknown>,
  place: string,
): { request: Record<string, unknown>; names: Record<string, string> } {
  if (grader === undefined || grader === null)
    throw invalid("method.reinforcement.grader", "The method 'reinforcement' needs a grader that rewards answers.");
  if (response_format !== undefined && response_format !== null)
    throw invalid(
      "method.reinforcement.response_format",
      "Answers are not forced into a format while training: leave 'response_format' out, and have the grader reward it.",
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
    if (typeof multiplier !== "number" || !(multiplier > 0) || multiplier > MOST / GENERATIONS)
      throw invalid(
        `${place}.compute_multiplier`,
        `'compute_multiplier' is a number above 0 and at most ${MOST / GENERATIONS}: it multiplies the ${GENERATIONS} answers a prompt gets.`,
      );
    request.num_generations = Math.max(2, Math.round(GENERATIONS * multiplier));
  }
  return { request, names };
}

/** OpenAI's object for a run of GRPO; `common` are the hyperparameters all methods have. */
export function reinforcementView(spec: TrainSpec, request: Partial<TrainRequest>, common: Record<string, unknown>) {
  const { method } = spec;
  if (method.type !== "grpo") throw new Error("not a run of GRPO");
  const multiplier = method.num_generations / GENERATIONS;
  const { beta, ...hyperparameters } = common;
  return {
    type: "reinforcement",
    reinforcement: {
      grader: method.grader,
      hyperparameters: {
        ...hyperparameters,
        compute_multiplier: typeof request.num_generations === "number" ? multiplier : "auto",
        eval_interval: spec.schedule.eval_every,
        eval_samples: 1,
        reasoning_effort: "default",
      },
    },
  };
}
