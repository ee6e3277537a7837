/**
 * Which training options can be combined: the rules in the trainer's support.json, one table for form, API and trainer.
 */
import table from "../../trainer/finetune_trainer/spec/support.json" with { type: "json" };
import type { MethodName, RowType, TrainSpec } from "./spec.ts";

export type Facts = Record<string, string | boolean>;

/**
 * A rule refuses a training whose facts match `when`: one of the listed values for every name. `param`: the request
 * field to change.
 */
export interface Rule {
  when: Record<string, readonly (string | boolean)[]>;
  param: string;
  reason: string;
}

/** Every option in the rules, with its values. */
export const OPTIONS: Record<string, readonly (string | boolean)[]> = table.options;
export const RULES = table.rules as unknown as readonly Rule[];

/** The default method for each row type. */
export const METHOD_FOR = table.method_for as Record<RowType, MethodName>;

/** Whether a method supports a row type, whatever its options. */
export const fits = (method: string, rows: RowType): boolean => refusal({ method, rows }) === null;

/** Request fields that apply only to some methods, and those methods. */
export const OWN_FIELDS: Record<string, readonly string[]> = table.fields;

/** Whether a request field applies to a method; `auto` may become any method. */
export const knows = (method: string, field: string): boolean =>
  method === "auto" || (OWN_FIELDS[field]?.includes(method) ?? true);

/** The spec as facts for the rules; options of other methods are absent. */
export function factsOf(spec: TrainSpec): Facts {
  const { method, hyperparameters: h } = spec;
  const lora = method.adapter.type === "lora" ? method.adapter : null;
  const facts: Facts = {
    method: method.type,
    rows: spec.dataset.row_type ?? "chat",
    adapter: method.adapter.type,
    rslora: lora?.rslora ?? false,
    dora: lora?.dora ?? false,
    layers: (lora?.layers ?? null) === null ? "all" : "top",
    quantization: method.quantization ?? "none",
    precision: h.precision,
    start: spec.start ? "tuned" : "base",
    optimizer: h.optimizer ?? "adamw",
    scheduler: h.scheduler,
    packing: h.packing ?? false,
    padding_free: h.padding_free ?? false,
    neftune: h.neftune_alpha !== undefined,
    gradient_checkpointing: h.gradient_checkpointing,
    rows_at_once: h.per_device_batch_size === 1 ? "one" : "many",
    accumulation: h.gradient_accumulation > 1 ? "some" : "none",
    holdout: spec.schedule.eval_rows > 0 ? "some" : "none",
    early_stopping: h.early_stopping !== undefined,
    keep_best: h.keep_best ?? false,
    attention: h.attention ?? "sdpa",
    liger_kernel: h.liger_kernel ?? false,
    torch_compile: h.torch_compile ?? false,
    strategy: spec.parallel?.strategy ?? "single",
    device: spec.need.gpus > 0 ? "gpu" : "cpu",
  };
  if (method.type === "sft") facts.loss_on = method.loss_on;
  if (method.type === "dpo") {
    facts.loss = method.loss;
    facts.label_smoothing = method.label_smoothing > 0 ? "some" : "none";
  }
  if (method.type === "grpo") facts.loss_type = method.loss_type;
  return facts;
}

/** The first rule that refuses a training with these facts, or null. */
export function refusal(facts: Facts): Rule | null {
  const matches = ([key, values]: [string, readonly (string | boolean)[]]) =>
    facts[key] !== undefined && values.includes(facts[key]);
  return RULES.find((rule) => Object.entries(rule.when).every(matches)) ?? null;
}
