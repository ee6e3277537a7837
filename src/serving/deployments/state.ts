/**
 * The state machine of a deployment: which moves are legal, and what to do next given what is wanted and what is so.
 * Pure.
 */

type DeploymentState = "starting" | "ready" | "asleep" | "stopping" | "stopped" | "failed";
type Wanted = "running" | "asleep" | "stopped";

/** Legal moves; everything else is a mistake in this program. */
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

/** What is known about a deployment at one moment. */
export interface Facts {
  wanted: Wanted;
  state: DeploymentState;
  /** The serve job: none was made yet, it is not over, or it is over. */
  job: "none" | "live" | "over";
  /** What the engine said: `healthy`, `gone` (repeatedly not there), or nothing that decides. */
  engine: "healthy" | "gone" | "unknown";
  /** Nobody asked for longer than the deployment stays awake. */
  idle: boolean;
  /** Too early for another start after a death. */
  waiting: boolean;
  /** Died too often in a row. */
  exhausted: boolean;
}

/**
 * What to do next:
 * `launch` make a serve job · `ready` take requests · `sleep` nobody needs it · `stop` end the job ·
 * `rest` the job is over, as wanted · `died` the job ended or the engine vanished: count it and start again ·
 * `give_up` it died too often · `none`.
 */
type Step = "none" | "launch" | "ready" | "sleep" | "stop" | "rest" | "died" | "give_up";

/** The next step of a deployment; called again and again until nothing is left to do. */
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
