/** The frozen job spec, written once with its job: the only input of trainer, evaluation and deployment. */

import type { DataSettings } from "./data-settings.ts";

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
  /** Its repository on the hub, if it has one, and the commit of these files; null when that is not known. */
  hub?: { repo: string; revision: string | null };
}

/**
 * The data as it was when the job was created. `hash` is the version's content hash. The counts are those that the job
 * uses: with 0 `holdout_rows` every row of the version is a training row, with 0 `train_rows` a validation row.
 */
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
 * rejected answer. `unpaired`: a conversation whose last answer has a label, good or bad. `text`: plain text.
 * `prompt`: a conversation to be answered, with the fields that graders name.
 */
export type RowType = "chat" | "preference" | "unpaired" | "text" | "prompt";

/**
 * LoRA settings. The scale is alpha / r, with `rslora` alpha / sqrt(r). `layers`: null = all, n = only the top n.
 * `dora` learns direction and magnitude of the weights separately. `rslora` and `dora` are false when absent.
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

/** Full fine-tuning: every weight is trained, and the result is a full model of the base model's size. */
export interface FullSettings {
  type: "full";
}
export type AdapterSettings = LoraSettings | FullSettings;

/** Settings of all methods. `quantization`: absent = none. */
interface AnyMethod {
  adapter: AdapterSettings;
  quantization?: Quantization;
}

/** Quantization of the frozen base model: none (weights in `precision`), 4 bits (NF4) or 8 bits (LLM.int8()). */
export type Quantization = "none" | "nf4" | "int8";

/** As defined by TRL's DPOConfig. */
export const DPO_LOSSES = [
  ...(["sigmoid", "hinge", "ipo", "robust", "exo_pair"] as const),
  ...(["nca_pair", "sppo_hard", "apo_zero", "apo_down", "discopop"] as const),
] as const;

/** How GRPO's loss is aggregated over completions of different lengths, as defined by TRL's GRPOConfig. */
export const GRPO_LOSSES = ["grpo", "dr_grpo", "bnpo", "dapo"] as const;

/**
 * The grader that rewards completions, as in OpenAI's API (docs/graders.md); validated when the job was created.
 */
export type FrozenGrader = { type: string; name: string } & Record<string, unknown>;

/** Learning rate schedule after the warm-up, as defined by transformers. */
export const SCHEDULERS = [
  ...(["linear", "cosine", "constant"] as const),
  ...(["cosine_with_restarts", "polynomial", "inverse_sqrt"] as const),
] as const;

/** Optimizers. `adamw_8bit` is AdamW with moments in 8 bits; `lion` and it are bitsandbytes'. */
export const OPTIMIZERS = ["adamw", "adamw_8bit", "adafactor", "lion", "sgd"] as const;
export type Optimizer = (typeof OPTIMIZERS)[number];

