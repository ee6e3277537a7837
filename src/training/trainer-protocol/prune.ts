/** Removes old checkpoints beyond the number to keep. */
import { and, desc, eq, inArray, isNull, ne } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { artifact, checkpoint } from "../../db/schema/models.ts";
import { dropUnit } from "../../objects/keep.ts";
import { artifactsInUse } from "../plan/cleanup.ts";

type CheckpointRow = typeof checkpoint.$inferSelect;

/** The value that checkpoints are compared by (lower is better): the validation loss, or the negative reward. */
const lossOf = ({ metrics }: CheckpointRow) => {
  const { "eval/loss": loss, "eval/reward": reward } = metrics;
  if (typeof loss === "number") return loss;
  return typeof reward === "number" ? -reward : Number.POSITIVE_INFINITY;
};

/**
 * Removes the checkpoints of a job beyond the `keep` newest, with their files. It keeps checkpoints that a model,
 * endpoint or live job uses, with `best` the best one on validation rows, and `fresh`, the artifact that was just
 * verified, so that one valid checkpoint always remains.
 */
export async function prune(
  ctx: Ctx,
  jobId: string,
  options: { keep: number; best: boolean; fresh: string },
): Promise<void> {
  const rows = await ctx.db.select().from(checkpoint).where(eq(checkpoint.jobId, jobId)).orderBy(desc(checkpoint.step));
  const lowest = Math.min(...rows.map(lossOf));
  const isKept = (row: (typeof rows)[number]) =>
    row.artifactId === options.fresh || (options.best && Number.isFinite(lowest) && lossOf(row) === lowest);
  const old = rows.slice(Math.max(1, options.keep)).filter((row) => !isKept(row));
  const used = old[0] ? await artifactsInUse(ctx, old[0].org, old) : new Set<string>();
  const drop = old.filter((row) => !used.has(row.artifactId));
  // Files of checkpoints whose step was saved again, which nothing refers to.
  const orphans = await ctx.db
    .select({ id: artifact.id, org: artifact.org })
    .from(artifact)
    .leftJoin(checkpoint, eq(checkpoint.artifactId, artifact.id))
    .where(
      and(
        eq(artifact.jobId, jobId),
        eq(artifact.kind, "checkpoint"),
        inArray(artifact.status, ["complete", "invalid"]),
        isNull(checkpoint.id),
        ne(artifact.id, options.fresh),
      ),
    )
    .limit(100);
  const named = orphans[0] ? await artifactsInUse(ctx, orphans[0].org, []) : new Set<string>();
  const removed = [
    ...drop.map((row) => row.artifactId),
    ...orphans.map((row) => row.id).filter((id) => !named.has(id)),
  ];
  if (removed.length === 0) return;
  await ctx.write(async (tx) => {
    if (drop.length > 0)
      await tx.delete(checkpoint).where(
        inArray(
          checkpoint.id,
          drop.map((row) => row.id),
        ),
      );
    await tx.update(artifact).set({ status: "deleted" }).where(inArray(artifact.id, removed));
  });
  for (const id of removed) await dropUnit(ctx, { folder: "artifacts", id });
}
