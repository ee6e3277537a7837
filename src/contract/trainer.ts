/** Types of trainer protocol v1, which docs/trainer-protocol.md describes. */
import type { HubSource } from "./hub-source.ts";
import type { EvaluateResult, FileEntry, JobKind, JobSpec } from "./spec.ts";

export const TRAINER_PROTOCOL = 1;
/** Largest request body in bytes. */
export const MAX_PART_BYTES = 8 * 1024 * 1024;

export interface InputFiles {
  local_path: string | null;
  files: FileEntry[];
  /** The same files on the hub, where this machine may use it. Absent otherwise; old trainers leave it out. */
  hub?: HubSource;
}

export interface SpecReply {
  protocol: typeof TRAINER_PROTOCOL;
  job_id: string;
  attempt_id: string;
  attempt: number;
  kind: JobKind;
  spec: JobSpec;
  inputs: Record<string, InputFiles>;
  resume: (InputFiles & { checkpoint_id: string; step: number }) | null;
  last_seq: number;
  heartbeat_s: number;
  max_batch_events: number;
}

export type CommandType = "cancel" | "pause" | "checkpoint";
export interface Command {
  id: string;
  type: CommandType;
}

export type FailureReason =
  | "bad_spec"
  | "bad_data"
  | "model_load"
  | "out_of_memory"
  | "nan_loss"
  | "diverged"
  | "disk_full"
  | "server_refused"
  | "not_faithful"
  | "grader_failed"
  | "internal";

export type LogLevel = "debug" | "info" | "warn" | "error";
export interface WireMessage {
  role: string;
  content: string | null;
  [extra: string]: unknown;
}

interface Numbered {
  seq: number;
  at: number;
}
export type TrainerEvent = Numbered &
  (
    | { type: "phase"; phase: string; message?: string }
    | {
        type: "plan";
        total_steps: number;
        steps_per_epoch: number;
        train_rows: number;
        /** Sequences of these rows: long texts and some conversations become several. Absent in old trainers. */
        sequences?: number;
        train_tokens_per_epoch: number;
        trainable_parameters: number;
        total_parameters: number;
        rows_cut: number;
        rows_dropped: number;
      }
    /** The first batch before the first step: the row and the hash of every sequence (docs/trainer-protocol.md). */
    | { type: "first_batch"; step: number; rows: { row_id: number; hash: string }[] }
    | {
        type: "canary";
        rows: number;
        length: number;
        seconds: number;
        peak_memory_mb: number;
        peak_gpu_memory_mb?: number;
        peak_gpu_reserved_mb?: number;
      }
    | { type: "metrics"; step: number; epoch: number; values: Record<string, number | string> }
    | {
        type: "progress";
        step: number;
        total_steps: number;
        epoch?: number;
        tokens_seen?: number;
        eta_s: number | null;
        fraction: number;
      }
    | { type: "log"; level: LogLevel; message: string }
    | {
        type: "sample";
        step: number;
        row_id: number;
        prompt: WireMessage[];
        expected: string;
        output: string;
        /** For methods that learn from rewards. `expected` is then empty. */
        reward?: number;
      }
    | {
        type: "answer";
        row_id: number;
        side: "base" | "tuned";
        prompt: WireMessage[];
        expected: string;
        output: string;
        exact: boolean;
        loss: number | string;
        token_accuracy: number;
        tokens: number;
      }
    | { type: "result"; result: TrainResult | EvaluateResult }
    | { type: "ready"; address: string; models: string[] }
    | { type: "command_done"; id: string; command: CommandType }
    | { type: "finished"; outcome: "succeeded" | "cancelled" | "paused" }
    | { type: "failed"; reason: FailureReason; message: string; advice?: string; retry: boolean; detail?: string }
  );

export interface TrainResult {
  steps: number;
  train_loss: number;
  eval_loss: number | null;
  tokens_seen: number;
  adapter_artifact: string | null;
  /** With `keep_best`, the step with the best eval loss, whose checkpoint becomes the model. */
  best_step?: number;
  /** Early stopping ended the run. */
  ended_early?: boolean;
  /** What users should know about the result: that nothing was learned, and why. */
  warnings?: string[];
  /**
   * Peak memory of the attempt in MiB: main memory of all processes, and on the fullest GPU the memory of tensors and
   * the memory that the allocator reserved.
   */
  peak_memory_mb?: number;
  peak_gpu_memory_mb?: number;
  peak_gpu_reserved_mb?: number;
}

export interface EventsReply {
  last_seq: number;
  commands: Command[];
}

export type ArtifactKind = "checkpoint" | "adapter" | "model" | "merged" | "gguf" | "report";
export interface ArtifactOpen {
  kind: ArtifactKind;
  step: number;
  metrics: Record<string, number | string>;
  files: FileEntry[];
}
export interface ArtifactOpened {
  artifact_id: string;
  complete: boolean;
  files: { path: string; offset: number }[];
}
export interface ArtifactCompleted {
  artifact_id: string;
  checkpoint_id: string | null;
  model: string | null;
}
