/**
 * The frozen job spec: the only input of trainer, evaluation, deployment and "reproduce". Written once, when a job is
 * created.
 */

export const SPEC_VERSION = 1;

/** A file of an artifact or model. `size` in bytes, `sha256` in hex. */
export interface FileEntry {
  path: string;
  size: number;
  sha256: string;
}

/** The base model as it was when the job was created. `hash` is the sha256 over its manifest. */
export interface BaseModelRef {
  id: string;
  revision: string;
  hash: string;
  parameters: number;
  context_length: number;
}

/** The data as it was when the job was created. `hash` is the version's content hash. */
export interface DatasetRef {
  dataset_id: string;
  version_id: string;
  file_id: string | null;
  hash: string;
  train_rows: number;
  holdout_rows: number;
  /** Absent = chat. */
  row_type?: RowType;
}

/**
 * What one row of a dataset is. `chat`: a conversation with answers. `preference`: a prompt with a chosen and a
 * rejected answer. `unpaired`: a conversation whose last answer is labeled good or bad. `text`: plain text. `prompt`: a
 * conversation to answer, with the fields that graders use.
 */
export type RowType = "chat" | "preference" | "unpaired" | "text" | "prompt";

/**
 * LoRA settings; alpha is the scaling numerator (scale = alpha / r, with `rslora` alpha / sqrt(r)). `layers` null means
 * all, n means only the top n layers. `dora` learns direction and magnitude of the weights separately. Both flags
 * default to false.
 */
export interface LoraSettings {
  type: "lora";
  r: number;
  alpha: number;
  dropout: number;
  target_modules: "all-linear" | string[];
  layers: number | null;
  rslora?: boolean;
  dora?: boolean;
}

/** Full fine-tuning: every weight is trained, and the result is a full model of the base's size. */
export interface FullSettings {
  type: "full";
}
export type AdapterSettings = LoraSettings | FullSettings;

/** Fields of every method. Absent `quantization` = none. */
interface AnyMethod {
  adapter: AdapterSettings;
  quantization?: Quantization;
}

/** Quantization of the frozen base: none (as `precision` says), 4 bits (NF4) or 8 bits (LLM.int8()). */
export type Quantization = "none" | "nf4" | "int8";

/** Names and meanings are those of TRL's DPOConfig. */
export const DPO_LOSSES = [
  ...(["sigmoid", "hinge", "ipo", "robust", "exo_pair"] as const),
  ...(["nca_pair", "sppo_hard", "apo_zero", "apo_down", "discopop"] as const),
] as const;

/**
 * How GRPO's loss is normalized over answers of different lengths; names and meanings are those of TRL's GRPOConfig.
 */
export const GRPO_LOSSES = ["grpo", "dr_grpo", "bnpo", "dapo"] as const;

/** The grader that rewards answers, in OpenAI's format (docs/graders.md), checked when the job was created. */
export type FrozenGrader = { type: string; name: string } & Record<string, unknown>;

/** The learning rate schedule after the warm-up; names and meanings are those of transformers. */
export const SCHEDULERS = [
  ...(["linear", "cosine", "constant"] as const),
  ...(["cosine_with_restarts", "polynomial", "inverse_sqrt"] as const),
] as const;

/** The training methods, one entry per method. */
export type MethodSettings = AnyMethod &
  (
    | {
        /** Supervised fine-tuning on chat rows. */
        type: "sft";
        /** `completion`: loss on assistant turns with weight 1 only; `all`: on every token. */
        loss_on: "completion" | "all";
      }
    /** Continued pre-training on text rows: loss on every token. */
    | { type: "pretrain" }
    /**
     * Direct preference optimization on preference rows. `beta`: weight of the KL penalty against the initial model.
     */
    | { type: "dpo"; loss: (typeof DPO_LOSSES)[number]; beta: number; label_smoothing: number }
    /** Odds-ratio preference optimization: no reference model. `beta` weighs the odds-ratio term. */
    | { type: "orpo"; beta: number }
    /** Kahneman-Tversky optimization on unpaired rows. The weights scale the losses of good and of bad answers. */
    | { type: "kto"; beta: number; desirable_weight: number; undesirable_weight: number }
    /**
     * A reward model from preference rows: the result scores answers and cannot chat. `center` keeps the mean reward
     * near zero.
     */
    | { type: "reward"; center: number }
    /**
     * Group-relative policy optimization on prompt rows: the model answers each prompt `num_generations` times at
     * `temperature`, each answer at most `max_completion_length` tokens long, and learns from answers with
     * above-average reward. `beta`: weight of the KL penalty against the initial model.
     */
    | {
        type: "grpo";
        loss_type: (typeof GRPO_LOSSES)[number];
        beta: number;
        num_generations: number;
        max_completion_length: number;
        temperature: number;
        grader: FrozenGrader;
      }
  );
