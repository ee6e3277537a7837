/**
 * The frozen job spec: the only thing trainer, evaluation, deployment and "reproduce" ever read. Written once when a
 * job is created.
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
 * rejected answer. `unpaired`: a conversation whose last answer is marked good or bad. `text`: plain text. `prompt`: a
 * conversation to be answered, with the fields that graders name.
 */
export type RowType = "chat" | "preference" | "unpaired" | "text" | "prompt";

/**
 * LoRA settings; alpha is the scaling numerator (scale = alpha / r, with `rslora` alpha / sqrt(r)). `layers` null means
 * all, n means the top n layers alone. `dora` learns direction and magnitude of the weights apart. Both are false where
 * they are left out.
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

/** No adapter: every weight of the model is trained, and the result is a whole model of the base's size. */
export interface FullSettings {
  type: "full";
}
export type AdapterSettings = LoraSettings | FullSettings;

/** What every method has. An absent `quantization` is none. */
interface AnyMethod {
  adapter: AdapterSettings;
  quantization?: Quantization;
}

/** How the frozen base's weights are held: as `precision` says, in 4 bits (NF4) or in 8 (LLM.int8()). */
export type Quantization = "none" | "nf4" | "int8";

/** Names and meanings are those of TRL's DPOConfig. */
export const DPO_LOSSES = [
  ...(["sigmoid", "hinge", "ipo", "robust", "exo_pair"] as const),
  ...(["nca_pair", "sppo_hard", "apo_zero", "apo_down", "discopop"] as const),
] as const;

/** How GRPO's loss is summed over answers of different lengths; names and meanings are those of TRL's GRPOConfig. */
export const GRPO_LOSSES = ["grpo", "dr_grpo", "bnpo", "dapo"] as const;

/**
 * What gives answers their reward: a grader as OpenAI's API has them (docs/graders.md), checked when the job was made.
 */
export type FrozenGrader = { type: string; name: string } & Record<string, unknown>;

/** How the learning rate goes on after the warm-up; names and meanings are those of transformers. */
export const SCHEDULERS = [
  ...(["linear", "cosine", "constant"] as const),
  ...(["cosine_with_restarts", "polynomial", "inverse_sqrt"] as const),
] as const;

/** How the weights change. One entry a method. */
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
     * Direct preference optimization on preference rows. `beta`: how strongly it is held to the model it began from.
     */
    | { type: "dpo"; loss: (typeof DPO_LOSSES)[number]; beta: number; label_smoothing: number }
    /** Odds-ratio preference optimization: no reference model. `beta` weighs the odds-ratio term. */
    | { type: "orpo"; beta: number }
    /** Kahneman-Tversky optimization on unpaired rows. The weights scale the losses of good and of bad answers. */
    | { type: "kto"; beta: number; desirable_weight: number; undesirable_weight: number }
    /**
     * A reward model from preference rows: the result scores answers and cannot chat. `center` holds the mean reward
     * near zero.
     */
    | { type: "reward"; center: number }
    /**
     * Group-relative policy optimization on prompt rows: the model answers each prompt `num_generations` times at
     * `temperature`, each answer at most `max_completion_length` tokens long, and learns from those that the grader
     * rewards above the others. `beta`: how strongly it is held to the model it began from.
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

/** What computes attention; names are those of transformers. */
export const ATTENTIONS = ["sdpa", "flash_attention_2"] as const;

