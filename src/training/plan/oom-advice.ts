/** Advice for a training that ran out of memory, from the memory it actually used. */
import { eq } from "drizzle-orm";
import { type Actor, type Ctx, systemActor } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";
import { AppError } from "../../errors.ts";
import { jobIn } from "../jobs/transitions.ts";
import { parseTrainRequest } from "./request.ts";
import { planTrainJob } from "./service.ts";

/**
 * Adds the smallest change that fits to the error of a failed job. The plan for it is already corrected by the memory
 * the job used (history.ts). Other jobs, and jobs whose data was deleted, stay unchanged.
 */
export async function adviseOutOfMemory(ctx: Ctx, jobId: string): Promise<void> {
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
      ? `The memory it needs is now known. Run the job again: it will be planned with ${mb}.`
      : `${row.error.advice ?? ""} If you run it again unchanged, it will be planned with ${mb}.`.trim()
    : suggestion
      ? `Smallest change that makes it fit: ${suggestion.words}.`
      : `The run needs ${mb}, and no change makes it fit an available machine. Use a smaller base model or a larger machine.`;
  await ctx.write(async (tx) => {
    const now = await jobIn(tx, jobId);
    if (!now?.error) return;
    const error = { ...now.error, advice, ...(suggestion ? { suggestion: { ...suggestion.change } } : {}) };
    await tx.update(job).set({ error }).where(eq(job.id, jobId));
  });
  ctx.bus.emit("job.progress", { org: row.org, jobId });
}