export type MethodName = MethodSettings["type"];

/** The attention implementation; names are those of transformers. */
export const ATTENTIONS = ["sdpa", "flash_attention_2"] as const;

/** Every number the trainer uses, all resolved: nothing is `auto` here. */
export interface Hyperparameters {
  n_epochs: number;
  /** Maximum number of steps; null = by epochs. */
  max_steps: number | null;
  /** Rows of one optimizer step (per_device x accumulation x processes). */
  batch_size: number;
  per_device_batch_size: number;
  gradient_accumulation: number;
  learning_rate: number;
  scheduler: (typeof SCHEDULERS)[number];
  warmup_ratio: number;
  weight_decay: number;
  max_grad_norm: number;
  /**
   * Maximum row length in tokens; longer rows are truncated at the end. With GRPO prompt and answer together; longer
   * prompts are skipped.
   */
  max_length: number;
  seed: number;
  precision: "float32" | "bfloat16";
  gradient_checkpointing: boolean;
  /** NEFTune: strength of the noise on the embeddings while training; absent = none. */
  neftune_alpha?: number;
  /** Packing: rows are concatenated up to `max_length`, each attending only to itself; absent = false. */
  packing?: boolean;
  /** Padding-free: the rows of a batch form one sequence, each attending only to itself; absent = false. */
  padding_free?: boolean;
  /** Early stopping: evaluations in a row without a better eval loss; absent = never. */
  early_stopping?: number;
  /** The result is the checkpoint with the best eval loss (GRPO: reward) instead of the last one; absent = false. */
  keep_best?: boolean;
  /** Absent = sdpa. */
  attention?: (typeof ATTENTIONS)[number];
  /** Liger's kernels in the model's layers; absent = false. */
  liger_kernel?: boolean;
  /** The model's layers are compiled by torch; absent = false. */
  torch_compile?: boolean;
}

/**
 * Number of processes and what they shard. `ddp`: nothing, each has the full model. `fsdp`, `zero3`: weights, gradients
 * and optimizer. `zero2`: gradients and optimizer. `single` is one process. Each has a GPU, or CPU cores (ddp) when
 * `need.gpus` is 0.
 */
export interface ParallelPlan {
  processes: number;
  strategy: "single" | "ddp" | "fsdp" | "zero2" | "zero3";
}

/** When the trainer reports, evaluates and saves, in optimizer steps. */
export interface Schedule {
  total_steps: number;
  log_every: number;
  eval_every: number;
  save_every: number;
  keep_checkpoints: number;
  /** Validation rows answered at each checkpoint. */
  sample_rows: number;
  /** Validation rows used for eval/loss during training. */
  eval_rows: number;
  sample_max_tokens: number;
}

/**
 * The software of the job: hash of the trainer's sources, name of its package set, and the image id for container
 * providers (absent = none was installed).
 */
export interface TrainerRef {
  version: string;
  environment: string;
  image?: string;
}

/** What a provider must offer. Memory in MiB. */
export interface Need {
  gpus: number;
  gpu_memory_mb: number;
  cpus: number;
  memory_mb: number;
  disk_mb: number;
  /** Ceiling in USD per hour; null = no ceiling. */
  max_price_per_hour: number | null;
  /** Only this provider, when the user named one. */
  provider: string | null;
  /** Memory by the formula alone; the requested memory is corrected by previous runs and has a margin. */
  formula_mb?: number;
}

