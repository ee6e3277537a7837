/** Resolves a training request and its facts to the frozen spec. Pure: the same facts give the same spec. */
import type { DataSettings } from "../../contract/data-settings.ts";
import { SPEC_VERSION, type TrainSpec } from "../../contract/spec.ts";
import { factsOf, refusal } from "../../contract/support.ts";
import { datasetRef } from "../../data/validation/model.ts";
import { AppError } from "../../errors.ts";
import { refuseData } from "./data-checks.ts";
import { type Resolved, resolveAuto } from "./defaults.ts";
import type { TrainFacts } from "./facts.ts";
import { moduleProblem } from "./module-names.ts";
import type { TrainRequest } from "./request.ts";

const DAY_S = 86_400;
/** Default limits: seconds in the queue, without progress and per attempt, and the number of failed attempts. */
const LIMITS = { queued_s: 14 * DAY_S, no_progress_s: 1800, total_s: 7 * DAY_S, max_attempts: 5 };

export interface Resolution {
  /** Every setting, with the reason for each that was `auto`. */
  resolved: Resolved;
  spec: TrainSpec;
}

function refuse(code: string, message: string, param: keyof TrainRequest): never {
  throw new AppError("invalid", code, message, { param });
}

/** Throws when the request does not match its facts. */
function requireCompatible(request: TrainRequest, facts: TrainFacts): void {
  const { ready, data, validation, base, layers } = facts;
  if (!facts.providerKnown) refuse("unknown_provider", `There is no provider '${request.provider}'.`, "provider");
  if (ready && data.trainRows === 0) refuse("no_training_rows", "The data has no training rows.", "training_file");
  if (ready && validation && validation.rowType !== data.rowType)
    refuse(
      "wrong_row_type",
      `The validation rows have the type '${validation.rowType}', the training rows '${data.rowType}'. Use data of the same type.`,
      "validation_file",
    );
  if (typeof request.max_length === "number" && base.context_length && request.max_length > base.context_length)
    refuse(
      "invalid_value",
      `'max_length' exceeds the context length of ${base.id}, ${base.context_length} tokens.`,
      "max_length",
    );
  if (typeof request.lora_layers === "number" && layers && request.lora_layers > layers)
    refuse("invalid_value", `'lora_layers' exceeds the ${layers} layers of ${base.id}.`, "lora_layers");
  const wrong = facts.modules && moduleProblem(request, facts.modules, { id: base.id, tied: facts.numbers.base.tied });
  if (wrong) refuse("invalid_value", wrong, "target_modules");
}

/** How rows are read, when the request says so. */
function dataOf(request: TrainRequest, facts: TrainFacts): Pick<TrainSpec, "data"> {
  const { special_tokens, on_template_error, reasoning } = request;
  const data: DataSettings = facts.chatTemplate === "tools" ? { chat_template: "tools" } : {};
  if (special_tokens && special_tokens !== "auto") data.special_tokens = special_tokens;
  if (on_template_error && on_template_error !== "auto") data.on_template_error = on_template_error;
  if (reasoning && reasoning !== "auto") data.reasoning = reasoning;
  return Object.keys(data).length ? { data } : {};
}

/** The frozen spec of a resolved run. */
function specOf(request: TrainRequest, facts: TrainFacts, resolved: Resolved): TrainSpec {
  const { base, from, data, validation } = facts;
  const { trainRows, holdoutRows } = facts.numbers;
  return {
    version: SPEC_VERSION,
    kind: "train",
    base_model: base,
    dataset: { ...datasetRef(data), train_rows: trainRows, holdout_rows: validation ? 0 : holdoutRows },
    validation: validation && { ...datasetRef(validation), train_rows: 0, holdout_rows: holdoutRows },
    method: resolved.method,
    ...(from ? { start: from.start } : {}),
    ...dataOf(request, facts),
    hyperparameters: resolved.hyperparameters,
    schedule: resolved.schedule,
    parallel: resolved.parallel,
    suffix: request.suffix ?? null,
    // Prompts have no expected answers; the reward on validation rows is the measure.
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

/** Whether the options of a resolved run cannot be combined. */
export const isRefused = (request: TrainRequest, facts: TrainFacts, resolved: Resolved): boolean =>
  refusal(factsOf(specOf(request, facts, resolved))) !== null;

/**
 * Resolves every setting and freezes the spec.
 * @param options `anyMemory`: resolves a run that fits no available GPU, for a plan that shows how much is missing
 * @throws AppError naming the invalid field
 */
export function resolve(request: TrainRequest, facts: TrainFacts, options: { anyMemory?: boolean } = {}): Resolution {
  requireCompatible(request, facts);
  const resolved = resolveAuto(request, facts.numbers, options);
  const spec = specOf(request, facts, resolved);
  if (facts.from?.method === "reward" && spec.method.type !== "reward")
    refuse(
      "invalid_value",
      "Training a reward model can only continue with the method 'reward'. Use it, or start from another model.",
      "model",
    );
  const refused = facts.ready ? refusal(factsOf(spec)) : null;
  if (refused) throw new AppError("invalid", "not_supported", refused.reason, { param: refused.param });
  if (facts.checks) refuseData({ spec, data: facts.data, validation: facts.validation, facts: facts.checks });
  return { resolved, spec };
}
