/**
 * Resolves the method, the adapter, the quantization and their options by the rules in docs/hyperparameters.md.
 */
import type {
  AdapterSettings,
  Hyperparameters,
  LoraSettings,
  MethodName,
  MethodSettings,
  RowType,
} from "../../contract/spec.ts";
import { METHOD_FOR, OWN_FIELDS } from "../../contract/support.ts";
import { AppError } from "../../errors.ts";
import type { TrainRequest } from "./request.ts";

/** Takes the given value, or the rule's with its reason. */
export type Choose = <T>(
  field: keyof TrainRequest,
  value: T | "auto" | null | undefined,
  rule: () => T,
  why: string,
) => T;

const ROW_WORDS: Record<RowType, string> = {
  chat: "the rows are conversations",
  preference: "the rows are pairs of answers",
  unpaired: "the rows are labeled preference data",
  text: "the rows are plain text",
  prompt: "the rows are prompts to be answered",
};

/**
 * Learning rate by method, as a share of that for supervised fine-tuning. Methods with a reference model drift away
 * from it at higher rates, and pre-training has more and longer rows.
 */
const RATE_SHARE: Record<MethodName, number> = {
  sft: 1,
  pretrain: 0.5,
  dpo: 0.1,
  orpo: 0.2,
  kto: 0.1,
  reward: 0.2,
  grpo: 0.1,
};
export const rateShare = (method: MethodName): number => RATE_SHARE[method];

/**
 * Sequences per row in a batch: pairs are two, and KTO also scores every prompt with the answer of another row.
 */
const SEQUENCES: Record<MethodName, number> = {
  sft: 1,
  pretrain: 1,
  dpo: 2,
  orpo: 2,
  kto: 2,
  reward: 2,
  grpo: 1, // per completion
};
export const sequencesOf = (method: MethodName): number => SEQUENCES[method];

/** Whether the loss needs a reference model. GRPO with a beta of 0 does not. */
export const usesReference = (method: MethodSettings): boolean =>
  method.type === "dpo" || method.type === "kto" || (method.type === "grpo" && method.beta > 0);

/** Tokens of a row that are generated during training; 0 for all methods but GRPO. */
export const completionTokens = (method: MethodSettings): number =>
  method.type === "grpo" ? method.max_completion_length : 0;

/** Share of tokens with logits: all for pre-training and ORPO, none for reward models, otherwise the answers. */
export const scoredShare = (method: MethodName, answers: number): number =>
  method === "pretrain" || method === "orpo" ? 1 : method === "reward" ? 0 : answers;

/**
 * The method of a request; provisional while the rows are unknown.
 * @throws AppError naming a field that does not apply to the method
 */
export function methodNameOf(request: TrainRequest, rows: RowType | undefined, pick: Choose): MethodName {
  const method = pick("method", request.method, () => METHOD_FOR[rows ?? "chat"], ROW_WORDS[rows ?? "chat"]);
  if (!rows && (request.method ?? "auto") === "auto") return method;
  for (const [field, methods] of Object.entries(OWN_FIELDS)) {
    const value = request[field as keyof TrainRequest];
    if (value !== undefined && value !== null && value !== "auto" && !methods.includes(method))
      throw new AppError(
        "invalid",
        "invalid_value",
        `'${field}' does not apply to the method '${method}', only to ${methods.join(", ")}. Leave it out.`,
        { param: field },
      );
  }
  return method;
}

type GrpoSettings = Extract<MethodSettings, { type: "grpo" }>;

/** GRPO's own settings. @throws AppError `missing_grader` */
function grpoOf(request: TrainRequest, pick: Choose, contextLength: number): Omit<GrpoSettings, "adapter"> {
  const { grader } = request;
  if (!grader)
    throw new AppError(
      "invalid",
      "missing_grader",
      'GRPO needs a \'grader\' that rewards completions, such as {"type": "string_check", …}. See docs/graders.md for all types.',
      { param: "grader" },
    );
  return {
    type: "grpo",
    grader,
    loss_type: pick("loss_type", request.loss_type, () => "grpo" as const, "the loss of the GRPO paper"),
    beta: pick("beta", request.beta, () => 0.04, "the hold of the GRPO paper"),
    num_generations: pick("num_generations", request.num_generations, () => 8, "enough answers to compare"),
    max_completion_length: pick(
      "max_completion_length",
      request.max_completion_length,
      () => Math.min(256, Math.floor((contextLength || 512) / 2)),
      "room for a paragraph, half the model's context at most",
    ),
    temperature: pick("temperature", request.temperature, () => 1, "answers as the model has them"),
  };
}

/**
 * Every setting of the method. `start`: the adapter that the run continues from; its shape cannot change.
 * `contextLength`: 0 when unknown.
 */
