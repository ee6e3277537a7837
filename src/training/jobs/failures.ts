/**
 * Why an attempt ended, whether another may do better, and what a person can do about it: one table for the whole
 * engine.
 */
import type { JobState } from "../../contract/job.ts";
import type { ProviderErrorKind } from "../../contract/provider.ts";
import type { JobKind } from "../../contract/spec.ts";
import type { FailureReason } from "../../contract/trainer.ts";

/** Reasons the server finds itself, beside those the trainer reports. */
export type EndReason =
  | FailureReason
  | "killed"
  | "interrupted"
  | "lost"
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
  /** Another attempt may succeed. The trainer's own `retry: false` overrules. */
  retry: boolean;
  advice: string;
}

export const REASONS: Record<EndReason, Rule> = {
  bad_spec: { retry: false, advice: "Update the trainer environment so that it fits this server, then start anew." },
  bad_data: { retry: false, advice: "Correct the dataset and start again." },
  model_load: { retry: false, advice: "Install the base model again, or choose another." },
  out_of_memory: {
    retry: false,
    advice: "Lower the batch size or the maximum length, or free memory on the machine, and run it again.",
  },
  nan_loss: { retry: false, advice: "Lower the learning rate, or train in float32." },
  diverged: { retry: false, advice: "Lower the learning rate to a third, or lengthen the warm-up." },
  disk_full: {
    retry: false,
    advice: "Free disk space under the data directory, or on the disk of the engine, then run it again.",
  },
  server_refused: { retry: false, advice: "Look at the server's log and start the job anew." },
  grader_failed: {
    retry: false,
    advice: "Run the grader on a row by itself (docs/graders.md tells how), mend it, and start the job anew.",
  },
  not_faithful: { retry: false, advice: "Try another format; the report is on the model's page." },
  internal: { retry: true, advice: "See the job's log for the trainer's last lines." },
  killed: { retry: true, advice: "Something on the machine killed the process; look for memory pressure." },
  interrupted: { retry: true, advice: "The machine asked the process to stop; it goes on from its checkpoint." },
  lost: { retry: true, advice: "The process vanished, perhaps with a restart of its machine." },
  no_progress: { retry: true, advice: "The trainer was silent for too long; look at its log and the machine's load." },
  total_timeout: { retry: false, advice: "Train fewer steps, or run it on a faster machine." },
  queued_timeout: { retry: false, advice: "Every fitting machine was busy; add one, or raise the slot count." },
  launch_failed: { retry: true, advice: "Look at the provider's settings and the server's log." },
  image_missing: {
    retry: false,
    advice:
      "Make the trainer image with `finetune-lab images build`, or bring it with `finetune-lab images load`; then run it again.",
  },
  start_failed: {
    retry: false,
    advice: "The container cannot be started as it is: look at the engine's log and at docs/docker.md.",
  },
  gpu_lost: {
    retry: true,
    advice:
      "The GPU went away under the container; a new one follows. If it happens again, look at the driver and at docs/docker.md.",
  },
  no_offer: { retry: false, advice: "Ask for less (smaller model, shorter rows, fewer GPUs), or add a machine." },
  engine_address: {
    retry: false,
    advice:
      "The server only talks to an engine where its launch put it. Check that the trainer or image is one you trust; a provider plugin names the place (docs/plugin-authors.md).",
  },
  first_batch_differs: {
    retry: false,
    advice:
      "The trainer reads the data or the tokenizer otherwise than this server: bring both to one version (docs/docker.md tells how for images), and install the base model again if it was changed on its host.",
  },
  bad_result: { retry: false, advice: "The trainer ended without a complete checkpoint; look at its log." },
};

/** What providers say of an end, in their own words, and what it is called here. The first that is found counts. */
const WORDS: readonly (readonly [string, EndReason])[] = [
  ["out of memory", "out_of_memory"],
  ["GPU was lost", "gpu_lost"],
  ["no space left", "disk_full"],
  ["could not start", "start_failed"],
];

/** The reason a provider gave with a failed launch, when it is one of ours. */
export function launchReason(word: string | null | undefined): EndReason {
  return word && Object.hasOwn(REASONS, word) ? (word as EndReason) : "launch_failed";
}

/** The reason behind the end of a job's work that no event explained. `code` as in WorkStatus; null = nobody saw it. */
export function reasonOfExit(kind: JobKind, code: number | null, word: string | null): EndReason {
  const said = WORDS.find(([text]) => word?.includes(text));
  if (said) return said[1];
  if (code === null) return "lost";
  // A trainer that believes it is done and handed nothing in would do the same again.
  if (code === 0 && kind === "train") return "bad_result";
  if (code === 2) return "bad_spec";
  if (code === 3) return "server_refused";
  if (code === 4 || code === 143 || code === 130 || code === 129) return "interrupted";
  if (code === 137) return "killed";
  return code > 128 ? "killed" : "internal";
}

/** What an unexplained end is called for people. */
export function exitMessage(code: number | null, word: string | null): string {
  if (word) return `The trainer ended without a word: ${word}.`;
  if (code === null) return "The trainer's process vanished.";
  return `The trainer ended without a word, with exit code ${code}.`;
}

/** What a failed launch means for the offer walk: try the next offer, wait for a while, or give the job up. */
export function afterLaunchFailure(kind: ProviderErrorKind): "next" | "wait" | "fail" {
  if (kind === "transient" || kind === "rate_limited") return "wait";
  return kind === "invalid" ? "fail" : "next";
}

/** The state that follows the end of an attempt. `failures` counts this one. */
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
