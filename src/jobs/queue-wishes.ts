/** A job's place in the queue as its owner or an administrator wants it: checked, stored with a new job, changed later. */

import { eq } from "drizzle-orm";
import { audit } from "../audit/service.ts";
import { isFinal } from "../contract/job.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { job } from "../db/schema/jobs.ts";
import { AppError, notFound } from "../errors.ts";
import type { JobRow } from "./model.ts";
import type { QueueChange } from "./queue-model.ts";
import { queueMemory, unsettle } from "./queue-run.ts";
import { changed, jobIn, note } from "./transitions.ts";

type Wishes = Partial<Pick<JobRow, "priority" | "startAfter" | "window" | "deadline">>;

function refuse(code: string, message: string, param: string): never {
  throw new AppError("invalid", code, message, { param });
}

/**
 * The columns behind a request; fields that are left out are left out.
 * @param before what holds already, for what one field means for another
 * @throws AppError `priority_too_high` (forbidden), `deadline_passed`, `deadline_before_start`
 */
export function wishesOf(ctx: Ctx, actor: Actor, change: QueueChange, before: Wishes = {}): Wishes {
  const wishes: Wishes = {};
  const now = ctx.clock.now();
  if (change.priority !== undefined) {
    wishes.priority = change.priority ?? 0;
    if (wishes.priority > Math.max(0, before.priority ?? 0) && actor.role !== "admin")
      throw new AppError(
        "forbidden",
        "priority_too_high",
        "Priorities above 0 are given by administrators. Use -100 to 0, or ask one.",
        { param: "priority" },
      );
  }
  const ms = (seconds: number | null) => (seconds === null ? null : seconds * 1000);
  if (change.not_before !== undefined) wishes.startAfter = ms(change.not_before);
  if (change.window !== undefined) wishes.window = change.window;
  if (change.deadline !== undefined) {
    wishes.deadline = ms(change.deadline);
    if (wishes.deadline !== null && wishes.deadline <= now)
      refuse("deadline_passed", "The deadline is over already. Give a moment in the future.", "deadline");
  }
  const { startAfter, deadline } = { ...before, ...wishes };
  if (startAfter && deadline && deadline <= startAfter)
    refuse("deadline_before_start", "The deadline lies before the job may begin.", "deadline");
  return wishes;
}

/** A job whose place `actor` may see and change: of its organisation, for administrators any. @throws AppError `job_not_found` */
export async function placedJob(ctx: Ctx, actor: Actor, id: string): Promise<JobRow> {
  const [row] = await ctx.db.select().from(job).where(eq(job.id, id)).limit(1);
  if (!row || (row.org !== actor.org && actor.role !== "admin")) throw notFound("job", id.slice(0, 100));
  return row;
}

/**
 * Changes the place of a job that has not ended. Members change jobs of their organisation, administrators any.
 * @throws AppError `job_not_found`, `job_ended`, and those of `wishesOf`
 */
export async function changeQueued(ctx: Ctx, actor: Actor, id: string, change: QueueChange): Promise<JobRow> {
  const { row, message } = await ctx.write(async (tx) => {
    const before = await jobIn(tx, id);
    if (!before || (before.org !== actor.org && actor.role !== "admin")) throw notFound("job", id.slice(0, 100));
    if (isFinal(before.state))
      throw new AppError(
        "invalid",
        "job_ended",
        `Job ${id} is ${before.state}: it has no place in the queue any more.`,
      );
    const wishes = wishesOf(ctx, actor, change, before);
    const [after] = await tx.update(job).set(wishes).where(eq(job.id, id)).returning();
    if (!after) throw notFound("job", id);
    await audit(tx, ctx, actor, "job.queue", id, { ...change });
    if (wishes.priority !== undefined && wishes.priority !== before.priority)
      await note(tx, ctx, before, `Its priority was changed from ${before.priority} to ${wishes.priority}`);
    return { row: after, message: changed(after, after.state) };
  });
  const memory = queueMemory(ctx);
  memory.changed.add(id);
  unsettle(memory);
  ctx.bus.emit("job.changed", message.event as never);
  return row;
}
