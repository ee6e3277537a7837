/** The time left of running work, the same for its page, the lists, the queue and the API. */
import type { Progress } from "../../contract/job.ts";

/**
 * Milliseconds until a job is expected to end by the rate of its last report; null before the first one. Between
 * reports it counts down by at most one step: a step that takes longer than usual does not bring the end nearer.
 * @param progressAt time of the last report, in milliseconds; null = now
 */
export function timeLeftMs(
  { eta_s: eta, step, total_steps: total }: Pick<Progress, "eta_s" | "step" | "total_steps">,
  progressAt: number | null,
  now: number,
): number | null {
  if (typeof eta !== "number" || !Number.isFinite(eta)) return null;
  const left = Math.max(0, eta * 1000);
  const steps = Math.max(1, (total ?? 0) - (step ?? 0));
  const passed = Math.max(0, now - (progressAt ?? now));
  return left - Math.min(passed, left / steps);
}
