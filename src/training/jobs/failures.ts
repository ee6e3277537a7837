/**
 * Failure reasons of attempts: whether a retry may help, and what the user can do. One table for all kinds of jobs.
 */
import type { JobState } from "../../contract/job.ts";
import type { ProviderErrorKind } from "../../contract/provider.ts";
import type { JobKind } from "../../contract/spec.ts";
import type { FailureReason } from "../../contract/trainer.ts";

/** Reasons that the trainer reports, and those that the server detects itself. */
export type EndReason =
  | FailureReason
  | "killed"
  | "interrupted"
  | "lost"
  | "preempted"
  | "never_called_home"
  | "bootstrap_reused"
  | "no_progress"
  | "total_timeout"
  | "queued_timeout"
  | "launch_failed"
  | "image_missing"
  | "start_failed"
  | "gpu_lost"
  | "no_offer"
  | "bad_result"
  | "engine_address"
  | "first_batch_differs";

interface Rule {
  /** Another attempt may succeed. A trainer that reports `retry: false` overrides this. */
  retry: boolean;
  /** The installation or its provider failed, not the user's data or settings: work that is lost is not charged. */
  ours?: true;
  advice: string;
}

export const REASONS: Record<EndReason, Rule> = {
  bad_spec: {
    retry: false,
    ours: true,
    advice:
      "The trainer cannot read this job's spec. Update the trainer to the version of this server, then run the job again.",
  },
  bad_data: { retry: false, advice: "Fix the dataset, then run the job again." },
  model_load: { retry: false, ours: true, advice: "Reinstall the base model, or choose another one." },
  out_of_memory: {
    retry: false,
    advice:
      "Lower the per-device batch size or the max sequence length, or free memory on the machine. Then run the job again.",
  },
  nan_loss: { retry: false, advice: "Lower the learning rate, or train in float32." },
  diverged: { retry: false, advice: "Lower the learning rate to a third, or increase the warm-up ratio." },
  disk_full: {
    retry: false,
    ours: true,
    advice: "Free disk space in the data directory or on the container engine's disk, then run the job again.",
  },
  server_refused: {
    retry: false,
    ours: true,
    advice: "Check the server's log for the reason, then run the job again.",
  },
  grader_failed: {
    retry: false,
    advice: "Run the grader on a single row (see docs/graders.md), fix it, and run the job again.",
  },
  not_faithful: {
    retry: false,
    ours: true,
    advice: "Try another format. The comparison report is on the model's page.",
  },
  internal: { retry: true, ours: true, advice: "Check the trainer's last lines in the job's log." },
  killed: {
    retry: true,
    ours: true,
    advice: "The operating system killed the process. Check whether the machine ran out of memory.",
  },
  interrupted: {
    retry: true,
    ours: true,
    advice: "The machine stopped the process. The job resumes from its last checkpoint.",
  },
  lost: { retry: true, ours: true, advice: "The process disappeared. Check whether its machine restarted." },
  preempted: {
    retry: true,
    ours: true,
    advice:
      "The provider took its machines back more often than max_preemptions allows. Run the job on demand or on an own host.",
  },
  never_called_home: {
    retry: true,
    ours: true,
    advice:
      "Check that machines of the provider reach trainer_url: open its port in the firewall, and see Trainers on other machines in docs/admin-guide.md. `finetune-lab doctor` tests the address.",
  },
  bootstrap_reused: {
    retry: true,
    ours: true,
    advice:
      "Somebody else may have read the settings of the machine. Check who has access to the account at the provider. The first token was revoked.",
  },
  no_progress: {
    retry: true,
    ours: true,
    advice: "The trainer reported no progress within the limit. Check its log and the load of the machine.",
  },
  total_timeout: { retry: false, advice: "Train fewer steps, or use a faster machine." },
  queued_timeout: {
    retry: false,
    advice: "All suitable machines were busy. Add a machine, or raise the number of training slots.",
  },
  launch_failed: { retry: true, ours: true, advice: "Check the provider's settings and the server's log." },
  image_missing: {
    retry: false,
    ours: true,
    advice:
      "Build the trainer image with `finetune-lab images build`, or load it with `finetune-lab images load`. Then run the job again.",
  },
  start_failed: {
    retry: false,
    ours: true,
    advice: "The container could not start. Check the container engine's log, and see docs/docker.md.",
  },
  gpu_lost: {
    retry: true,
    ours: true,
    advice:
      "The container lost its GPU, and the job is retried in a new container. If this happens again, check the GPU driver and see docs/docker.md.",
  },
  no_offer: {
    retry: false,
    advice: "Lower the requirements (a smaller model, shorter rows, fewer GPUs), or add a machine.",
  },
  engine_address: {
    retry: false,
    ours: true,
    advice:
      "The server only connects to an engine at the address of its launch. Check that you trust the trainer or image. Provider plugins set the address (see docs/plugin-authors.md).",
  },
  first_batch_differs: {
    retry: false,
    ours: true,
    advice:
      "The trainer and this server read the data or the tokenizer differently. Update both to the same version (for images, see docs/docker.md), and reinstall the base model if its files changed on the host.",
  },
  bad_result: {
    retry: false,
    ours: true,
    advice: "The trainer finished without a complete checkpoint. Check its log.",
  },
};