/** Three timeouts in seconds: waiting in the queue, no progress, whole attempt. */
export interface Limits {
  queued_s: number;
  no_progress_s: number;
  total_s: number;
  max_attempts: number;
}

export interface TrainSpec {
  version: typeof SPEC_VERSION;
  kind: "train";
  base_model: BaseModelRef;
  dataset: DatasetRef;
  validation: DatasetRef | null;
  method: MethodSettings;
  /**
   * The fine-tuned model or checkpoint that the run continues from; absent = the base model. Its files are the input
   * `start`.
   */
  start?: { model: string; checkpoint_id: string; artifact_id: string };
  hyperparameters: Hyperparameters;
  schedule: Schedule;
  /** Absent in older specs: one process. */
  parallel?: ParallelPlan;
  suffix: string | null;
  /** Model id of the result, e.g. `ft:smollm2-135m-instruct:acme:bank:8hk2p0`. */
  output_model: string;
  /** Evaluate base and fine-tuned model on validation rows when training ends. */
  evaluate_after: boolean;
  trainer: TrainerRef;
  need: Need;
  limits: Limits;
}

export interface EvaluateSpec {
  version: typeof SPEC_VERSION;
  kind: "evaluate";
  base_model: BaseModelRef;
  /** The fine-tuned model; null = only the base model. */
  tuned: { model: string; checkpoint_id: string; artifact_id: string } | null;
  dataset: DatasetRef;
  split: "holdout" | "train" | "validation";
  max_rows: number;
  max_new_tokens: number;
  batch_size: number;
  precision: "float32" | "bfloat16";
  /** The quantization of the base in training; absent = none. */
  quantization?: Quantization;
  seed: number;
  trainer: TrainerRef;
  need: Need;
  limits: Limits;
}

export interface ServeSpec {
  version: typeof SPEC_VERSION;
  kind: "serve";
  base_model: BaseModelRef;
  /** Adapters by the name a request uses; `input` names the entry in `inputs`. */
  adapters: { name: string; artifact_id: string; input: string }[];
  /** A full model, served in place of the base; there are no adapters then. */
  whole?: { name: string; artifact_id: string; input: string };
  max_new_tokens: number;
  precision: "float32" | "bfloat16";
  /** Share of each GPU's memory that the engine may use; default 0.9. */
  gpu_memory_fraction?: number;
  trainer: TrainerRef;
  need: Need;
  limits: Limits;
}

/** An export of a fine-tuned model, which must answer like the trained model. */
/** Formats of exports; the k-quants are written by llama.cpp's own tool. */
export const EXPORT_FORMATS = [
  "safetensors",
  "gguf-f16",
  "gguf-q8_0",
  "gguf-q6_k",
  "gguf-q5_k_m",
  "gguf-q4_k_m",
] as const;
export interface ExportSpec {
  version: typeof SPEC_VERSION;
  kind: "export";
  base_model: BaseModelRef;
  tuned: { model: string; checkpoint_id: string; artifact_id: string };
  format: (typeof EXPORT_FORMATS)[number];
  /** The dataset whose validation rows are compared; null = general questions. */
  dataset: DatasetRef | null;
  /** Maximum number of rows. */
  prompts: number;
  /** Limits for publishing: KL in nats per token, and a share of positions. */
  limits_of_fidelity: { kl_mean: number; top1_same: number };
  precision: "float32" | "bfloat16";
  trainer: TrainerRef;
  need: Need;
  limits: Limits;
}

export type JobSpec = TrainSpec | EvaluateSpec | ServeSpec | ExportSpec;
export type JobKind = "train" | "evaluate" | "serve" | "export";

/** One side of an evaluation: means with 95% confidence intervals. Losses in nats per token. */
export interface SideScore {
  rows: number;
  tokens: number;
  loss: { mean: number; low: number; high: number };
  perplexity: number;
  token_accuracy: { mean: number; low: number; high: number };
  exact_match: { mean: number; low: number; high: number; count: number };
  /**
   * Share of preference rows whose chosen answer is likelier per token than the rejected one; absent for other rows.
   */
  preference?: { mean: number; low: number; high: number };
}

export interface EvaluateResult {
  base: SideScore;
  tuned: SideScore | null;
}