export function methodOf(
  name: MethodName,
  request: TrainRequest,
  pick: Choose,
  start: AdapterSettings | null,
  contextLength: number,
): MethodSettings {
  const quantization = pick("quantization", request.quantization, () => "none" as const, "the base as it is");
  const held = quantization === "none" ? {} : { quantization };
  const adapter = adapterOf(request, pick, start);
  switch (name) {
    case "sft": {
      const why = "the model learns to answer, not to ask";
      return {
        type: name,
        adapter,
        ...held,
        loss_on: pick("loss_on", request.loss_on, () => "completion" as const, why),
      };
    }
    case "pretrain":
      return { type: name, adapter, ...held };
    case "dpo": {
      const loss = pick("loss", request.loss, () => "sigmoid" as const, "the loss of the DPO paper");
      const least = loss === "exo_pair" ? 0.001 : 0;
      const smoothing = least ? "exo_pair needs a little" : "the pairs are taken to be right";
      return {
        type: name,
        adapter,
        ...held,
        loss,
        beta: pick("beta", request.beta, () => 0.1, "the usual hold on the model it began from"),
        label_smoothing: pick("label_smoothing", request.label_smoothing, () => least, smoothing),
      };
    }
    case "orpo":
      return {
        type: name,
        adapter,
        ...held,
        beta: pick("beta", request.beta, () => 0.1, "the weight of the ORPO paper"),
      };
    case "kto": {
      const same = "good and bad answers count alike";
      return {
        type: name,
        adapter,
        ...held,
        beta: pick("beta", request.beta, () => 0.1, "the usual hold on the model it began from"),
        desirable_weight: pick("desirable_weight", request.desirable_weight, () => 1, same),
        undesirable_weight: pick("undesirable_weight", request.undesirable_weight, () => 1, same),
      };
    }
    case "grpo":
      return { ...grpoOf(request, pick, contextLength), adapter, ...held };
    case "reward":
      return {
        type: name,
        adapter,
        ...held,
        center: pick("center", request.center, () => 0.01, "keeps rewards near zero on average"),
      };
  }
}

/** Fields that apply only to adapters. */
const LORA_FIELDS = [
  "lora_r",
  "lora_alpha",
  "lora_dropout",
  "lora_layers",
  "target_modules",
  "rslora",
  "dora",
] as const;

/**
 * The adapter, or full fine-tuning.
 * @throws AppError for adapter settings with full fine-tuning, and for another kind than that of `start`
 */
function adapterOf(request: TrainRequest, pick: Choose, start: AdapterSettings | null): AdapterSettings {
  const type = pick(
    "adapter",
    request.adapter,
    () => start?.type ?? "lora",
    start ? "as in the model it continues" : "an adapter needs a fraction of the memory",
  );
  if (start && start.type !== type)
    throw new AppError(
      "invalid",
      "invalid_value",
      start.type === "full"
        ? "'adapter' cannot be 'lora': the run continues from a full fine-tuned model. Leave 'adapter' out to continue full fine-tuning, or start from a base model. An administrator can promote this model to a base model (Models, Import another model)."
        : "'adapter' cannot be 'full': the run continues from a LoRA adapter. Leave 'adapter' out to continue training it, or start from a base model.",
      { param: "adapter" },
    );
  if (type === "lora") return loraOf(request, pick, start?.type === "lora" ? start : null);
  for (const field of LORA_FIELDS) {
    const value = request[field];
    if (value !== undefined && value !== null && value !== "auto" && value !== false)
      throw new AppError(
        "invalid",
        "invalid_value",
        `'${field}' is a setting of LoRA adapters and does not apply to full fine-tuning. Leave it out.`,
        { param: field },
      );
  }
  return { type };
}

function loraOf(request: TrainRequest, pick: Choose, start: LoraSettings | null): LoraSettings {
  const from = <K extends keyof LoraSettings>(
    field: keyof TrainRequest,
    key: K,
    value: LoraSettings[K] | "auto" | null | undefined,
    rule: () => LoraSettings[K],
    why: string,
  ): LoraSettings[K] => {
    if (!start) return pick(field, value, rule, why);
    const kept = pick(field, value, () => start[key] ?? rule(), "as in the model it continues");
    if (key !== "dropout" && JSON.stringify(kept) !== JSON.stringify(start[key] ?? rule()))
      throw new AppError(
        "invalid",
        "invalid_value",
        `'${field}' cannot change: the run continues from an adapter with ${field} ${JSON.stringify(start[key] ?? rule())}. Leave it out.`,
        { param: field },
      );
    return kept;
  };
  const r = from("lora_r", "r", request.lora_r, () => 16, "enough for most tasks");
  const rslora = from("rslora", "rslora", request.rslora, () => false, "the usual scale, alpha / r");
  const dora = from("dora", "dora", request.dora, () => false, "plain LoRA is faster");
  return {
    type: "lora",
    r,
    alpha: from("lora_alpha", "alpha", request.lora_alpha, () => 2 * r, "twice the rank"),
    dropout: from("lora_dropout", "dropout", request.lora_dropout, () => 0, "short runs do not need it"),
    target_modules: from(
      "target_modules",
      "target_modules",
      request.target_modules,
      () => "all-linear",
      "all linear layers",
    ),
    layers: from("lora_layers", "layers", request.lora_layers, () => null, "all layers"),
    ...(rslora ? { rslora } : {}),
    ...(dora ? { dora } : {}),
  };
}

/** Options that are off by default. */
export function optionsOf(
  request: TrainRequest,
): Partial<
  Pick<
    Hyperparameters,
    | "neftune_alpha"
    | "packing"
    | "padding_free"
    | "early_stopping"
    | "keep_best"
    | "attention"
    | "liger_kernel"
    | "torch_compile"
  >
> {
  const { neftune_alpha, packing, padding_free, early_stopping, keep_best, attention, liger_kernel, torch_compile } =
    request;
  return {
    ...(typeof neftune_alpha === "number" ? { neftune_alpha } : {}),
    ...(packing === true ? { packing } : {}),
    ...(padding_free === true ? { padding_free } : {}),
    ...(typeof early_stopping === "number" ? { early_stopping } : {}),
    ...(keep_best === true ? { keep_best } : {}),
    ...(attention === "flash_attention_2" ? { attention } : {}),
    ...(liger_kernel === true ? { liger_kernel } : {}),
    ...(torch_compile === true ? { torch_compile } : {}),
  };
}
