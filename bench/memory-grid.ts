/**
 * The training runs that validate the memory formula, and the specification that makes a trainer execute each.
 */
import type { Limits, Need } from "../src/contract/spec.ts";
import type { ModelShape, RunShape } from "../src/training/plan/memory.ts";

interface GridRun {
  name: string;
  model: "tiny" | "smollm2";
  run: RunShape;
  /** Tokens of the answer in every row. */
  answer: number;
}

const PLAIN: RunShape = {
  method: "sft",
  precision: "float32",
  quantization: "none",
  adapter: { r: 16, layers: null, dropout: 0, target_modules: "all-linear" },
  tuned: false,
  refers: false,
  rows: 4,
  length: 256,
  scored: 1,
  checkpointing: false,
  gpu: false,
  strategy: "single",
  processes: 1,
};

/** Differences from the default: four rows of 256 tokens with answers of 64, supervised fine-tuning in float32. */
type Change = Partial<Omit<RunShape, "adapter">> & { adapter?: Partial<RunShape["adapter"]>; answer?: number };
const WHOLE = { whole: true, adapter: { r: 0 } };
const GRID: [GridRun["model"], string, Change][] = [
  ["tiny", "plain", {}],
  ["tiny", "2 x 64", { rows: 2, length: 64, answer: 32 }],
  ["tiny", "8 x 512, long answers", { rows: 8, length: 512, answer: 480 }],
  ["tiny", "bfloat16, 8 x 512", { precision: "bfloat16", rows: 8, length: 512, answer: 480 }],
  ["tiny", "dpo, 4 x 512", { method: "dpo", length: 512, answer: 256 }],
  ["smollm2", "plain", {}],
  ["smollm2", "1 x 128", { rows: 1, length: 128 }],
  ["smollm2", "4 x 512", { length: 512 }],
  ["smollm2", "8 x 256, long answers", { rows: 8, answer: 224 }],
  ["smollm2", "1 x 1024", { rows: 1, length: 1024 }],
  ["smollm2", "checkpointing", { checkpointing: true }],
  ["smollm2", "checkpointing, 4 x 512", { checkpointing: true, length: 512 }],
  ["smollm2", "nf4", { quantization: "nf4" }],
  ["smollm2", "int8", { quantization: "int8" }],
  ["smollm2", "rank 64, dropout", { adapter: { r: 64, dropout: 0.1 } }],
  ["smollm2", "top 10 layers", { adapter: { layers: 10 } }],
  ["smollm2", "DoRA", { adapter: { dora: true } }],
  ["smollm2", "pretrain", { method: "pretrain" }],
  ["smollm2", "dpo", { method: "dpo" }],
  ["smollm2", "dpo, long answers", { method: "dpo", rows: 2, answer: 200 }],
  ["smollm2", "dpo, nf4", { method: "dpo", quantization: "nf4" }],
  ["smollm2", "orpo", { method: "orpo", rows: 2 }],
  ["smollm2", "kto", { method: "kto" }],
  ["smollm2", "reward", { method: "reward" }],
  // CPUs without native bfloat16 are slow at it, so the rows are short.
  ["smollm2", "bfloat16, 1 x 128", { precision: "bfloat16", rows: 1, length: 128 }],
  ["smollm2", "bfloat16, nf4, 1 x 128", { precision: "bfloat16", quantization: "nf4", rows: 1, length: 128 }],
  ["smollm2", "full", { ...WHOLE }],
  ["smollm2", "full, 1 x 128", { ...WHOLE, rows: 1, length: 128 }],
  ["smollm2", "full, checkpointing", { ...WHOLE, checkpointing: true }],
  ["smollm2", "full, bfloat16, 1 x 128", { ...WHOLE, precision: "bfloat16", rows: 1, length: 128 }],
  ["smollm2", "full, pretrain, 2 x 256", { ...WHOLE, method: "pretrain", rows: 2 }],
  ["smollm2", "full, dpo, 2 x 256", { ...WHOLE, method: "dpo", rows: 2 }],
  ["smollm2", "grpo, 1 x 4 answers of 64", { method: "grpo", rows: 1, answers: 4, written: 64, length: 192 }],
  ["smollm2", "grpo, 2 x 4 answers of 128", { method: "grpo", rows: 2, answers: 4, written: 128 }],
  ["smollm2", "grpo, checkpointing", { method: "grpo", checkpointing: true, rows: 2, answers: 4, written: 64 }],
  ["smollm2", "full, grpo", { ...WHOLE, method: "grpo", rows: 1, answers: 4, written: 64, length: 192 }],
];

