/** Texts and numbers that the job pages share: status, progress, method and settings of a job. */

import { specialTokensOf } from "../../../src/contract/data-settings.ts";
import { isFinal, phaseWords } from "../../../src/contract/job.ts";
import {
  type JobSpec,
  type LoraSettings,
  type MethodName,
  type MethodSettings,
  type TrainSpec,
  validationData,
  validationRows,
} from "../../../src/contract/spec.ts";
import { formatDuration, formatInteger } from "../../../src/lib/text/format.ts";
import type { JobRow } from "../../../src/training/jobs/model.ts";
import { timeLeftMs } from "../../../src/training/jobs/time-left.ts";
import { SPECIAL_WORDS } from "../../../src/training/plan/resolved-text.ts";

export const KIND_WORDS: Record<JobRow["kind"], string> = {
  train: "Training",
  evaluate: "Evaluation",
  serve: "Endpoint",
  export: "Export",
};

/** The training method; null for other jobs. */
export const methodOf = ({ spec }: Pick<JobRow, "spec">): MethodName | null =>
  spec.kind === "train" ? spec.method.type : null;

interface Progress {
  step: number | null;
  totalSteps: number | null;
  fraction: number | null;
  phase: string | null;
  tokensSeen: number | null;
  loss: number | null;
  /** What the job waits for before it is queued or runs. */
  waiting: string | null;
}

const number = (value: unknown) => (typeof value === "number" && Number.isFinite(value) ? value : null);

/** The stored progress of a job, with every field validated. */
export function progressOf(job: Pick<JobRow, "progress">): Progress {
  const { step, total_steps, fraction, phase, tokens_seen, loss, waiting } = job.progress;
  return {
    step: number(step),
    totalSteps: number(total_steps),
    fraction: number(fraction),
    phase: typeof phase === "string" ? phase : null,
    tokensSeen: number(tokens_seen),
    loss: number(loss),
    waiting: typeof waiting === "string" ? waiting : null,
  };
}

/** True while the job may still change by itself. */
export function isLive(state: JobRow["state"]): boolean {
  return !isFinal(state) && state !== "paused";
}

/** What the job is doing now, for users. */
export function activityOf(job: JobRow): string {
  const { phase, step, totalSteps, waiting } = progressOf(job);
  switch (job.state) {
    case "validating":
      return waiting ?? "Validating the data";
    case "queued":
      if (waiting) return waiting;
      return job.attempts ? "Waiting for the next attempt" : "Waiting for a free slot";
    case "starting":
      return phaseWords(phase, "page") || "Starting the trainer";
    case "running": {
      const word = phaseWords(phase, "page") || "Running";
      return phase === "training" && step !== null && totalSteps
        ? `${word}, ${job.kind === "train" ? "step" : "row"} ${formatInteger(step)} of ${formatInteger(totalSteps)}`
        : word;
    }
    case "pausing":
      return "Saving a checkpoint before pausing";
    case "paused":
      return step !== null ? `Paused at step ${formatInteger(step)}` : "Paused";
    case "stopping":
      return "Stopping";
    case "succeeded":
      return "Finished";
    case "failed":
      return job.error?.message ?? "Failed";
    case "cancelled":
      return "Canceled";
  }
}

/** `3 min left` for a running job at the time `now`, or null. */
export function timeLeft(job: Pick<JobRow, "state" | "progress" | "progressAt">, now: number): string | null {
  const left = job.state === "running" ? timeLeftMs(job.progress, job.progressAt, now) : null;
  return left === null ? null : `${formatDuration(Math.max(1, Math.round(left / 1000)))} left`;
}

const METHOD_NAMES: Record<MethodName, string> = {
  sft: "SFT",
  pretrain: "Pre-training",
  dpo: "DPO",
  orpo: "ORPO",
  kto: "KTO",
  reward: "Reward model",
  grpo: "GRPO",
};

/** `SFT, LoRA r16`; `DPO, QLoRA (nf4) r16`; `SFT, full` */
export function methodWords(spec: JobSpec): string | null {
  if (spec.kind !== "train") return null;
  const { type, adapter, quantization } = spec.method;
  if (adapter.type === "full") return `${METHOD_NAMES[type]}, full`;
  const family = adapter.dora ? "DoRA" : adapter.rslora ? "rsLoRA" : "LoRA";
  const held = quantization && quantization !== "none" ? `Q${family} (${quantization})` : family;
  return `${METHOD_NAMES[type]}, ${held} r${adapter.r}`;
}

/** What the method trains on, for users. */
export function lossWords(method: MethodSettings): string {
  switch (method.type) {
    case "sft":
      return method.loss_on === "completion" ? "assistant turns" : "all tokens";
    case "pretrain":
      return "all tokens";
    case "dpo":
      return `preference pairs, DPO loss ${method.loss}, beta ${method.beta}`;
    case "orpo":
      return `preference pairs, odds ratio, beta ${method.beta}`;
    case "kto":
      return `labeled preference data (unpaired), beta ${method.beta}`;
    case "reward":
      return "preference pairs";
    case "grpo":
      return `${method.num_generations} generations per prompt, GRPO loss type ${method.loss_type}, beta ${method.beta}`;
  }
}

