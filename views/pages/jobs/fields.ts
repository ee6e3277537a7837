/** The numbers of a training job a person may set; each is `auto` when left empty. */
import { ATTENTIONS, DPO_LOSSES, GRPO_LOSSES, SCHEDULERS, type TrainSpec } from "../../../src/contract/spec.ts";
import { formatRate } from "../../../src/lib/text/format.ts";

export interface NumberField {
  /** Name in the form and in the training request. */
  name: string;
  label: string;
  group: "Method" | "Training" | "LoRA" | "Data and machine";
  hint?: string;
  /** A choice rather than a number: value and label. */
  options?: [string, string][];
}

const SWITCH: [string, string][] = [
  ["true", "on"],
  ["false", "off"],
];
const same = (...values: string[]): [string, string][] => values.map((value) => [value, value]);

export const FIELDS: NumberField[] = [
  {
    name: "loss_on",
    label: "Loss on",
    group: "Method",
    options: [
      ["completion", "answers only"],
      ["all", "every token"],
    ],
  },
  {
    name: "loss",
    label: "Loss",
    group: "Method",
    options: same(...DPO_LOSSES),
  },
  { name: "num_generations", label: "Answers a prompt", group: "Method", hint: "More compare better and take longer" },
  { name: "max_completion_length", label: "Longest answer", group: "Method", hint: "Tokens" },
  { name: "temperature", label: "Temperature", group: "Method", hint: "How much the answers differ" },
  { name: "loss_type", label: "Loss", group: "Method", options: same(...GRPO_LOSSES) },
  { name: "beta", label: "Beta", group: "Method", hint: "More holds it closer to where it began" },
  { name: "label_smoothing", label: "Label smoothing", group: "Method", hint: "Share of pairs that may be wrong" },
  { name: "desirable_weight", label: "Weight of good answers", group: "Method" },
  { name: "undesirable_weight", label: "Weight of bad answers", group: "Method" },
  { name: "center", label: "Centring", group: "Method", hint: "Holds the mean reward near zero" },
  { name: "n_epochs", label: "Epochs", group: "Training", hint: "Passes over the data" },
  { name: "max_steps", label: "Most steps", group: "Training", hint: "Stops here even when epochs are left" },
  { name: "learning_rate", label: "Learning rate", group: "Training" },
  { name: "batch_size", label: "Batch size", group: "Training", hint: "Rows of one step" },
  {
    name: "scheduler",
    label: "Schedule",
    group: "Training",
    options: same(...SCHEDULERS),
  },
  { name: "warmup_ratio", label: "Warm-up", group: "Training", hint: "Share of the steps, 0 to 1" },
  { name: "weight_decay", label: "Weight decay", group: "Training" },
  { name: "max_grad_norm", label: "Gradient clipping", group: "Training" },
  { name: "seed", label: "Seed", group: "Training" },
  { name: "neftune_alpha", label: "NEFTune noise", group: "Training", hint: "On the embeddings; 5 is usual" },
  { name: "packing", label: "Packing", group: "Training", hint: "Short rows share a sequence", options: SWITCH },
  { name: "padding_free", label: "Padding-free", group: "Training", hint: "A batch is one sequence", options: SWITCH },
  { name: "early_stopping", label: "Early stopping", group: "Training", hint: "Evaluations without a better loss" },
  { name: "keep_best", label: "Keep the best", group: "Training", hint: "Not the last checkpoint", options: SWITCH },
  {
    name: "attention",
    label: "Attention",
    group: "Training",
    hint: "Flash: GPU, bfloat16",
    options: same(...ATTENTIONS),
  },
  { name: "liger_kernel", label: "Liger kernels", group: "Training", hint: "GPU", options: SWITCH },
  {
    name: "torch_compile",
    label: "Compile the layers",
    group: "Training",
    hint: "GPU; a slow first step",
    options: SWITCH,
  },
  {
    name: "adapter",
    label: "What is trained",
    group: "LoRA",
    hint: "Full: every weight, in much more memory",
    options: [
      ["lora", "an adapter (LoRA)"],
      ["full", "every weight (full)"],
    ],
  },
  { name: "lora_r", label: "Rank", group: "LoRA", hint: "Room to learn; more is slower" },
  { name: "lora_alpha", label: "Alpha", group: "LoRA" },
  { name: "lora_dropout", label: "Dropout", group: "LoRA" },
  { name: "lora_layers", label: "Top layers only", group: "LoRA", hint: "Fewer is faster" },
  {
    name: "quantization",
    label: "Base weights",
    group: "LoRA",
    hint: "Quantized weights take less memory (QLoRA)",
    options: [
      ["none", "as they are"],
      ["nf4", "4 bits (NF4)"],
      ["int8", "8 bits"],
    ],
  },
  { name: "rslora", label: "rsLoRA", group: "LoRA", hint: "Scale by the root of the rank", options: SWITCH },
  { name: "dora", label: "DoRA", group: "LoRA", hint: "Direction and magnitude apart; slower", options: SWITCH },
  { name: "max_length", label: "Longest row", group: "Data and machine", hint: "Tokens; longer rows are cut" },
  {
    name: "precision",
    label: "Precision",
    group: "Data and machine",
    options: [
      ["bfloat16", "bfloat16"],
      ["float32", "float32"],
    ],
  },
  {
    name: "gradient_checkpointing",
    label: "Gradient checkpointing",
    group: "Data and machine",
    hint: "Much less memory, about a third longer",
    options: SWITCH,
  },
  {
    name: "per_device_batch_size",
    label: "Rows at a time",
    group: "Data and machine",
    hint: "Fewer need less memory; the batch stays",
  },
  {
    name: "gpus",
    label: "GPUs",
    group: "Data and machine",
    hint: "The smallest number that fits; 0 keeps it on processors",
  },
  {
    name: "parallel",
    label: "Several GPUs",
    group: "Data and machine",
    options: [
      ["single", "one process"],
      ["ddp", "ddp: the model on each"],
      ["fsdp", "fsdp: the model split"],
      ["zero2", "zero2: DeepSpeed, optimizer split"],
      ["zero3", "zero3: DeepSpeed, model split"],
    ],
  },
  { name: "eval_every", label: "Evaluate every", group: "Data and machine", hint: "Steps" },
  { name: "save_every", label: "Checkpoint every", group: "Data and machine", hint: "Steps" },
];

