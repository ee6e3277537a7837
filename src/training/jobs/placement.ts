/**
 * A job's place in the queue as the columns of its row: checked against the clock, the asker's role and what holds
 * already.
 */
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import type { JobRow } from "./model.ts";
import type { QueueChange } from "./placement-model.ts";

type Placement = Partial<Pick<JobRow, "priority" | "startAfter" | "window" | "deadline">>;

function refuse(code: string, message: string, param: string): never {
  throw new AppError("invalid", code, message, { param });
}

/**
 * The columns behind a request; fields that are left out are left out.
 * @param before what holds already, for what one field means for another
 * @throws AppError `priority_too_high` (forbidden), `deadline_passed`, `deadline_before_start`
 */
export function placementOf(ctx: Ctx, actor: Actor, change: QueueChange, before: Placement = {}): Placement {
  const placement: Placement = {};
  const now = ctx.clock.now();
  if (change.priority !== undefined) {
    placement.priority = change.priority ?? 0;
    if (placement.priority > Math.max(0, before.priority ?? 0) && actor.role !== "admin")
      throw new AppError(
        "forbidden",
        "priority_too_high",
        "Priorities above 0 are given by administrators. Use -100 to 0, or ask one.",
        { param: "priority" },
      );
  }
  const ms = (seconds: number | null) => (seconds === null ? null : seconds * 1000);
  if (change.not_before !== undefined) placement.startAfter = ms(change.not_before);
  if (change.window !== undefined) placement.window = change.window;
  if (change.deadline !== undefined) {
    placement.deadline = ms(change.deadline);
    if (placement.deadline !== null && placement.deadline <= now)
      refuse("deadline_passed", "The deadline is over already. Give a moment in the future.", "deadline");
  }
  const { startAfter, deadline } = { ...before, ...placement };
  if (startAfter && deadline && deadline <= startAfter)
    refuse("deadline_before_start", "The deadline lies before the job may begin.", "deadline");
  return placement;
}
