/** The hyperparameters of a training job that the form offers; each is `auto` when empty. */
import { ATTENTIONS, DPO_LOSSES, GRPO_LOSSES, SCHEDULERS } from "../../../src/contract/spec.ts";

export interface NumberField {
  /** Name in the form and in the training request. */
  name: string;
  label: string;
  group: "Method" | "Training" | "LoRA" | "Data and machine";
  hint?: string;
  /** A list of values and labels instead of a number. */
  options?: [string, string][];
  /** Takes words, not a number. */
  words?: boolean;
}

const SWITCH: [string, string][] = [
  ["true", "on"],
  ["false", "off"],
];
const same = (...values: string[]): [string, string][] => values.map((value) => [value, value]);

export const FIELDS: NumberField[] = [
  {
    name: "loss_on",
    label: "Train on",
    group: "Method",
    options: [
      ["completion", "assistant turns"],
      ["all", "all tokens"],
    ],
  },
  {
    name: "loss",
    label: "DPO loss",
    group: "Method",
    options: same(...DPO_LOSSES),
  },
  {
    name: "num_generations",
    label: "Generations per prompt",
    group: "Method",
    hint: "More give a better signal and take longer",
  },
  { name: "max_completion_length", label: "Max completion length", group: "Method", hint: "Tokens" },
  { name: "temperature", label: "Temperature", group: "Method", hint: "Higher gives more varied completions" },
  { name: "loss_type", label: "GRPO loss type", group: "Method", options: same(...GRPO_LOSSES) },
  { name: "beta", label: "Beta", group: "Method", hint: "Higher stays closer to the reference model" },
  { name: "label_smoothing", label: "Label smoothing", group: "Method", hint: "Share of pairs with a wrong label" },
  { name: "desirable_weight", label: "Desirable weight", group: "Method" },
  { name: "undesirable_weight", label: "Undesirable weight", group: "Method" },
  { name: "center", label: "Reward centering", group: "Method", hint: "Keeps the mean reward near zero" },
  { name: "n_epochs", label: "Epochs", group: "Training", hint: "Passes over the data" },
  { name: "max_steps", label: "Max steps", group: "Training", hint: "Stops here even if epochs are left" },
  { name: "learning_rate", label: "Learning rate", group: "Training" },
  { name: "batch_size", label: "Batch size", group: "Training", hint: "Rows per step" },
  {
    name: "optimizer",
    label: "Optimizer",
    group: "Training",
    hint: "All but AdamW need less memory",
    options: [
      ["adamw", "AdamW"],
      ["adamw_8bit", "AdamW in 8 bits"],
      ["adafactor", "Adafactor"],
      ["lion", "Lion"],
      ["sgd", "SGD"],
    ],
  },
  {
    name: "scheduler",
    label: "LR scheduler",
    group: "Training",
    options: same(...SCHEDULERS),
  },
  { name: "warmup_ratio", label: "Warm-up ratio", group: "Training", hint: "Share of the steps, 0 to 1" },
  { name: "weight_decay", label: "Weight decay", group: "Training" },
  { name: "max_grad_norm", label: "Max gradient norm", group: "Training" },
  { name: "seed", label: "Seed", group: "Training" },
  { name: "neftune_alpha", label: "NEFTune alpha", group: "Training", hint: "Noise on embeddings; 5 is usual" },
  { name: "packing", label: "Packing", group: "Training", hint: "Several rows share a sequence", options: SWITCH },
  {
    name: "padding_free",
    label: "Padding-free",
    group: "Training",
    hint: "A batch becomes one sequence",
    options: SWITCH,
  },
  { name: "early_stopping", label: "Early stopping", group: "Training", hint: "Evaluations without improvement" },
  {
    name: "keep_best",
    label: "Load best checkpoint at end",
    group: "Training",
    hint: "By eval loss or reward",
    options: SWITCH,
  },
  {
    name: "attention",
    label: "Attention",
    group: "Training",
    hint: "FlashAttention needs a GPU and bfloat16",
    options: same(...ATTENTIONS),
  },
  { name: "liger_kernel", label: "Liger kernels", group: "Training", hint: "GPU only", options: SWITCH },
  {
    name: "torch_compile",
    label: "torch.compile",
    group: "Training",
    hint: "GPU only; slow first step",
    options: SWITCH,
  },
  {
    name: "adapter",
    label: "Adapter",
    group: "LoRA",
    hint: "Full fine-tuning needs much more memory",
    options: [
      ["lora", "LoRA"],
      ["full", "full fine-tuning"],
    ],
  },
  { name: "lora_r", label: "Rank", group: "LoRA", hint: "Capacity of the adapter; higher is slower" },
  { name: "lora_alpha", label: "Alpha", group: "LoRA" },
  { name: "lora_dropout", label: "Dropout", group: "LoRA" },
  { name: "lora_layers", label: "Layers to train", group: "LoRA", hint: "Top layers; fewer are faster" },
  {
    name: "target_modules",
    label: "Target modules",
    group: "LoRA",
    hint: "all-linear, or names such as q_proj, v_proj",
    words: true,
  },
  {
    name: "quantization",
    label: "Base model quantization",
    group: "LoRA",
    hint: "Needs less memory (QLoRA)",
    options: [
      ["none", "none"],
      ["nf4", "4 bits (NF4)"],
      ["int8", "8 bits (LLM.int8)"],
    ],
  },
  { name: "rslora", label: "rsLoRA", group: "LoRA", hint: "Scales by the square root of the rank", options: SWITCH },
  {
    name: "dora",
    label: "DoRA",
    group: "LoRA",
    hint: "Trains direction and magnitude separately; slower",
    options: SWITCH,
  },
  {
    name: "max_length",
    label: "Max sequence length",
    group: "Data and machine",
    hint: "Tokens; longer rows are truncated",
  },
  {
    name: "chat_template",
    label: "Chat template",
    group: "Data and machine",
    hint: "With tools: for ChatML models without tools, such as SmolLM2",
    options: [
      ["default", "of the base model"],
      ["tools", "with tools"],
    ],
  },
  {
    name: "special_tokens",
    label: "Special tokens in texts",
    group: "Data and machine",
    hint: "Such as <|im_end|> within a message",
    options: [
      ["escape", "plain text"],
      ["strip", "removed"],
      ["keep", "control tokens"],
    ],
  },
  {
    name: "on_template_error",
    label: "Rows that the chat template refuses",
    group: "Data and machine",
    options: [
      ["fail", "end the run"],
      ["leave_out", "leave out"],
    ],
  },
  {
    name: "reasoning",
    label: "Reasoning of answers",
    group: "Data and machine",
    options: [
      ["train", "in the loss"],
      ["mask", "context only"],
    ],
  },
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
    hint: "Much less memory, about a third slower",
    options: SWITCH,
  },
  {
    name: "per_device_batch_size",
    label: "Per-device batch size",
    group: "Data and machine",
    hint: "Lower needs less memory; the batch size stays",
  },
  {
    name: "gpus",
    label: "GPUs",
    group: "Data and machine",
    hint: "Smallest number that fits; 0 trains on CPUs",
  },
  {
    name: "parallel",
    label: "Parallelism",
    group: "Data and machine",
    options: [
      ["single", "single process"],
      ["ddp", "DDP: full model on each GPU"],
      ["fsdp", "FSDP: sharded model"],
      ["zero2", "DeepSpeed ZeRO-2: sharded optimizer"],
      ["zero3", "DeepSpeed ZeRO-3: sharded model"],
    ],
  },
  { name: "eval_every", label: "Evaluate every", group: "Data and machine", hint: "Steps" },
  { name: "save_every", label: "Checkpoint every", group: "Data and machine", hint: "Steps" },
];
