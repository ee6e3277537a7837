/** The settings of a resolved run as text, by the name of their field in a request. */
import { specialTokensOf } from "../../contract/data-settings.ts";
import type { TrainSpec } from "../../contract/spec.ts";
import { formatRate } from "../../lib/text/format.ts";

/** What happens to special tokens in texts, for users. */
export const SPECIAL_WORDS = { escape: "plain text", strip: "removed", keep: "control tokens" } as const;

/** The value of every field in a resolved spec, as text, by field name. */
export function resolvedOf({
  hyperparameters: h,
  method,
  schedule,
  need,
  parallel,
  dataset,
  data,
}: TrainSpec): Record<string, string> {
  const lora = method.adapter.type === "lora" ? method.adapter : null;
  return {
    n_epochs: String(h.n_epochs),
    max_steps: String(h.max_steps ?? schedule.total_steps),
    learning_rate: formatRate(h.learning_rate),
    batch_size: String(h.batch_size),
    optimizer: h.optimizer ?? "adamw",
    scheduler: h.scheduler,
    warmup_ratio: String(h.warmup_ratio),
    weight_decay: String(h.weight_decay),
    max_grad_norm: String(h.max_grad_norm),
    gradient_checkpointing: h.gradient_checkpointing ? "on" : "off",
    per_device_batch_size: String(h.per_device_batch_size),
    seed: String(h.seed),
    method: method.type,
    target_modules: [lora?.target_modules ?? "none"].flat().join(", "),
    adapter: lora ? "LoRA" : "full fine-tuning",
    lora_r: String(lora?.r ?? "none"),
    lora_alpha: String(lora?.alpha ?? "none"),
    lora_dropout: String(lora?.dropout ?? "none"),
    lora_layers: String(lora?.layers ?? "all"),
    ...(method.type === "sft" ? { loss_on: method.loss_on === "completion" ? "assistant turns" : "all tokens" } : {}),
    ...(method.type === "dpo" ? { loss: method.loss, label_smoothing: String(method.label_smoothing) } : {}),
    ...("beta" in method ? { beta: String(method.beta) } : {}),
    ...(method.type === "kto"
      ? {
          desirable_weight: String(method.desirable_weight),
          undesirable_weight: String(method.undesirable_weight),
        }
      : {}),
    ...(method.type === "grpo"
      ? {
          num_generations: String(method.num_generations),
          max_completion_length: String(method.max_completion_length),
          temperature: String(method.temperature),
          loss_type: method.loss_type,
        }
      : {}),
    ...(method.type === "reward" ? { center: String(method.center) } : {}),
    quantization: method.quantization ?? "none",
    rslora: lora?.rslora ? "on" : "off",
    dora: lora?.dora ? "on" : "off",
    neftune_alpha: String(h.neftune_alpha ?? "off"),
    packing: h.packing ? "on" : "off",
    padding_free: h.padding_free ? "on" : "off",
    early_stopping: String(h.early_stopping ?? "never"),
    keep_best: h.keep_best ? "on" : "off",
    attention: h.attention ?? "sdpa",
    liger_kernel: h.liger_kernel ? "on" : "off",
    torch_compile: h.torch_compile ? "on" : "off",
    max_length: String(h.max_length),
    chat_template: data?.chat_template === "tools" ? "with tools" : "of the base model",
    special_tokens: SPECIAL_WORDS[specialTokensOf({ data, dataset })],
    on_template_error: data?.on_template_error === "leave_out" ? "leave out" : "end the run",
    reasoning: data?.reasoning === "mask" ? "context only" : "in the loss",
    precision: h.precision,
    gpus: String(need.gpus),
    parallel: parallel?.strategy ?? "single",
    eval_every: String(schedule.eval_every),
    save_every: String(schedule.save_every),
  };
}
