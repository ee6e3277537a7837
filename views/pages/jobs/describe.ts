/** Words and numbers the job pages share: what a job is doing, how far it is, what it cost in words. */
import { isFinal, phaseWords } from "../../../src/contract/job.ts";
import type { JobSpec, LoraSettings, MethodName, MethodSettings, TrainSpec } from "../../../src/contract/spec.ts";
import { formatDuration, formatInteger } from "../../../src/lib/text/format.ts";
import type { JobRow } from "../../../src/training/jobs/model.ts";

export const KIND_WORDS: Record<JobRow["kind"], string> = {
  train: "Training",
  evaluate: "Evaluation",
  serve: "Endpoint",
  export: "Export",
};

/** How a training learns; null for other jobs. */
export const methodOf = ({ spec }: Pick<JobRow, "spec">): MethodName | null =>
  spec.kind === "train" ? spec.method.type : null;

interface Progress {
  step: number | null;
  totalSteps: number | null;
  fraction: number | null;
  etaS: number | null;
  phase: string | null;
  tokensSeen: number | null;
  loss: number | null;
  /** Why a queued job does not run yet. */
  waiting: string | null;
}

const number = (value: unknown) => (typeof value === "number" && Number.isFinite(value) ? value : null);

/** The stored progress of a job with every field checked. */
export function progressOf(job: Pick<JobRow, "progress">): Progress {
  const { step, total_steps, fraction, eta_s, phase, tokens_seen, loss, waiting } = job.progress;
  return {
    step: number(step),
    totalSteps: number(total_steps),
    fraction: number(fraction),
    etaS: number(eta_s),
    phase: typeof phase === "string" ? phase : null,
    tokensSeen: number(tokens_seen),
    loss: number(loss),
    waiting: typeof waiting === "string" ? waiting : null,
  };
}

/** True while something still happens with the job. */
export function isLive(state: JobRow["state"]): boolean {
  return !isFinal(state) && state !== "paused";
}

/** What the job does just now, in words. */
export function doing(job: JobRow): string {
  const { phase, step, totalSteps, waiting } = progressOf(job);
  switch (job.state) {
    case "validating":
      return "Checking the data; the job starts by itself when it is good";
    case "queued":
      if (waiting) return waiting;
      return job.attempts ? "Waiting to be tried again" : "Waiting for a free slot";
    case "starting":
      return phaseWords(phase, "page") || "Starting the trainer";
    case "running": {
      const word = phaseWords(phase, "page") || "Running";
      return phase === "training" && step !== null && totalSteps
        ? `${word}, ${job.kind === "train" ? "step" : "row"} ${formatInteger(step)} of ${formatInteger(totalSteps)}`
        : word;
    }
    case "pausing":
      return "Saving a checkpoint, then it pauses";
    case "paused":
      return step !== null ? `Paused at step ${formatInteger(step)}` : "Paused";
    case "stopping":
      return "Stopping";
    case "succeeded":
      return "Finished";
    case "failed":
      return job.error?.message ?? "Failed";
    case "cancelled":
      return "Cancelled";
  }
}