/** Every number the trainer uses, all resolved: nothing is `auto` here. */
export interface Hyperparameters {
  n_epochs: number;
  /** Stops here even when the epochs are not done; null = by epochs. */
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
   * Longest row in tokens; longer rows are cut at the end. With GRPO a prompt with its answer; longer prompts are left
   * out.
   */
  max_length: number;
  seed: number;
  precision: "float32" | "bfloat16";
  gradient_checkpointing: boolean;
  /** NEFTune: strength of the noise on the embeddings while training; absent = none. */
  neftune_alpha?: number;
  /** Rows are laid end to end up to `max_length`, each attending to itself alone; absent = false. */
  packing?: boolean;
  /**
   * The rows of a batch are computed as one sequence, each attending to itself alone, instead of being padded; absent =
   * false.
   */
  padding_free?: boolean;
  /** Ends the run after so many evaluations in a row without a better eval loss; absent = never. */
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
 * How many processes train together and what they share. `ddp`: gradients, each holds the whole model. `fsdp`, `zero3`:
 * weights, gradients and optimizer lie in parts on all. `zero2`: gradients and optimizer do. `single` is one process. A
 * GPU each, or processors (ddp) when `need.gpus` is 0.
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
  /** Hold-out rows answered at each checkpoint. */
  sample_rows: number;
  /** Hold-out rows used for eval/loss during training. */
  eval_rows: number;
  sample_max_tokens: number;
}

/**
 * What runs the job: hash of the trainer's sources, name of its set of packages, and the id of the image for providers
 * of containers (absent = none was installed).
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
  /** Ceiling in USD per hour; null = free offers only need apply no ceiling. */
  max_price_per_hour: number | null;
  /** Only this provider, when the user named one. */
  provider: string | null;
  /**
   * What the memory formula alone says it takes where it computes; what is asked for is corrected by runs of before and
   * has a margin.
   */
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
   * The tuned model or checkpoint whose adapter, or whole weights, the run goes on from; absent = the base alone. Its
   * files are the input `start`.
   */
  start?: { model: string; checkpoint_id: string; artifact_id: string };
  hyperparameters: Hyperparameters;
  schedule: Schedule;
  /** Absent in specs of before there was a choice: one process. */
  parallel?: ParallelPlan;
  suffix: string | null;
  /** Model id given to the result, e.g. `ft:smollm2-135m-instruct:acme:bank:8hk2p0`. */
  output_model: string;
  /** Answer hold-out rows with base and tuned model when training ends. */
  evaluate_after: boolean;
  trainer: TrainerRef;
  need: Need;
  limits: Limits;
}

export interface EvaluateSpec {
  version: typeof SPEC_VERSION;
  kind: "evaluate";
  base_model: BaseModelRef;
  /** The tuned side; null = the base alone. */
  tuned: { model: string; checkpoint_id: string; artifact_id: string } | null;
  dataset: DatasetRef;
  split: "holdout" | "train" | "validation";
  max_rows: number;
  max_new_tokens: number;
  batch_size: number;
  precision: "float32" | "bfloat16";
  /** The base's weights as the tuned side was trained on them; absent = none. */
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
  /** A model that was trained whole, served in place of the base; then there are no adapters. */
  whole?: { name: string; artifact_id: string; input: string };
  max_new_tokens: number;
  precision: "float32" | "bfloat16";
  /** Part of each GPU's memory the engine may fill; 0.9 where it is left out. */
  gpu_memory_fraction?: number;
  trainer: TrainerRef;
  need: Need;
  limits: Limits;
}

/** A tuned model as files of a format, which must answer as the trained model does. */
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
  /** Its hold-out rows are what both are asked; null = general questions. */
  dataset: DatasetRef | null;
  /** At most so many of them. */
  prompts: number;
  /** Beyond these nothing is published: nats a token, and a share of positions. */
  limits_of_fidelity: { kl_mean: number; top1_same: number };
  precision: "float32" | "bfloat16";
  trainer: TrainerRef;
  need: Need;
  limits: Limits;
}

export type JobSpec = TrainSpec | EvaluateSpec | ServeSpec | ExportSpec;
export type JobKind = "train" | "evaluate" | "serve" | "export";

/** One side of an evaluation: means with 95% confidence intervals. Losses in nats a token. */
export interface SideScore {
  rows: number;
  tokens: number;
  loss: { mean: number; low: number; high: number };
  perplexity: number;
  token_accuracy: { mean: number; low: number; high: number };
  exact_match: { mean: number; low: number; high: number; count: number };
  /** Rows whose chosen answer is likelier a token than the rejected one; rows of other types have none. */
  preference?: { mean: number; low: number; high: number };
}

export interface EvaluateResult {
  base: SideScore;
  tuned: SideScore | null;
}