/** What every field is in a resolved spec, as text, by field name. */
export function resolvedOf({
  hyperparameters: h,
  method,
  schedule,
  need,
  parallel,
}: TrainSpec): Record<string, string> {
  const lora = method.adapter.type === "lora" ? method.adapter : null;
  return {
    n_epochs: String(h.n_epochs),
    max_steps: String(h.max_steps ?? schedule.total_steps),
    learning_rate: formatRate(h.learning_rate),
    batch_size: String(h.batch_size),
    scheduler: h.scheduler,
    warmup_ratio: String(h.warmup_ratio),
    weight_decay: String(h.weight_decay),
    max_grad_norm: String(h.max_grad_norm),
    gradient_checkpointing: h.gradient_checkpointing ? "on" : "off",
    per_device_batch_size: String(h.per_device_batch_size),
    seed: String(h.seed),
    adapter: lora ? "an adapter (LoRA)" : "every weight (full)",
    lora_r: String(lora?.r ?? "none"),
    lora_alpha: String(lora?.alpha ?? "none"),
    lora_dropout: String(lora?.dropout ?? "none"),
    lora_layers: String(lora?.layers ?? "all"),
    ...(method.type === "sft" ? { loss_on: method.loss_on === "completion" ? "answers only" : "every token" } : {}),
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
    precision: h.precision,
    gpus: String(need.gpus),
    parallel: parallel?.strategy ?? "one process",
    eval_every: String(schedule.eval_every),
    save_every: String(schedule.save_every),
  };
}