function loraSettings(lora: LoraSettings): [string, string, unknown][] {
  return [
    ["Method", "LoRA rank", lora.r],
    ["Method", "LoRA alpha", lora.alpha],
    ["Method", "LoRA scale", lora.rslora ? "alpha / sqrt(r)" : "alpha / r"],
    ["Method", "DoRA", lora.dora ? "on" : "off"],
    ["Method", "LoRA dropout", lora.dropout],
    ["Method", "Layers to train", lora.layers === null ? "all" : `top ${lora.layers}`],
    ["Method", "Target modules", [lora.target_modules].flat().join(", ")],
  ];
}

/** The validation rows of a training: `40 validation rows`, `300 rows of a validation file (128 during training)`. */
export function validationWords(spec: TrainSpec): string {
  const rows = validationRows(spec);
  const used = spec.schedule.eval_rows < rows ? ` (${formatInteger(spec.schedule.eval_rows)} during training)` : "";
  const words = validationData(spec) === spec.dataset ? "validation rows" : "rows of a validation file";
  return `${formatInteger(rows)} ${rows ? words : "validation rows"}${used}`;
}

/** Every setting of a training run under its label, in the order of the page: `Learning rate` -> 0.001. */
export function settingsOf(spec: TrainSpec): [group: string, name: string, value: string][] {
  const { hyperparameters: h, schedule: s, method: m, base_model: base, dataset } = spec;
  const rows: [string, string, unknown][] = [
    ["Model", "Base model", base.id],
    ["Model", "Base revision", base.revision],
    ["Data", "Dataset version", dataset.version_id],
    ["Data", "Training rows", dataset.train_rows],
    ["Data", "Validation rows", validationRows(spec)],
    ["Data", "Chat template", spec.data?.chat_template === "tools" ? "with tools" : "of the base model"],
    ["Data", "Special tokens in texts", SPECIAL_WORDS[specialTokensOf(spec)]],
    [
      "Data",
      "Rows that the chat template refuses",
      spec.data?.on_template_error === "leave_out" ? "left out" : "end the run",
    ],
    ["Data", "Reasoning of answers", spec.data?.reasoning === "mask" ? "context only" : "in the loss"],
    ["Data", "Validation data", spec.validation?.version_id ?? "validation split"],
    ["Method", "Method", METHOD_NAMES[m.type]],
    ["Method", "Train on", lossWords(m)],
    ...(m.type === "grpo"
      ? ([
          ["Method", "Max completion length", `${formatInteger(m.max_completion_length)} tokens`],
          ["Method", "Temperature", m.temperature],
          ["Method", "Grader", `${m.grader.name} (${m.grader.type})`],
        ] as [string, string, unknown][])
      : []),
    ["Method", "Continues from", spec.start?.model ?? "the base model"],
    ["Method", "Base model quantization", m.quantization ?? "none"],
    ["Method", "Adapter", m.adapter.type === "full" ? "full fine-tuning" : m.adapter.dora ? "DoRA" : "LoRA"],
    ...(m.adapter.type === "lora" ? loraSettings(m.adapter) : []),
    ["Training", "Epochs", h.n_epochs],
    ["Training", "Steps", s.total_steps],
    ["Training", "Batch size", h.batch_size],
    ["Training", "Per-device batch size", h.per_device_batch_size],
    ["Training", "Gradient accumulation", h.gradient_accumulation],
    ["Training", "Learning rate", h.learning_rate],
    ["Training", "Optimizer", h.optimizer ?? "adamw"],
    ["Training", "LR scheduler", h.scheduler],
    ["Training", "Warm-up ratio", h.warmup_ratio],
    ["Training", "Weight decay", h.weight_decay],
    ["Training", "Max gradient norm", h.max_grad_norm],
    ["Training", "Max sequence length", `${formatInteger(h.max_length)} tokens`],
    ["Training", "Precision", h.precision],
    ["Training", "Gradient checkpointing", h.gradient_checkpointing ? "on" : "off"],
    ["Training", "NEFTune alpha", h.neftune_alpha ?? "off"],
    ["Training", "Packing", h.packing ? "on" : "off"],
    ["Training", "Padding-free", h.padding_free ? "on" : "off"],
    ["Training", "Early stopping", h.early_stopping ? `after ${h.early_stopping} evaluations` : "never"],
    ["Training", "Load best checkpoint at end", h.keep_best ? "on" : "off"],
    ["Training", "Attention", h.attention ?? "sdpa"],
    ["Training", "Liger kernels", h.liger_kernel ? "on" : "off"],
    ["Training", "torch.compile", h.torch_compile ? "on" : "off"],
    ["Training", "Seed", h.seed],
    ["Reporting", "Evaluate every", `${s.eval_every} steps`],
    ["Reporting", "Checkpoint every", `${s.save_every} steps`],
    ["Reporting", "Trainer", spec.trainer.version],
  ];
  return rows.map(([group, name, value]) => [group, name, String(value)]);
}
