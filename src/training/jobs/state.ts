/** The state machine of a job as one pure table. Terminal states are written once. */
import type { JobState } from "../../contract/job.ts";

/**
 * Every legal transition. `starting` and `running` return to `queued` when an attempt failed and a retry may help.
 * `pausing` and `stopping` complete even when the trainer dies meanwhile. A preempted job returns to `queued`.
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
 * What a user can do with a job.
 */
export type Action = "cancel" | "pause" | "resume" | "checkpoint";

/** The state an action leads to, which may be the current one; null when the state does not allow it. */
export function actionTarget(state: JobState, action: Action): JobState | null {
  switch (action) {
    case "cancel":
      if (state === "starting" || state === "running" || state === "pausing" || state === "stopping") return "stopping";
      return canMove(state, "cancelled") ? "cancelled" : null;
    case "pause":
      if (state === "queued") return "paused";
      return state === "starting" || state === "running" || state === "pausing" ? "pausing" : null;
    case "resume":
      // A job that is still pausing is queued once it has paused.
      if (state === "pausing") return "pausing";
      return state === "paused" ? "queued" : null;
    case "checkpoint":
      return state === "running" ? "running" : null;
  }
}

/** The status in OpenAI's API. A job that is stopping can only become canceled, so it counts as canceled already. */
export function openaiStatus(state: JobState): string {
  const names: Partial<Record<JobState, string>> = {
    validating: "validating_files",
    starting: "queued",
    pausing: "running",
    stopping: "cancelled",
  };
  return names[state] ?? state;
}