/** The training method, one entry per method. */
export type MethodSettings = AnyMethod &
  (
    | {
        /** Supervised fine-tuning on chat rows. */
        type: "sft";
        /** `completion`: loss only on assistant turns with weight 1. `all`: loss on all tokens. */
        loss_on: "completion" | "all";
      }
    /** Continued pre-training on text rows, with loss on all tokens. */
    | { type: "pretrain" }
    /**
     * Direct preference optimization on preference rows. `beta`: strength of the constraint to the reference model.
     */
    | { type: "dpo"; loss: (typeof DPO_LOSSES)[number]; beta: number; label_smoothing: number }
    /** Odds-ratio preference optimization, without a reference model. `beta`: weight of the odds-ratio term. */
    | { type: "orpo"; beta: number }
    /** Kahneman-Tversky optimization on unpaired rows. The weights scale the losses of good and bad answers. */
    | { type: "kto"; beta: number; desirable_weight: number; undesirable_weight: number }
    /**
     * A reward model from preference rows: the result scores answers and cannot chat. `center`: strength of centering
     * the mean reward at zero.
     */
    | { type: "reward"; center: number }
    /**
     * Group-relative policy optimization on prompt rows: the model generates `num_generations` completions per prompt
     * at `temperature`, with at most `max_completion_length` tokens each, and learns from those that the grader rewards
     * above the others. `beta`: strength of the constraint to the reference model.
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

/** Attention implementations, as named by transformers. */
export const ATTENTIONS = ["sdpa", "flash_attention_2"] as const;

/** All hyperparameters of the trainer, resolved; none is `auto`. */
export interface Hyperparameters {
  n_epochs: number;
  /** Stops at this step even if epochs are left; null = by epochs. */
  max_steps: number | null;
  /** Rows per optimizer step (per_device x accumulation x processes). */
  batch_size: number;
  per_device_batch_size: number;
  gradient_accumulation: number;
  learning_rate: number;
  /** Absent = adamw. */
  optimizer?: Optimizer;
  scheduler: (typeof SCHEDULERS)[number];
  warmup_ratio: number;
  weight_decay: number;
  max_grad_norm: number;
  /**
   * Max sequence length in tokens; longer rows are truncated at the end. For GRPO, prompt and completion together;
   * longer prompts are skipped.
   */
  max_length: number;
  seed: number;
  precision: "float32" | "bfloat16";
  gradient_checkpointing: boolean;
  /** NEFTune: strength of the noise on embeddings during training; absent = none. */
  neftune_alpha?: number;
  /** Several rows share a sequence of `max_length`, without attention between them; absent = false. */
  packing?: boolean;
  /**
   * The rows of a batch are computed as one sequence instead of padded, without attention between them; absent = false.
   */
  padding_free?: boolean;
  /** Ends the run after this number of consecutive evaluations without a better eval loss; absent = never. */
  early_stopping?: number;
  /** Load best checkpoint at end: the one with the best eval loss (GRPO: reward), not the last; absent = false. */
  keep_best?: boolean;
  /** Absent = sdpa. */
  attention?: (typeof ATTENTIONS)[number];
  /** Uses Liger kernels in the model's layers; absent = false. */
  liger_kernel?: boolean;
  /** Compiles the model's layers with torch.compile; absent = false. */
  torch_compile?: boolean;
}

/**
 * Number of processes and parallelism strategy. `single`: one process. `ddp`: a full model per process. `fsdp` and
 * `zero3`: sharded weights, gradients and optimizer. `zero2`: sharded gradients and optimizer. Each process has a GPU,
 * or runs on CPUs (ddp) when `need.gpus` is 0.
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
  /** Validation rows to generate samples for at each checkpoint. */
  sample_rows: number;
  /** Validation rows for eval/loss during training. */
  eval_rows: number;
  sample_max_tokens: number;
}

/**
 * The trainer of a job: hash of its sources, name of its package set, and image id for container providers (absent =
 * no image was installed).
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
  /** Maximum price in USD per hour; null = no limit. */
  max_price_per_hour: number | null;
  /** The provider that the user selected; null = any. */
  provider: string | null;
  /**
   * Memory on the computing device by the formula alone; the other fields include the correction by earlier runs and a
   * margin.
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
   * The fine-tuned model or checkpoint that the run continues from; absent = the base model. Its files are the input
   * `start`.
   */
  start?: { model: string; checkpoint_id: string; artifact_id: string };
  /** Absent when the request sets none of it. */
  data?: DataSettings;
  hyperparameters: Hyperparameters;
  schedule: Schedule;
  /** Absent in old specs: one process. */
  parallel?: ParallelPlan;
  suffix: string | null;
  /** Id of the resulting model, e.g. `ft:smollm2-135m-instruct:acme:bank:8hk2p0`. */
  output_model: string;
  /** Whether base and fine-tuned model are evaluated on the validation rows after training. */
  evaluate_after: boolean;
  trainer: TrainerRef;
  need: Need;
  limits: Limits;
}

/** The data whose validation rows a training is evaluated on; null = none. */
export const validationData = ({
  dataset,
  validation,
}: Pick<TrainSpec, "dataset" | "validation">): DatasetRef | null =>
  // Specs of older servers have both: their runs were evaluated on the rows withheld from the training file.
  dataset.holdout_rows > 0 ? dataset : validation;

