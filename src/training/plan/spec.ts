/** Resolves a training request and what it meets to the frozen spec. Pure: the same facts give the same spec. */
import { SPEC_VERSION, type TrainSpec } from "../../contract/spec.ts";
import { factsOf, refusal } from "../../contract/support.ts";
import { datasetRef } from "../../data/validation/model.ts";
import { AppError } from "../../errors.ts";
import { type Resolved, resolveAuto } from "./defaults.ts";
import type { TrainFacts } from "./facts.ts";
import type { TrainRequest } from "./request.ts";

const DAY_S = 86_400;
/** Waiting in the queue, silence, a whole attempt, and attempts that may fail. */
const LIMITS = { queued_s: 14 * DAY_S, no_progress_s: 1800, total_s: 7 * DAY_S, max_attempts: 5 };

export interface Resolution {
  /** Every number, with the reason of each that was `auto`. */
  resolved: Resolved;
  spec: TrainSpec;
}

function refuse(code: string, message: string, param: keyof TrainRequest): never {
  throw new AppError("invalid", code, message, { param });
}

/** Throws when the request and what was found for it do not go together. */
function requireFitting(request: TrainRequest, facts: TrainFacts): void {
  const { ready, data, validation, base, layers } = facts;
  if (!facts.providerKnown)
    refuse("unknown_provider", `There is no provider called '${request.provider}'.`, "provider");
  if (ready && data.trainRows === 0) refuse("no_training_rows", "The data has no training rows.", "training_file");
  if (ready && validation && validation.rowType !== data.rowType)
    refuse(
      "wrong_row_type",
      `The rows to validate by are of the type '${validation.rowType}', those to train on '${data.rowType}'. Use data of the same type.`,
      "validation_file",
    );
  if (typeof request.max_length === "number" && base.context_length && request.max_length > base.context_length)
    refuse(
      "invalid_value",
      `'max_length' is over the context of ${base.id}: ${base.context_length} tokens.`,
      "max_length",
    );
  if (typeof request.lora_layers === "number" && layers && request.lora_layers > layers)
    refuse("invalid_value", `'lora_layers' is over the ${layers} layers of ${base.id}.`, "lora_layers");
}

/** The frozen spec of a resolved run. */
function specOf(request: TrainRequest, facts: TrainFacts, resolved: Resolved): TrainSpec {
  const { base, from, data, validation } = facts;
  return {
    version: SPEC_VERSION,
    kind: "train",
    base_model: base,
    dataset: datasetRef(data),
    validation: validation && datasetRef(validation),
    method: resolved.method,
    ...(from ? { start: from.start } : {}),
    hyperparameters: resolved.hyperparameters,
    schedule: resolved.schedule,
    parallel: resolved.parallel,
    suffix: request.suffix ?? null,
    // Prompts have no answers to compare with: the reward on hold-out rows is what tells.
    evaluate_after: resolved.method.type !== "grpo" && (request.evaluate_after ?? true),
    output_model: facts.outputModel,
    trainer: facts.trainer,
    need: {
      ...resolved.need,
      max_price_per_hour: request.max_price_per_hour ?? null,
      provider: request.provider ?? null,
    },
    limits: {
      ...LIMITS,
      max_attempts: typeof request.max_attempts === "number" ? request.max_attempts : LIMITS.max_attempts,
    },
  };
}

/** Whether options of a resolved run do not go together. */
export const isRefused = (request: TrainRequest, facts: TrainFacts, resolved: Resolved): boolean =>
  refusal(factsOf(specOf(request, facts, resolved))) !== null;

/**
 * Resolves every number and freezes the spec.
 * @param options `anyMemory`: a run that fits no GPU there is is resolved all the same, for a plan that shows what is
 *   missing
 * @throws AppError naming the field that cannot be
 */
export function resolve(request: TrainRequest, facts: TrainFacts, options: { anyMemory?: boolean } = {}): Resolution {
  requireFitting(request, facts);
  const resolved = resolveAuto(request, facts.numbers, options);
  const spec = specOf(request, facts, resolved);
  if (facts.from?.method === "reward" && spec.method.type !== "reward")
    refuse(
      "invalid_value",
      "A reward model can only go on as one: use the method 'reward', or begin from another model.",
      "model",
    );
  const refused = facts.ready ? refusal(factsOf(spec)) : null;
  if (refused) throw new AppError("invalid", "not_supported", refused.reason, { param: refused.param });
  return { resolved, spec };
}
