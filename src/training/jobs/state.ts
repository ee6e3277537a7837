/** The life of a job as one pure table: which state may follow which. Terminal states are written once. */
import type { JobState } from "../../contract/job.ts";

/**
 * Every legal move. `starting` and `running` go back to `queued` when an attempt was lost and another may do better;
 * `pausing` and `stopping` end even when the trainer dies on the way, because that is what was asked for. What pauses
 * because the scheduler asked goes back to `queued`.
 */
const MOVES: Record<JobState, readonly JobState[]> = {
  validating: ["queued", "failed", "cancelled"],
  queued: ["starting", "paused", "failed", "cancelled"],
  starting: ["running", "queued", "pausing", "stopping", "failed"],
  running: ["succeeded", "failed", "queued", "pausing", "stopping"],
  pausing: ["paused", "queued", "succeeded", "failed", "stopping"],
  paused: ["queued", "cancelled"],
  stopping: ["cancelled"],
  succeeded: [],
  failed: [],
  cancelled: [],
};

/** True when a job in `from` may move to `to`. */
export function canMove(from: JobState, to: JobState): boolean {
  return MOVES[from].includes(to);
}

/**
 * What a person may ask of a job, and the state it moves to; null when that is not possible now. `checkpoint` moves
 * nothing.
 */
export type Action = "cancel" | "pause" | "resume" | "checkpoint";

export function actionTarget(state: JobState, action: Action): JobState | null {
  switch (action) {
    case "cancel":
      if (state === "starting" || state === "running" || state === "pausing") return "stopping";
      return canMove(state, "cancelled") && state !== "stopping" ? "cancelled" : null;
    case "pause":
      if (state === "queued") return "paused";
      return state === "starting" || state === "running" ? "pausing" : null;
    case "resume":
      return state === "paused" ? "queued" : null;
    case "checkpoint":
      return state === "running" ? "running" : null;
  }
}

/** Status in OpenAI's words. A job being stopped still runs until it is gone. */
export function openaiStatus(state: JobState): string {
  const names: Partial<Record<JobState, string>> = {
    validating: "validating_files",
    starting: "queued",
    pausing: "running",
    stopping: "running",
  };
  return names[state] ?? state;
}