/** The whole grid, or the runs whose model and name start with the filter. */
export function grid(only = ""): GridRun[] {
  return GRID.filter(([model, name]) => `${model} ${name}`.startsWith(only)).map(
    ([model, name, { adapter, answer = 64, ...change }]) => {
      const run = { ...PLAIN, ...change, adapter: { ...PLAIN.adapter, ...adapter } };
      const all = run.method === "pretrain" || run.method === "orpo";
      const pairs = run.method === "dpo" || run.method === "orpo" || run.method === "reward";
      const scored = all ? 1 : Math.min(1, answer / run.length);
      return {
        name,
        model,
        answer,
        run: {
          ...run,
          scored,
          refers: ["dpo", "kto", "grpo"].includes(run.method),
          ...(pairs ? { joined: 1 + answer / run.length } : {}),
        },
      };
    },
  );
}

const ROWS = {
  sft: "chat",
  pretrain: "text",
  dpo: "preference",
  orpo: "preference",
  kto: "unpaired",
  reward: "preference",
  grpo: "prompt",
};
const SETTINGS: Record<string, object> = {
  sft: { loss_on: "completion" },
  pretrain: {},
  dpo: { loss: "sigmoid", beta: 0.1, label_smoothing: 0 },
  orpo: { beta: 0.1 },
  kto: { beta: 0.1, desirable_weight: 1, undesirable_weight: 1 },
  reward: { center: 0.01 },
  grpo: {
    loss_type: "grpo",
    beta: 0.04,
    temperature: 1,
    grader: { type: "string_check", name: "g", operation: "eq", input: "x", reference: "x" },
  },
};

/** Without a planned value, no run is ended for exceeding it. */
const NOTHING_PLANNED: Need = {
  gpus: 0,
  gpu_memory_mb: 0,
  cpus: 0,
  memory_mb: 0,
  disk_mb: 0,
  max_price_per_hour: null,
  provider: null,
};
const LIMITS: Limits = { queued_s: 60, no_progress_s: 600, total_s: 3600, max_attempts: 1 };

/** The frozen specification of two steps of a run. */
export function specOf({ run, model }: GridRun, shape: ModelShape): object {
  const { adapter } = run;
  return {
    version: 1,
    kind: "train",
    validation: null,
    suffix: null,
    output_model: "ft:memory:x:y:1",
    evaluate_after: false,
    need: NOTHING_PLANNED,
    limits: LIMITS,
    trainer: { version: "bench", environment: "bench" },
    base_model: { id: model, revision: "r", hash: "h", parameters: shape.parameters, context_length: 2048 },
    dataset: {
      dataset_id: "d",
      version_id: "v",
      file_id: null,
      hash: "h",
      train_rows: run.rows * 2,
      holdout_rows: 0,
      row_type: ROWS[run.method],
    },
    method: {
      type: run.method,
      adapter: run.whole ? { type: "full" } : { type: "lora", alpha: adapter.r * 2, ...adapter },
      ...SETTINGS[run.method],
      ...(run.answers ? { num_generations: run.answers, max_completion_length: run.written } : {}),
      quantization: run.quantization,
    },
    hyperparameters: {
      n_epochs: 2,
      max_steps: 2,
      batch_size: run.rows,
      per_device_batch_size: run.rows,
      gradient_accumulation: 1,
      learning_rate: 1e-4,
      scheduler: "constant",
      warmup_ratio: 0,
      weight_decay: 0,
      max_grad_norm: 1,
      max_length: run.length,
      seed: 1,
      precision: run.precision,
      gradient_checkpointing: run.checkpointing,
    },
    schedule: {
      total_steps: 2,
      log_every: 1,
      eval_every: 0,
      save_every: 0,
      keep_checkpoints: 1,
      sample_rows: 0,
      eval_rows: 0,
      sample_max_tokens: 1,
    },
    parallel: { processes: 1, strategy: "single" },
  };
}