/** The reasons that are no fault of the user. */
export const OUR_REASONS: readonly string[] = Object.entries(REASONS).flatMap(([reason, rule]) =>
  "ours" in rule ? [reason] : [],
);

/** Whether an attempt with this outcome failed through no fault of its user. */
export const isOurs = (outcome: string): boolean => OUR_REASONS.includes(outcome);

/** Texts in a provider's exit reason and the reason each stands for. The first match counts. */
const EXIT_TEXTS: readonly (readonly [string, EndReason])[] = [
  ["out of memory", "out_of_memory"],
  ["GPU was lost", "gpu_lost"],
  ["no space left", "disk_full"],
  ["could not start", "start_failed"],
];

/** The reason a provider gave for a failed launch; `launch_failed` unless it is in the table. */
export function launchReason(word: string | null | undefined): EndReason {
  return word && Object.hasOwn(REASONS, word) ? (word as EndReason) : "launch_failed";
}

/** The reason of an exit that no event explained. `code`: exit code, null = unknown. `word`: the provider's reason. */
export function reasonOfExit(kind: JobKind, code: number | null, word: string | null): EndReason {
  const match = EXIT_TEXTS.find(([text]) => word?.includes(text));
  if (match) return match[1];
  if (code === null) return "lost";
  // A trainer that exits with 0 and no result would do the same on a retry.
  if (code === 0 && kind === "train") return "bad_result";
  if (code === 2) return "bad_spec";
  if (code === 3) return "server_refused";
  if (code === 4 || code === 143 || code === 130 || code === 129) return "interrupted";
  if (code === 137) return "killed";
  return code > 128 ? "killed" : "internal";
}

/** The message to users for an exit that no event explained. */
export function exitMessage(code: number | null, word: string | null): string {
  if (word) return `The trainer exited without reporting: ${word}.`;
  if (code === null) return "The trainer's process disappeared.";
  return `The trainer exited without reporting, with exit code ${code}.`;
}

/** The message to users when a provider took the machine of an attempt back. */
export const preemptedMessage = (word: string | null): string =>
  word ? `The provider took the machine back: ${word}.` : "The provider took the machine back.";

/**
 * What follows a failed launch: try the next offer when nothing was made for certain, wait before a retry when
 * something may have been, count it as a failed attempt, or fail the job.
 */
export function afterLaunchFailure(kind: ProviderErrorKind): "next" | "wait" | "count" | "fail" {
  if (kind === "transient") return "wait";
  if (kind === "fatal") return "count";
  return kind === "invalid" ? "fail" : "next";
}

/** The job's state after a failed attempt. `failures` includes this one. */
export function stateAfter(
  state: JobState,
  end: { reason: EndReason; retry: boolean; failures: number; maxAttempts: number },
): "cancelled" | "paused" | "queued" | "failed" {
  if (state === "stopping") return "cancelled";
  const again = end.retry && REASONS[end.reason].retry;
  if (state === "pausing") return again ? "paused" : "failed";
  return again && end.failures < end.maxAttempts ? "queued" : "failed";
}

/** Milliseconds until the next attempt: 2, 4, 8 … 300 s. */
export function backOffMs(failures: number): number {
  return Math.min(300_000, 1000 * 2 ** Math.max(1, failures));
}
