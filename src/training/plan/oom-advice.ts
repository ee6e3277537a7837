/** What to do about a training that ran out of memory: looked for once it has ended, from what it really took. */
import { eq } from "drizzle-orm";
import { type Actor, type Ctx, systemActor } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";
import { AppError } from "../../errors.ts";
import { jobIn } from "../jobs/transitions.ts";
import { parseTrainRequest } from "./request.ts";
import { planTrainJob } from "./service.ts";

/**
 * Puts the smallest change that fits into the error of a failed job; what it took corrects the plan by then
 * (history.ts). Leaves other jobs, and those whose data is gone, as they are.
 */
export async function adviseShort(ctx: Ctx, jobId: string): Promise<void> {
  const [row] = await ctx.db.select().from(job).where(eq(job.id, jobId)).limit(1);
  if (row?.spec.kind !== "train" || row.error?.code !== "out_of_memory" || row.error.suggestion) return;
  const actor: Actor = { ...systemActor(row.org), userId: row.createdBy };
  const plan = await planTrainJob(ctx, actor, parseTrainRequest(row.request)).catch((error) => {
    if (error instanceof AppError) return null;
    throw error;
  });
  if (!plan?.offers?.length) return;
  const mb = `${Math.round(plan.memory.total).toLocaleString("en")} MB`;
  const { suggestion } = plan;
  const measured = row.progress.canary !== undefined;
  const advice = plan.offers.some((offer) => offer.fits)
    ? measured
      ? `What it took is known now: run again, it is planned with ${mb}.`
      : `${row.error.advice ?? ""} Run again as it is, and ${mb} are planned.`.trim()
    : suggestion
      ? `The smallest change that fits: ${suggestion.words}.`
      : `It would need ${mb}, and no change makes it fit a machine there is: take a smaller base model or a larger machine.`;
  await ctx.write(async (tx) => {
    const now = await jobIn(tx, jobId);
    if (!now?.error) return;
    const error = { ...now.error, advice, ...(suggestion ? { suggestion: { ...suggestion.change } } : {}) };
    await tx.update(job).set({ error }).where(eq(job.id, jobId));
  });
  ctx.bus.emit("job.progress", { org: row.org, jobId });
}