/** The number of validation rows of a training. */
export function validationRows(spec: Pick<TrainSpec, "dataset" | "validation">): number {
  const data = validationData(spec);
  if (!data) return 0;
  return data === spec.dataset ? data.holdout_rows : data.train_rows + data.holdout_rows;
}

export interface EvaluateSpec {
  version: typeof SPEC_VERSION;
  kind: "evaluate";
  base_model: BaseModelRef;
  /** The fine-tuned model; null = the base model only. */
  tuned: { model: string; checkpoint_id: string; artifact_id: string } | null;
  /** Another fine-tuned model of the same base, which takes the side `base`; absent = the base model. */
  against?: { model: string; checkpoint_id: string; artifact_id: string };
  dataset: DatasetRef;
  split: "holdout" | "train" | "validation";
  max_rows: number;
  max_new_tokens: number;
  batch_size: number;
  precision: "float32" | "bfloat16";
  /** Quantization of the base model, as in training; absent = none. */
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
  /** Adapters by their name in requests; `input` is the entry in `inputs`. */
  adapters: { name: string; artifact_id: string; input: string }[];
  /** A full fine-tuned model that is served instead of the base model; then there are no adapters. */
  whole?: { name: string; artifact_id: string; input: string };
  /** Limit of every answer in tokens, and the default where a request has none. */
  max_new_tokens: number;
  /** Answers that may wait in the engine's queue; absent = 512. */
  max_waiting?: number;
  /**
   * Seconds without a request until the endpoint sleeps, at its start; absent = never. The server applies it. An
   * endpoint that has not reached the server for that long ends itself.
   */
  idle_after_s?: number;
  precision: "float32" | "bfloat16";
  /** Share of each GPU's memory for the engine; absent = 0.9. */
  gpu_memory_fraction?: number;
  trainer: TrainerRef;
  need: Need;
  limits: Limits;
}

/** Export formats; the k-quants are written by llama.cpp's own tool. */
export const EXPORT_FORMATS = [
  "safetensors",
  "gguf-f16",
  "gguf-q8_0",
  "gguf-q6_k",
  "gguf-q5_k_m",
  "gguf-q4_k_m",
] as const;
/** An export of a fine-tuned model, which must answer like the trained model. */
export interface ExportSpec {
  version: typeof SPEC_VERSION;
  kind: "export";
  base_model: BaseModelRef;
  tuned: { model: string; checkpoint_id: string; artifact_id: string };
  format: (typeof EXPORT_FORMATS)[number];
  /** Dataset whose validation rows are used for the comparison; null = general questions. */
  dataset: DatasetRef | null;
  /** Maximum number of rows to compare. */
  prompts: number;
  /** An export beyond these limits is rejected: nats per token, and share of positions. */
  limits_of_fidelity: { kl_mean: number; top1_same: number };
  /** Stored with the files: the base model's license, and the model card as Markdown. Absent in old specs. */
  about?: { license: string; card: string };
  precision: "float32" | "bfloat16";
  trainer: TrainerRef;
  need: Need;
  limits: Limits;
}

export type JobSpec = TrainSpec | EvaluateSpec | ServeSpec | ExportSpec;
export type JobKind = "train" | "evaluate" | "serve" | "export";

/** Scores of one model in an evaluation: means with 95% confidence intervals. Losses in nats per token. */
export interface SideScore {
  rows: number;
  tokens: number;
  loss: { mean: number; low: number; high: number };
  perplexity: number;
  token_accuracy: { mean: number; low: number; high: number };
  exact_match: { mean: number; low: number; high: number; count: number };
  /** Share of preference pairs whose chosen answer is more likely per token; absent for other rows. */
  preference?: { mean: number; low: number; high: number };
}

export interface EvaluateResult {
  base: SideScore;
  tuned: SideScore | null;
}

/** Ids of the artifacts that the trainer of a job reads, beside its base model and what it resumes from. */
export function artifactsOf(spec: JobSpec): string[] {
  const read =
    spec.kind === "serve"
      ? [...spec.adapters, spec.whole]
      : spec.kind === "train"
        ? [spec.start]
        : spec.kind === "export"
          ? [spec.tuned]
          : [spec.tuned, spec.against];
  return read.flatMap((one) => (one ? [one.artifact_id] : []));
}