/** `about 3 min left`, or null. */
export function timeLeft(job: JobRow): string | null {
  const { etaS } = progressOf(job);
  return job.state === "running" && etaS !== null
    ? `about ${formatDuration(Math.max(1, Math.round(etaS)))} left`
    : null;
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

/** What the loss is taken over, for people. */
export function lossWords(method: MethodSettings): string {
  switch (method.type) {
    case "sft":
      return method.loss_on === "completion" ? "answers only" : "every token";
    case "pretrain":
      return "every token";
    case "dpo":
      return `pairs of answers, ${method.loss}, beta ${method.beta}`;
    case "orpo":
      return `pairs of answers, odds ratio, beta ${method.beta}`;
    case "kto":
      return `marked answers, beta ${method.beta}`;
    case "reward":
      return "pairs of answers";
    case "grpo":
      return `${method.num_generations} graded answers a prompt, ${method.loss_type}, beta ${method.beta}`;
  }
}

function loraSettings(lora: LoraSettings): [string, string, unknown][] {
  return [
    ["Method", "LoRA rank", lora.r],
    ["Method", "LoRA alpha", lora.alpha],
    ["Method", "LoRA scale", lora.rslora ? "alpha / sqrt(r)" : "alpha / r"],
    ["Method", "DoRA", lora.dora ? "on" : "off"],
    ["Method", "LoRA dropout", lora.dropout],
    ["Method", "Adapted layers", lora.layers ?? "all"],
    ["Method", "Adapted modules", [lora.target_modules].flat().join(", ")],
  ];
}

/** Every setting of a training run under a name for people, in the order of the page: `Learning rate` -> 0.001. */
export function settingsOf(spec: TrainSpec): [group: string, name: string, value: string][] {
  const { hyperparameters: h, schedule: s, method: m, base_model: base, dataset } = spec;
  const rows: [string, string, unknown][] = [
    ["Model", "Base model", base.id],
    ["Model", "Base revision", base.revision],
    ["Data", "Dataset version", dataset.version_id],
    ["Data", "Training rows", dataset.train_rows],
    ["Data", "Held-out rows", dataset.holdout_rows],
    ["Data", "Validation data", spec.validation?.version_id ?? "held-out rows"],
    ["Method", "Method", METHOD_NAMES[m.type]],
    ["Method", "Loss on", lossWords(m)],
    ...(m.type === "grpo"
      ? ([
          ["Method", "Longest answer", `${formatInteger(m.max_completion_length)} tokens`],
          ["Method", "Temperature", m.temperature],
          ["Method", "Grader", `${m.grader.name} (${m.grader.type})`],
        ] as [string, string, unknown][])
      : []),
    ["Method", "Goes on from", spec.start?.model ?? "the base model"],
    ["Method", "Base weights", m.quantization && m.quantization !== "none" ? m.quantization : "as they are"],
    ["Method", "Trained", m.adapter.type === "full" ? "every weight (full)" : "an adapter (LoRA)"],
    ...(m.adapter.type === "lora" ? loraSettings(m.adapter) : []),
    ["Training", "Epochs", h.n_epochs],
    ["Training", "Steps", s.total_steps],
    ["Training", "Batch size", h.batch_size],
    ["Training", "Rows a device", h.per_device_batch_size],
    ["Training", "Gradient accumulation", h.gradient_accumulation],
    ["Training", "Learning rate", h.learning_rate],
    ["Training", "Schedule", h.scheduler],
    ["Training", "Warm-up", h.warmup_ratio],
    ["Training", "Weight decay", h.weight_decay],
    ["Training", "Gradient clipping", h.max_grad_norm],
    ["Training", "Longest row", `${formatInteger(h.max_length)} tokens`],
    ["Training", "Precision", h.precision],
    ["Training", "Gradient checkpointing", h.gradient_checkpointing ? "on" : "off"],
    ["Training", "NEFTune noise", h.neftune_alpha ?? "off"],
    ["Training", "Packing", h.packing ? "on" : "off"],
    ["Training", "Padding-free", h.padding_free ? "on" : "off"],
    ["Training", "Early stopping", h.early_stopping ? `after ${h.early_stopping} evaluations` : "never"],
    ["Training", "Result", h.keep_best ? "the best checkpoint" : "the last checkpoint"],
    ["Training", "Attention", h.attention ?? "sdpa"],
    ["Training", "Liger kernels", h.liger_kernel ? "on" : "off"],
    ["Training", "Compiled layers", h.torch_compile ? "on" : "off"],
    ["Training", "Seed", h.seed],
    ["Reporting", "Evaluate every", `${s.eval_every} steps`],
    ["Reporting", "Checkpoint every", `${s.save_every} steps`],
    ["Reporting", "Trainer", spec.trainer.version],
  ];
  return rows.map(([group, name, value]) => [group, name, String(value)]);
}
