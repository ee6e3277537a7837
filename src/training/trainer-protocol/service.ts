/** Removes unfinished uploads of attempts that have ended. */
import { and, eq, inArray, or } from "drizzle-orm";
import { FINAL_STATES } from "../../contract/job.ts";
import type { Ctx } from "../../ctx.ts";
import { attempt, job } from "../../db/schema/jobs.ts";
import { artifact } from "../../db/schema/models.ts";
import { dropUnit } from "../../objects/keep.ts";

/** Removes unfinished uploads of ended attempts, of one job or of all. Returns their number. */
export async function dropUnfinished(ctx: Ctx, jobId?: string): Promise<number> {
  const rows = await ctx.db
    .select({ id: artifact.id })
    .from(artifact)
    .innerJoin(attempt, eq(attempt.id, artifact.attemptId))
    .innerJoin(job, eq(job.id, artifact.jobId))
    .where(
      and(
        jobId ? eq(artifact.jobId, jobId) : undefined,
        eq(artifact.status, "uploading"),
        or(eq(attempt.state, "ended"), inArray(job.state, [...FINAL_STATES])),
      ),
    )
    .limit(1000);
  if (rows.length === 0) return 0;
  const ids = rows.map((row) => row.id);
  await ctx.write((tx) => tx.update(artifact).set({ status: "deleted" }).where(inArray(artifact.id, ids)));
  for (const id of ids) await dropUnit(ctx, { folder: "artifacts", id });
  return ids.length;
}

/** Cleans up all jobs now, and a job whenever its state changes, until the returned function is called. */
export function startTrainers(ctx: Ctx): () => void {
  const cleanUp = (jobId?: string) =>
    void dropUnfinished(ctx, jobId).catch((cause) =>
      ctx.log("error", "unfinished uploads could not be removed", { cause }),
    );
  cleanUp();
  return ctx.bus.on("job.changed", ({ kind, state, jobId }) => {
    if (kind !== "serve" && state !== "running" && state !== "starting") cleanUp(jobId);
  });
}
