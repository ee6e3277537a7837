/** The numbers of a training job a person may set; each is `auto` when left empty. */

export interface NumberField {
  /** Name in the form and key of the plan's resolved numbers. */
  name: string;
  label: string;
  group: "Training" | "LoRA" | "Data and machine";
  hint?: string;
  /** A choice rather than a number: value and label. */
  options?: [string, string][];
}

export const FIELDS: NumberField[] = [
  { name: "n_epochs", label: "Epochs", group: "Training", hint: "Passes over the data" },
  { name: "max_steps", label: "Most steps", group: "Training", hint: "Stops here even when epochs are left" },
  { name: "learning_rate", label: "Learning rate", group: "Training" },
  { name: "batch_size", label: "Batch size", group: "Training", hint: "Rows of one step" },
  {
    name: "scheduler",
    label: "Schedule",
    group: "Training",
    options: [
      ["linear", "linear"],
      ["cosine", "cosine"],
      ["constant", "constant"],
    ],
  },
  { name: "warmup_ratio", label: "Warm-up", group: "Training", hint: "Share of the steps, 0 to 1" },
  { name: "weight_decay", label: "Weight decay", group: "Training" },
  { name: "max_grad_norm", label: "Gradient clipping", group: "Training" },
  { name: "seed", label: "Seed", group: "Training" },
  { name: "lora_r", label: "Rank", group: "LoRA", hint: "Room to learn; more is slower" },
  { name: "lora_alpha", label: "Alpha", group: "LoRA" },
  { name: "lora_dropout", label: "Dropout", group: "LoRA" },
  { name: "lora_layers", label: "Top layers only", group: "LoRA", hint: "Fewer is faster" },
  {
    name: "loss_on",
    label: "Loss on",
    group: "LoRA",
    options: [
      ["completion", "answers only"],
      ["all", "every token"],
    ],
  },
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
  { name: "eval_every", label: "Evaluate every", group: "Data and machine", hint: "Steps" },
  { name: "save_every", label: "Checkpoint every", group: "Data and machine", hint: "Steps" },
];
