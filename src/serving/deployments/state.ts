/**
 * The state machine of a deployment: the legal moves, and the next step for a wanted and an actual state. Pure.
 */

type DeploymentState = "starting" | "ready" | "asleep" | "stopping" | "stopped" | "failed";
type Wanted = "running" | "asleep" | "stopped";

/** Legal moves; any other move is a bug. */
export const MOVES: Record<DeploymentState, readonly DeploymentState[]> = {
  starting: ["starting", "ready", "stopping", "failed", "asleep", "stopped"],
  ready: ["starting", "stopping", "failed", "asleep", "stopped"],
  stopping: ["asleep", "stopped", "starting"],
  asleep: ["starting", "stopped"],
  stopped: ["starting", "asleep"],
  failed: ["starting", "stopping", "asleep", "stopped"],
};

export function canMove(from: DeploymentState, to: DeploymentState): boolean {
  return MOVES[from].includes(to);
}

/** The facts about a deployment at one moment. */
export interface Facts {
  wanted: Wanted;
  state: DeploymentState;
  /** The serve job: not created yet, running or queued, or ended. */
  job: "none" | "live" | "over";
  /** The health of the engine: `healthy`, `gone` (repeatedly absent), or not decided yet. */
  engine: "healthy" | "gone" | "unknown";
  /** No request for longer than the deployment stays awake. */
  idle: boolean;
  /** Too early for another start after a failure. */
  waiting: boolean;
  /** Too many failures in a row. */
  exhausted: boolean;
}

/**
 * What to do next:
 * `launch` create a serve job · `ready` accept requests · `sleep` it is idle · `stop` end the job ·
 * `rest` the job ended, as wanted · `died` the job or the engine terminated: count it and restart ·
 * `give_up` it terminated too often · `none`.
 */
type Step = "none" | "launch" | "ready" | "sleep" | "stop" | "rest" | "died" | "give_up";

/** The next step of a deployment; called repeatedly until it returns `none`. */
export function nextStep(facts: Facts): Step {
  return facts.wanted === "running" ? towardsRunning(facts) : towardsRest(facts, facts.wanted);
}

function towardsRunning(facts: Facts): Step {
  const dead = facts.exhausted ? "give_up" : "died";
  switch (facts.state) {
    case "asleep":
    case "stopped":
      return "launch";
    case "stopping":
      return facts.job === "live" ? "stop" : "launch";
    case "failed":
      return "none";
    case "starting":
      if (facts.job === "none") return facts.waiting ? "none" : "launch";
      if (facts.job === "over" || facts.engine === "gone") return dead;
      return facts.engine === "healthy" ? "ready" : "none";
    case "ready":
      if (facts.job !== "live" || facts.engine === "gone") return dead;
      return facts.idle ? "sleep" : "none";
  }
}

function towardsRest(facts: Facts, wanted: "asleep" | "stopped"): Step {
  switch (facts.state) {
    case "starting":
    case "ready":
    case "stopping":
      return facts.job === "live" ? "stop" : "rest";
    case "failed":
      if (facts.job === "live") return "stop";
      return wanted === "stopped" ? "rest" : "none";
    case "asleep":
    case "stopped":
      return facts.state === wanted ? "none" : "rest";
  }
}
