/** Changes the scheduling options of a waiting or running job, for its owner or an administrator. */
import { eq } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { isFinal } from "../../contract/job.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";
import { AppError, notFound } from "../../errors.ts";
import type { JobRow } from "../jobs/model.ts";
import { placementOf } from "../jobs/placement.ts";
import type { QueueChange } from "../jobs/placement-model.ts";
import { changed, jobIn, note } from "../jobs/transitions.ts";
import { invalidateRound, queueCarry } from "./runner.ts";

/**
 * A job whose scheduling options `actor` may change: any job of the actor's organization, and every job for
 * administrators.
 * @throws AppError `job_not_found`
 */
export async function placedJob(ctx: Ctx, actor: Actor, id: string): Promise<JobRow> {
  const [row] = await ctx.db.select().from(job).where(eq(job.id, id)).limit(1);
  if (!row || (row.org !== actor.org && actor.role !== "admin")) throw notFound("job", id.slice(0, 100));
  return row;
}

/**
 * Changes the scheduling options of a job that has not ended. Members change jobs of their organization, administrators
 * change any job.
 * @throws AppError `job_not_found`, `job_ended`, and those of `placementOf`
 */
export async function changeQueued(ctx: Ctx, actor: Actor, id: string, change: QueueChange): Promise<JobRow> {
  const { row, message } = await ctx.write(async (tx) => {
    const before = await jobIn(tx, id);
    if (!before || (before.org !== actor.org && actor.role !== "admin")) throw notFound("job", id.slice(0, 100));
    if (isFinal(before.state))
      throw new AppError("invalid", "job_ended", `Job ${id} is ${before.state}: it is no longer in the queue.`);
    const placement = placementOf(ctx, actor, change, before);
    const [after] = await tx.update(job).set(placement).where(eq(job.id, id)).returning();
    if (!after) throw notFound("job", id);
    await audit(tx, ctx, actor, "job.queue", id, { ...change });
    if (placement.priority !== undefined && placement.priority !== before.priority)
      await note(tx, ctx, before, `Priority changed from ${before.priority} to ${placement.priority}`);
    return { row: after, message: changed(after, after.state) };
  });
  const carry = queueCarry(ctx);
  carry.changed.add(id);
  carry.verdicts.delete(id);
  invalidateRound(carry);
  ctx.bus.emit("job.changed", message.event as never);
  return row;
}
